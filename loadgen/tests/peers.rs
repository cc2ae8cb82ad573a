//! Real peers from packages: nginx and nghttpd over HTTP/1.1, HTTP/2 and TLS, and gRPC through nginx. A peer that is not
//! installed is said to be skipped.

mod common;

use std::path::Path;

use common::{Peer, certificates, free_port, load, number, peer, report, serve};

const SHORT: &str = "--rate 100 --duration 1s --warmup 0s --connections 4";

struct Nginx {
    _process: Peer,
    plain: u16,
    plain_h2: u16,
    tls: u16,
    mutual: u16,
    grpc: u16,
    grpc_tls: u16,
}

fn nginx(folder: &Path, grpc_to: u16) -> Option<Nginx> {
    let [plain, plain_h2, tls, mutual, grpc, grpc_tls] = std::array::from_fn(|_| free_port());
    let at = |name: &str| folder.join(name).display().to_string();
    std::fs::create_dir(folder.join("www")).expect("made");
    std::fs::write(folder.join("www/1k"), vec![b'x'; 1024]).expect("written");
    let tls_lines = format!("ssl_certificate {}; ssl_certificate_key {};", at("cert.pem"), at("key.pem"));
    let user = if std::fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
    {
        "user root;"
    } else {
        ""
    };
    let text = format!(
        "daemon off; {user} worker_processes 1; pid {}; error_log {} error; events {{ worker_connections 512; }}\n\
         http {{ access_log off; client_body_temp_path {t}; proxy_temp_path {t}; fastcgi_temp_path {t};\n\
         uwsgi_temp_path {t}; scgi_temp_path {t}; root {};\n\
         server {{ listen 127.0.0.1:{plain}; }}\n\
         server {{ listen 127.0.0.1:{plain_h2} http2; }}\n\
         server {{ listen 127.0.0.1:{tls} ssl http2; {tls_lines} ssl_session_tickets on; }}\n\
         server {{ listen 127.0.0.1:{mutual} ssl; {tls_lines} ssl_client_certificate {}; ssl_verify_client on; }}\n\
         server {{ listen 127.0.0.1:{grpc} http2; location / {{ grpc_pass grpc://127.0.0.1:{grpc_to}; }} }}\n\
         server {{ listen 127.0.0.1:{grpc_tls} ssl http2; {tls_lines} location / {{ grpc_pass grpc://127.0.0.1:{grpc_to}; }} }} }}\n",
        at("pid"),
        at("error.log"),
        at("www"),
        at("ca.pem"),
        t = at("temp"),
    );
    std::fs::write(folder.join("nginx.conf"), text).expect("written");
    let process = peer("nginx", &["-c", &at("nginx.conf"), "-e", &at("error.log")], plain)?;
    Some(Nginx { _process: process, plain, plain_h2, tls, mutual, grpc, grpc_tls })
}

fn good(line: &str) -> serde_json::Value {
    let (_, found) = report(line);
    assert_eq!(number(&found, "ok"), 100.0, "{line}: {} {}", found["errors"], found["statuses"]);
    found
}

#[test]
fn nginx_answers_over_http1_http2_and_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let Some(nginx) = nginx(folder.path(), 1) else { return };
    let trust = format!("--cacert {}", at("ca.pem"));

    good(&format!("run http://127.0.0.1:{}/1k {SHORT} --body-length 1KiB", nginx.plain));
    good(&format!("run http://127.0.0.1:{}/1k {SHORT} --h2 --streams 8 --body-length 1KiB", nginx.plain_h2));
    good(&format!("run https://127.0.0.1:{}/1k {SHORT} {trust}", nginx.tls));
    good(&format!("run https://127.0.0.1:{}/1k {SHORT} {trust} --h2 --streams 8", nginx.tls));
    good(&format!("run https://127.0.0.1:{}/1k {SHORT} --insecure -X HEAD", nginx.tls));

    let resumed =
        good(&format!("run https://127.0.0.1:{}/1k {SHORT} {trust} --connection-per-request", nginx.tls));
    assert_eq!(number(&resumed, "handshake_time_us.count"), 100.0);
    assert!(number(&resumed, "resumed") > 80.0, "{}", resumed["resumed"]);
    let full = format!(
        "run https://127.0.0.1:{}/1k {SHORT} {trust} --connection-per-request --resumption off",
        nginx.tls
    );
    assert_eq!(number(&good(&full), "resumed"), 0.0);

    let shown = format!("--cert {} --key {}", at("cert.pem"), at("key.pem"));
    good(&format!("run https://127.0.0.1:{}/1k {SHORT} {trust} {shown}", nginx.mutual));
    let (_, refused) = report(&format!("run https://127.0.0.1:{}/1k {SHORT} {trust}", nginx.mutual));
    assert_eq!(
        (number(&refused, "ok"), number(&refused, "statuses.400")),
        (0.0, 100.0),
        "{}",
        refused["errors"]
    );
}

