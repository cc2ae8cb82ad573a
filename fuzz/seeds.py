#!/usr/bin/env python3
"""Writes the hand-made seeds into corpus/<target>/. Run from anywhere; existing files are replaced."""

from pathlib import Path

ROOT = Path(__file__).parent / "corpus"


def get(*lines, line="GET /a/b?c=d HTTP/1.1", host="Host: a.example\r\n"):
    return line + "\r\n" + host + "".join(f"{text}\r\n" for text in lines) + "\r\n"


REQUESTS = {
    "bare": get(),
    "browser": get(
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "Accept: text/html,*/*;q=0.8", "Accept-Language: en",
        "Accept-Encoding: gzip, br", "Referer: http://a.example/", "Cookie: a=b; c=d", "Upgrade-Insecure-Requests: 1",
        "Sec-Fetch-Mode: navigate", "Cache-Control: max-age=0", "Connection: keep-alive"),
    "http10": get(line="GET / HTTP/1.0", host=""),
    "http10_keep_alive": get("Connection: keep-alive", line="GET / HTTP/1.0", host=""),
    "http20": get(line="GET / HTTP/2.0"),
    "preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "absolute": get(line="GET http://A.example:80/x HTTP/1.1"),
    "absolute_differs": get(line="GET http://b.example/ HTTP/1.1"),
    "absolute_bare": get(line="OPTIONS http://a.example HTTP/1.1"),
    "asterisk": get("Max-Forwards: 3", line="OPTIONS * HTTP/1.1"),
    "connect": get(line="CONNECT a.example:443 HTTP/1.1", host="Host: a.example:443\r\n"),
    "length": get("Content-Length: 5", line="POST / HTTP/1.1") + "hello",
    "length_twice": get("Content-Length: 5", "Content-Length: 5", line="POST / HTTP/1.1"),
    "length_list": get("Content-Length: 5, 5", line="POST / HTTP/1.1"),
    "chunked": get("Transfer-Encoding: chunked", line="POST / HTTP/1.1") + "0\r\n\r\n",
    "gzip_chunked": get("Transfer-Encoding: gzip, chunked", line="POST / HTTP/1.1"),
    "both": get("Transfer-Encoding: chunked", "Content-Length: 5", line="POST / HTTP/1.1"),
    "lookalike": get("Transfer_Encoding: chunked", line="POST / HTTP/1.1"),
    "nominated": get("Connection: close, x-a, host, Content-Length", "X-A: 1", "X-B: 2"),
    "upgrade": get("Connection: Upgrade, HTTP2-Settings", "Upgrade: websocket, h2c", "HTTP2-Settings: AAA"),
    "expect": get("Expect: 100-continue", "Content-Length: 5", line="PUT / HTTP/1.1"),
    "expect_other": get("Expect: 200-ok"),
    "underscore": get("x_a: 1", "X-B: 2"),
    "odd_space": get("A:1", "B:  2  ", "C:", "D: \t", "E: \t5\t"),
    "obs_fold": get("A: 1", " 2"),
    "space_before_colon": get("A : 1"),
    "nul": get("A: 1\0"),
    "bare_lf": "GET / HTTP/1.1\nHost: a\n\n",
    "bare_cr": get("A: 1\rB: 2"),
    "two_hosts": get("Host: b"),
    "bad_host": get(host="Host: a@b\r\n"),
    "ipv6_host": get(host="Host: [::1]:80\r\n"),
    "eight_bit": get("A: caf\u00e9", line="GET /caf\u00e9 HTTP/1.1"),
    "leading_line": "\r\n" + get(),
    "two_leading_lines": "\r\n\r\n" + get(),
    "pipelined": get() + get(),
    "long_target": get(line="GET /" + "a" * 130 + " HTTP/1.1"),
    "many_fields": get(*[f"A{n}: {n}" for n in range(20)]),
    "long_value": get("A: " + "x" * 600),
    "tls": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "http09": "GET /\r\n",
    "trace": get("TE: trailers, deflate", "Connection: TE", "Max-Forwards: 0", line="TRACE / HTTP/1.1"),
}

RESPONSES = {
    "length": "GHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "chunked": "GHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: etag\r\n\r\n0\r\n\r\n",
    "until_close": "GHTTP/1.1 200 OK\r\n\r\nall",
    "http10": "GHTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
    "http10_chunked": "GHTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "head": "HHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "connect": "CHTTP/1.1 200 Connected\r\n\r\n",
    "continue": "GHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "switching": "GHTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "no_content": "GHTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "no_content_length": "GHTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "not_modified": "GHTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "no_reason": "GHTTP/1.1 200 \r\n\r\n",
    "no_space": "GHTTP/1.1 200\r\n\r\n",
    "eight_bit_reason": "GHTTP/1.1 200 caf\u00e9\r\n\r\n",
    "both": "GHTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two_lengths": "GHTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
    "bad_status": "GHTTP/1.1 099 No\r\n\r\n",
    "version": "GHTTP/2 200\r\n\r\n",
    "bare_lf": "GHTTP/1.1 200 OK\nContent-Length: 2\n\n",
    "leading_line": "G\r\nHTTP/1.1 200 OK\r\n\r\n",
    "obs_fold": "GHTTP/1.1 200 OK\r\nA: 1\r\n 2\r\n\r\n",
    "nominated": "GHTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
}

