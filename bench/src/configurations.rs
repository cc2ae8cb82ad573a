//! The same work, written in each proxy's configuration: one worker, no access log, keep-alive upstream, and
//! X-Forwarded-For, -Proto, -Host, Forwarded, X-Request-Id and Via added to what goes there.

use std::path::Path;

use crate::peers::Place;

/// The start of an nginx configuration that runs in the foreground as one process and writes only to `folder`.
pub fn nginx_head(folder: &Path, label: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {folder}/{label}.pid;
error_log {folder}/{label}.error.log warn;
events {{ worker_connections 16384; }}"
    )
}

/// nginx, buffering as it does by default but never to disk.
pub fn nginx(place: &Place<'_>, label: &str, port: u16) -> String {
    let (head, origin) = (nginx_head(place.folder, label), place.origin);
    format!(
        "{head}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    upstream origin {{
        server 127.0.0.1:{origin};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_max_temp_file_size 0;
            proxy_set_header Connection \"\";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header Forwarded 'for=$remote_addr;proto=$scheme;host=\"$http_host\"';
            proxy_set_header X-Request-Id $request_id;
            proxy_set_header Via \"1.1 nginx\";
        }}
    }}
}}
"
    )
}

/// HAProxy, one thread.
pub fn haproxy(origin: u16, port: u16) -> String {
    format!(
        "global
    nbthread 1
    maxconn 10500
    no strict-limits

defaults
    mode http
    http-reuse always
    option forwardfor
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s

frontend web
    bind 127.0.0.1:{port} backlog 4096
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header Forwarded 'for=%[src];proto=http;host=\"%[req.hdr(host)]\"'
    http-request set-header X-Request-Id %[uuid()]
    http-request set-header Via \"1.1 haproxy\"
    default_backend origin

backend origin
    server origin 127.0.0.1:{origin} pool-max-conn 128
"
    )
}

/// Envoy, its own headers off.
pub fn envoy(origin: u16, port: u16) -> String {
    format!(
        "static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          codec_type: HTTP1
          use_remote_address: true
          via: 1.1 envoy
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              request_headers_to_add:
              - header: {{ key: x-forwarded-host, value: '%REQ(:AUTHORITY)%' }}
              - header:
                  key: forwarded
                  value: for=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%;proto=http;host=\"%REQ(:AUTHORITY)%\"
              routes:
              - match: {{ prefix: / }}
                route: {{ cluster: origin }}
  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {origin} }} }} }}
"
    )
}

/// Ringway; what the others are told here it does unasked.
pub fn ringway(place: &Place<'_>, backend: &str, port: u16, admin: u16) -> String {
    let head = format!(
        "runtime: {{ workers: 1, backend: {backend} }}
admin: {{ address: 127.0.0.1:{admin} }}
listeners:
  - {{ name: web, address: 127.0.0.1:{port}, timeouts: {{ idle: 10m }} }}
services:
  origin: {{ endpoints: [ 127.0.0.1:{} ] }}
routes:
",
        place.origin
    );
    let Some(count) = place.routes else { return head + "  - { path: /**, to: origin }\n" };
    // A third each of prefixes, templates and exact paths; the load asks each for the same path.
    let route = |n: u32| {
        let rest = ["**", "{id}", "42"][n as usize % 3];
        format!("  - {{ name: r{n:05}, path: '/api/v1/r{n:05}/{rest}', to: origin }}\n")
    };
    head + &(0..count).map(route).collect::<String>()
}