#[test]
fn a_certificate_that_is_not_trusted_is_a_tls_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let Some(nginx) = nginx(folder.path(), 1) else { return };
    let other = tempfile::tempdir().expect("a folder");
    certificates(other.path());
    let trust = format!("--cacert {}", other.path().join("ca.pem").display());
    let (_, found) = report(&format!("run https://127.0.0.1:{}/1k {SHORT} {trust}", nginx.tls));
    assert_eq!((number(&found, "ok"), number(&found, "errors.tls")), (0.0, 100.0), "{}", found["errors"]);
    // Plain HTTP where TLS is spoken, and the other way round.
    let (_, found) = report(&format!("run https://127.0.0.1:{}/1k {SHORT} -k", nginx.plain));
    assert_eq!(number(&found, "errors.tls"), 100.0, "{}", found["errors"]);
}

#[test]
fn nghttpd_answers_over_http2_with_and_without_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    std::fs::write(folder.path().join("1k"), vec![b'x'; 1024]).expect("written");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (plain, tls) = (free_port(), free_port());
    let root = folder.path().display().to_string();
    let Some(_plain) =
        peer("nghttpd", &["--no-tls", "-a", "127.0.0.1", "-d", &root, &plain.to_string()], plain)
    else {
        return;
    };
    let key = [at("key.pem"), at("cert.pem")];
    let Some(_tls) =
        peer("nghttpd", &["-a", "127.0.0.1", "-d", &root, &tls.to_string(), &key[0], &key[1]], tls)
    else {
        return;
    };
    good(&format!("run http://127.0.0.1:{plain}/1k {SHORT} --h2 --streams 16 --body-length 1KiB"));
    good(&format!("run https://127.0.0.1:{tls}/1k {SHORT} --h2 --streams 16 --cacert {}", at("ca.pem")));
    let (_, missing) = report(&format!("run http://127.0.0.1:{plain}/none {SHORT} --h2"));
    assert_eq!((number(&missing, "errors.status"), number(&missing, "statuses.404")), (100.0, 100.0));
    let fast = report(&format!(
        "saturate http://127.0.0.1:{plain}/1k --h2 --streams 32 -c 8 --duration 1s --warmup 0s"
    ))
    .1;
    assert!(
        number(&fast, "ok") > 500.0 && number(&fast, "ok") == number(&fast, "requests"),
        "{}",
        fast["errors"]
    );
}

/// `pkg.Service/Method` with a request of one number, as protoc would describe it.
fn descriptors(path: &Path) {
    use prost::Message as _;
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
        ServiceDescriptorProto,
    };
    let field = FieldDescriptorProto {
        name: Some("id".into()),
        number: Some(1),
        label: Some(Label::Optional.into()),
        r#type: Some(Type::Int64.into()),
        ..Default::default()
    };
    let message = DescriptorProto { name: Some("Request".into()), field: vec![field], ..Default::default() };
    let method = MethodDescriptorProto {
        name: Some("Method".into()),
        input_type: Some(".pkg.Request".into()),
        output_type: Some(".pkg.Request".into()),
        ..Default::default()
    };
    let service =
        ServiceDescriptorProto { name: Some("Service".into()), method: vec![method], ..Default::default() };
    let file = FileDescriptorProto {
        name: Some("api.proto".into()),
        package: Some("pkg".into()),
        message_type: vec![message],
        service: vec![service],
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    std::fs::write(path, FileDescriptorSet { file: vec![file] }.encode_to_vec()).expect("written");
}

#[test]
fn grpc_calls_go_through_nginx_and_their_status_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let set = folder.path().join("api.bin");
    descriptors(&set);
    let (origin, failing) = (serve(""), serve("--fail 100%"));
    let call = |port: u16, data: &str| {
        format!(
            "run grpc://127.0.0.1:{port}/pkg.Service/Method --proto-set {} --data '{data}' {SHORT}",
            set.display()
        )
    };
    let direct = good(&call(origin.port, "{\"id\":1}"));
    assert_eq!(number(&direct, "statuses.grpc-0"), 100.0);
    // Frame of five bytes, and the field: the answer is the request.
    assert_eq!(number(&direct, "bytes.received"), 700.0);
    let (_, failed) = report(&call(failing.port, "{}"));
    assert_eq!(
        (number(&failed, "ok"), number(&failed, "statuses.grpc-14")),
        (0.0, 100.0),
        "{}",
        failed["errors"]
    );

    for (data, method, why) in
        [("{\"no\":1}", "Method", "--data"), ("{}", "Other", "no method"), ("x", "Method", "--data")]
    {
        let refused = load(&call(origin.port, data).replace("Service/Method", &format!("Service/{method}")));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains(why), "{said}");
    }
    let Some(nginx) = nginx(folder.path(), origin.port) else { return };
    let through = good(&call(nginx.grpc, "{\"id\":300}"));
    assert_eq!(number(&through, "statuses.grpc-0"), 100.0);
    let trusted =
        format!("{} --cacert {}", call(nginx.grpc_tls, "{}"), folder.path().join("ca.pem").display());
    good(&trusted.replace("grpc://", "grpcs://"));
}