BODIES = {
    "empty": "0\r\n\r\n",
    "one": "5\r\nhello\r\n0\r\n\r\n",
    "two": "5\r\nhello\r\nA\r\n0123456789\r\n000\r\n\r\n",
    "next": "1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
    "extensions": "1;a=b\r\nx\r\n1 ;c=\"d\"\r\ny\r\n0;e\r\n\r\n",
    "trailers": "1\r\nx\r\n0\r\nETag: 1\r\nHost: a\r\n\r\n",
    "trailer_fold": "0\r\nA: 1\r\n b\r\n\r\n",
    "trailer_lf": "0\r\nA: 1\n\n",
    "trailers_many": "0\r\n" + "A: 1\r\n" * 6 + "\r\n",
    "long_size": "00000000000000005\r\nhello\r\n",
    "huge": "ffffffffffffffff\r\n",
    "sign": "+5\r\nhello\r\n0\r\n\r\n",
    "hex_prefix": "0x5\r\nhello\r\n0\r\n\r\n",
    "space": "5 \r\nhello\r\n0\r\n\r\n",
    "lf": "5\nhello\n0\n\n",
    "missing_end": "5\r\nhello0\r\n\r\n",
    "cut": "5\r\nhel",
}

PATHS = [
    "/", "/a/b", "/a/./b/../c", "/%61%2e%2E/x", "//a///b/", "/../a", "/a%2fb", "/a%2Fb/..", "/a%00", "/a\\b", "/a%5Cb", "/%",
    "/%4", "/%zz", "/caf\u00e9", "/caf%c3%a9", "/a b", "/a;b/..;/c", "/.well-known/x", "/a|b{c}", "/%252e/", "*", "", "a",
    "/a?b#c", "/...", "/a/%2e%2e%2f..", "/./././", "/a/b/c/../../..",
]


def write(target, seeds):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in seeds.items():
        (folder / name).write_bytes(text.encode("latin-1"))


write("request_head", REQUESTS)
write("response_head", RESPONSES)
write("chunked", BODIES)
write("canonical_path", {f"{n:02}": path for n, path in enumerate(PATHS)})

def numbered(seeds):
    return {f"{n:02}": text for n, text in enumerate(seeds)}


# Method, URI and fields of a request of HTTP/2.
HTTP2 = [
    "GET\nhttp://a.example/x?y=1\nuser-agent:a", "POST\nhttps://a.example/\ncontent-length:5\ncookie:a=1\ncookie:b=2",
    "OPTIONS\n*", "CONNECT\na.example:443", "GET\nhttp://a.example/\nhost:a.example", "GET\nhttp://a.example/\nhost:b.example",
    "GET\nhttp://a.example/\nte:trailers", "GET\nhttp://a.example/\ntransfer-encoding:chunked", "GET\nhttp://[::1]:80/a%20b",
    "GET\nhttp://a.example/a//b/../c", "BREW\nhttp://a.example/\nx-a:1\nx_b:2", "GET\nhttp://u@a.example/", "GET\n/x",
]
GRPC_WEB = [
    "application/grpc-web", "application/grpc-web-text+proto", "AAAAAAIQBw==", "AAAAAAIQBw==gAAAABBncnBjLXN0YXR1czogMA0K", "====",
    "A", "AAA=AAA=", "\0\0\0\0\2\x10\7", "\x80\0\0\0\x10grpc-status: 0\r\n", "!!!!", " AAAA ", "application/grpc-web+a\r\nb",
]
TEMPLATES = [
    "/v1/{name=shelves/*/books/**}:go\n/v1/shelves/1/books/a/b:go", "/v1/{id}\n/v1/x%20y", "/v1/{id}\n/v1/a%2Fb", "/**\n/a/b/c",
    "/v1/*/x\n/v1/any/x", "/v1/{a.b}/{c}\n/v1/1/2", "/{\n/", "/a:b\n/a:b", "/{x=**}\n/", "/{x=a/*}/b\n/a/c/b", "/a\n/a/", "//\n//",
]
HELLO = bytes.fromhex(
    "16030100420100003e0303000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0000021301010000130000000e000c"
    "000009612e6578616d706c6500").decode("latin-1")
HELLOS = [
    HELLO, HELLO[:20], "\x16\3\1\0\0", "\x16", "GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "BREW / HTTP/1.1\r\n", "EHLO a\r\n",
    "\0\0\0\x08\4\xd2\x16\x2f", "SSH-2.0-x\r\n", "GE", "*1\r\n$4\r\nPING\r\n",
]
V2 = "\r\n\r\n\0\r\nQUIT\n"
PROXIES = [
    "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n", "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", "PROXY UNKNOWN\r\n", "PROXY ", "P", "POST /",
    "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n", V2 + "\x21\x11\0\x0c" + "\xc0\0\2\1\xc6\x33\x64\2\0\1\0\2", V2 + "\x20\0\0\0", V2 + "\x21\x21\0\x24",
    V2 + "\x31\x11\0\0", V2[:5], V2 + "\x21\x11\0\x0f" + "\xc0\0\2\1\xc6\x33\x64\2\0\1\0\2\4\0\0",
]
write("http2_text", numbered(HTTP2))
write("grpc_web", numbered(GRPC_WEB))
write("path_template", numbered(TEMPLATES))
write("client_hello", numbered(HELLOS))
write("proxy_protocol", numbered(PROXIES))
