//! Against services compiled from text.

use serde_json::{Value as Json, json};

use super::*;

const SHOP: &str = r#"
syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

message Item {
  string name = 1;
  int64 price = 2;
  Color color = 3;
  repeated string tags = 4;
  google.protobuf.Timestamp made_at = 5;
  bytes raw = 6;
  Size size = 7;
  google.protobuf.BoolValue on_sale = 8;
  bool hidden = 9;
}
message Size { double width = 1; }
enum Color { NONE = 0; RED = 1; }
message Get { string name = 1; bool full = 2; Size size = 3; repeated int32 ids = 4; Color color = 5; }
message Put { string parent = 1; Item item = 2; }
message Items { repeated Item items = 1; string next = 2; }

service Shop {
  rpc GetItem(Get) returns (Item) {
    option (google.api.http) = { get: "/v1/{name=items/*}" additional_bindings { get: "/v1/items:byName" } };
  }
  rpc PutItem(Put) returns (Item) { option (google.api.http) = { post: "/v1/{parent}/items" body: "item" }; }
  rpc Replace(Item) returns (Item) { option (google.api.http) = { put: "/v1/items" body: "*" }; }
  rpc List(Get) returns (Items) { option (google.api.http) = { get: "/v1/items" response_body: "items" }; }
  rpc Watch(Get) returns (stream Item) { option (google.api.http) = { get: "/v1/items:watch" }; }
  rpc Load(stream Item) returns (Items);
  rpc Purge(Get) returns (Item) { option (google.api.http) = { custom: { kind: "PURGE" path: "/v1/all" } }; }
}
"#;

const STRICT: Options = Options { ignore_unknown: false, print_defaults: false, proto_names: false };

fn compiled(text: &str) -> Vec<u8> {
    let folder = std::env::temp_dir().join(format!("ringway-proto-{}-{:p}", std::process::id(), &text));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{}.proto", text.len()));
    std::fs::write(&file, text).unwrap();
    let compiled = ringway_config::descriptor::compile(&file);
    std::fs::remove_dir_all(&folder).unwrap();
    compiled.unwrap_or_else(|problem| panic!("{}", problem.message))
}

fn shop(options: Options) -> Transcoder {
    Transcoder::new(&compiled(SHOP), &["shop.v1.Shop".into()], options).unwrap()
}

/// The messages in bytes, as JSON.
fn read(transcoder: &Transcoder, message: &str, mut bytes: &[u8]) -> Vec<Json> {
    let descriptor = transcoder.calls[0].parent_pool().get_message_by_name(message).unwrap();
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let message = DynamicMessage::decode(descriptor.clone(), &rest[..len]).unwrap();
        messages.push(serde_json::to_value(message).unwrap());
        bytes = &rest[len..];
    }
    messages
}

fn asked(method: &str, path: &str, query: &str, body: &str) -> Result<(String, Vec<Json>), String> {
    let transcoder = shop(STRICT);
    let call = transcoder.find(method, path).map_err(|none| format!("{none:?}"))?;
    let bytes = call.messages(query.as_bytes(), body.as_bytes()).map_err(|problem| problem.message)?;
    let name = call.method().input().full_name().to_owned();
    Ok((call.path(), read(&transcoder, &name, &bytes)))
}

fn message(json: &Json, name: &str, transcoder: &Transcoder) -> Vec<u8> {
    use prost::Message as _;
    let descriptor = transcoder.calls[0].parent_pool().get_message_by_name(name).unwrap();
    let message = DynamicMessage::deserialize(descriptor, json).unwrap();
    let bytes = message.encode_to_vec();
    [&[0][..], &(bytes.len() as u32).to_be_bytes(), &bytes].concat()
}

