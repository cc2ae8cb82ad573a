//! Envoy, its own headers off.

use crate::front::Front;
use crate::peers::Place;

/// A whole configuration.
pub fn envoy(place: &Place<'_>, port: u16) -> String {
    let origin = place.origin;
    let filter = match place.front {
        Front::Tcp => TCP.to_owned(),
        front => http(front),
    };
    let socket = if place.front == Front::Tls { secured(place) } else { String::new() };
    let upstream = if place.front == Front::Grpc { UPSTREAM_HTTP2 } else { "" };
    format!(
        "static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
{filter}{socket}
  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
{upstream}    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {origin} }} }} }}
"
    )
}

const TCP: &str = "      - name: envoy.filters.network.tcp_proxy
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: origin
          idle_timeout: 3600s
";

const UPSTREAM_HTTP2: &str = "    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
";

fn http(front: Front) -> String {
    let codec = if matches!(front, Front::Http2 | Front::Grpc) { "HTTP2" } else { "HTTP1" };
    let scheme = if front == Front::Tls { "https" } else { "http" };
    format!(
        "      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          codec_type: {codec}
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
                  value: for=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%;proto={scheme};host=\"%REQ(:AUTHORITY)%\"
              routes:
              - match: {{ prefix: / }}
                route: {{ cluster: origin }}
"
    )
}

fn secured(place: &Place<'_>) -> String {
    format!(
        "      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [http/1.1]
            tls_certificates:
            - certificate_chain: {{ filename: {} }}
              private_key: {{ filename: {} }}
",
        place.identity.certificate.display(),
        place.identity.key.display()
    )
}