#[test]
fn path_query_and_body_become_the_message() {
    let get = "/shop.v1.Shop/GetItem".to_owned();
    assert_eq!(
        asked("GET", "/v1/items/a%20b", "full=true", ""),
        Ok((get.clone(), vec![json!({"name": "items/a b", "full": true})]))
    );
    assert_eq!(
        asked("GET", "/v1/items:byName", "name=x&ids=1&ids=2&size.width=1.5&color=RED", ""),
        Ok((get, vec![json!({"name": "x", "ids": [1, 2], "size": {"width": 1.5}, "color": "RED"})]))
    );
    assert_eq!(
        asked(
            "POST",
            "/v1/shelf/items",
            "",
            r#"{"name": "n", "price": "12", "madeAt": "2026-01-01T00:00:00Z", "raw": "AAE="}"#
        ),
        Ok((
            "/shop.v1.Shop/PutItem".into(),
            vec![
                json!({"parent": "shelf", "item": {"name": "n", "price": "12", "madeAt": "2026-01-01T00:00:00Z", "raw": "AAE="}})
            ]
        ))
    );
    assert_eq!(
        asked("PUT", "/v1/items", "ignored=yes", r#"{"name": "n", "tags": ["a"], "on_sale": true}"#),
        Ok(("/shop.v1.Shop/Replace".into(), vec![json!({"name": "n", "tags": ["a"], "onSale": true})]))
    );
    assert_eq!(asked("PURGE", "/v1/all", "", ""), Ok(("/shop.v1.Shop/Purge".into(), vec![json!({})])));
    // Without an annotation, and with one too.
    assert_eq!(
        asked("POST", "/shop.v1.Shop/GetItem", "", r#"{"name": "n"}"#).unwrap().1,
        [json!({"name": "n"})]
    );
    for body in [r#"[{"name": "a"}, {"name": "b"}]"#, "{\"name\": \"a\"}\n{\"name\": \"b\"}\n"] {
        let load = asked("POST", "/shop.v1.Shop/Load", "", body).unwrap();
        assert_eq!(load.1, [json!({"name": "a"}), json!({"name": "b"})]);
    }
}

#[test]
fn what_does_not_fit_is_told() {
    for (method, path, query, body, expected) in [
        ("GET", "/v2/items", "", "", "Path"),
        ("DELETE", "/v1/items", "", "", "Method(\"PUT, GET\")"),
        ("GET", "/v1/items/a", "nothing=1", "", "no field `nothing`"),
        ("GET", "/v1/items/a", "name=b", "", "named by the path"),
        ("GET", "/v1/items/a", "full=maybe", "", "bool"),
        ("GET", "/v1/items:byName", "color=BLUE", "", "BLUE"),
        ("PUT", "/v1/items", "", "[1]", "no JSON object"),
        ("PUT", "/v1/items", "", "{", "no JSON"),
        ("PUT", "/v1/items", "", "{} {}", "more than one value"),
        ("PUT", "/v1/items", "", r#"{"nothing": 1}"#, "nothing"),
        ("PUT", "/v1/items", "", r#"{"price": "x"}"#, "invalid"),
    ] {
        let error = asked(method, path, query, body).unwrap_err();
        assert!(error.contains(expected), "{method} {path}?{query}: {error}");
    }
    let deep = format!("{{\"size\": {}1{}}}", "[".repeat(5000), "]".repeat(5000));
    assert!(asked("PUT", "/v1/items", "", &deep).is_err());
    let lenient = shop(Options { ignore_unknown: true, ..STRICT });
    let call = lenient.find("GET", "/v1/items/a").unwrap();
    assert!(call.messages(b"nothing=1", b"").is_ok());
}

#[test]
fn answers_are_told_in_json_however_they_are_cut() {
    let transcoder = shop(STRICT);
    let item = |name: &str| message(&json!({"name": name, "price": 7}), "shop.v1.Item", &transcoder);
    let watch = transcoder.find("GET", "/v1/items:watch").unwrap();
    let bytes = [item("a"), item("b")].concat();
    for (accept, expected) in [
        ("*/*", "{\"name\":\"a\",\"price\":\"7\"}\n{\"name\":\"b\",\"price\":\"7\"}\n"),
        (
            "text/event-stream",
            "data: {\"name\":\"a\",\"price\":\"7\"}\n\ndata: {\"name\":\"b\",\"price\":\"7\"}\n\n",
        ),
    ] {
        for size in [1, 3, 7, bytes.len()] {
            let mut response = watch.response(watch.mode(accept.as_bytes()));
            let mut out = Vec::new();
            bytes.chunks(size).for_each(|piece| response.push(piece, &mut out).unwrap());
            assert_eq!(response.ended(Some(b"0"), None, None), None);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
    let get = transcoder.find("GET", "/v1/items/a").unwrap();
    let mut response = get.response(get.mode(b"text/event-stream"));
    assert_eq!(response.mode(), Mode::Document);
    assert!(response.push(&bytes, &mut Vec::new()).unwrap_err().message.contains("more than one"));
    let mut compressed = item("a");
    compressed[0] = 1;
    assert!(get.response(Mode::Document).push(&compressed, &mut Vec::new()).is_err());
    assert!(get.response(Mode::Document).push(&[0, 255, 255, 255, 255], &mut Vec::new()).is_err());
    let mut cut = get.response(Mode::Document);
    cut.push(&item("a")[..6], &mut Vec::new()).unwrap();
    assert!(cut.ended(Some(b"0"), None, None).is_some());
    // A part of the answer, and names and defaults as asked for.
    let list = message(&json!({"items": [{"name": "a"}]}), "shop.v1.Items", &transcoder);
    let call = transcoder.find("GET", "/v1/items").unwrap();
    let mut out = Vec::new();
    call.response(Mode::Document).push(&list, &mut out).unwrap();
    assert_eq!(serde_json::from_slice::<Json>(&out).unwrap()[0]["name"], "a");
    let wide = shop(Options { print_defaults: true, proto_names: true, ..STRICT });
    let mut out = Vec::new();
    wide.find("GET", "/v1/items/a").unwrap().response(Mode::Document).push(&item("a"), &mut out).unwrap();
    let told: Json = serde_json::from_slice(&out).unwrap();
    assert_eq!((&told["hidden"], &told["tags"]), (&json!(false), &json!([])));
}

#[test]
fn statuses_are_problems() {
    use base64::Engine as _;
    use prost::Message as _;
    let transcoder = shop(STRICT);
    let item = message(&json!({"name": "why"}), "shop.v1.Item", &transcoder);
    let any = |url: &str, value: &[u8]| prost_types::Any { type_url: url.into(), value: value.to_vec() };
    // google.rpc.Status: code 1, message 2, details 3.
    let mut status = vec![8, 5, 18, 1, b'm'];
    for any in [any("type.googleapis.com/shop.v1.Item", &item[5..]), any("type.googleapis.com/x.Y", b"\x01")]
    {
        let bytes = any.encode_to_vec();
        status.extend([26, bytes.len() as u8]);
        status.extend(bytes);
    }
    let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(status);
    let call = transcoder.find("GET", "/v1/items/a").unwrap();
    let response = call.response(Mode::Document);
    let problem = response.ended(Some(b"5"), Some(b"not %E2%82%AC"), Some(encoded.as_bytes())).unwrap();
    assert_eq!(
        problem.to_json(),
        json!({
            "type": "about:blank", "title": "Not Found", "status": 404, "detail": "not \u{20ac}", "code": "NOT_FOUND",
            "details": [
                { "name": "why", "@type": "type.googleapis.com/shop.v1.Item" },
                { "@type": "type.googleapis.com/x.Y", "value": "AQ==" },
            ],
        })
    );
    assert_eq!(response.ended(None, None, None).unwrap().code, 2);
    let watch = transcoder.find("GET", "/v1/items:watch").unwrap();
    let mut out = Vec::new();
    watch.response(Mode::Events).finish(Some(&problem), &mut out);
    assert!(out.starts_with(b"event: error\ndata: {\"error\":{"));
}

#[test]
fn what_is_wrong_with_a_service_is_told() {
    let load = |rules: &str| {
        let text = format!(
            "syntax = \"proto3\"; package a; import \"google/api/annotations.proto\"; message M {{ string x = 1; }}\n\
             service S {{ rpc One(M) returns (M) {{ {rules} }} rpc Two(M) returns (M) {{ option (google.api.http) = {{ get: \"/two\" }}; }} }}"
        );
        Transcoder::new(&compiled(&text), &["a.S".into()], STRICT).map(drop)
    };
    assert_eq!(load(""), Ok(()));
    for (rule, expected) in [
        ("get: \"/{y}\"", "no field `y`"),
        ("get: \"two\"", "does not begin"),
        ("get: \"/two\"", "is that of"),
        ("post: \"/one\" body: \"y\"", "no field `y`"),
        ("get: \"/one\" response_body: \"y\"", "no field `y`"),
    ] {
        let error = load(&format!("option (google.api.http) = {{ {rule} }};")).unwrap_err();
        assert!(error.contains(expected) && error.contains("a.S."), "{error}");
    }
    assert!(Transcoder::new(&compiled(SHOP), &["shop.v1.None".into()], STRICT).is_err());
    assert!(Transcoder::new(b"nonsense", &[], STRICT).is_err());
}
