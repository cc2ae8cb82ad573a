"""A gRPC server with all four kinds of calls, without generated code: messages are bytes.

Prints the port it listens on. Metadata that came is told in trailers; `fail: CODE` in the metadata makes a call fail.
"""

import sys
import time
from concurrent import futures

import grpc


def end(context):
    metadata = dict(context.invocation_metadata())
    left = context.time_remaining()
    context.set_trailing_metadata(
        (("x-saw", metadata.get("x-sent", "")), ("x-left", "none" if left is None or left > 1e6 else str(int(left * 1000))))
    )
    if "fail" in metadata:
        context.abort(getattr(grpc.StatusCode, metadata["fail"]), "as asked: 100% \u00e9")


def unary(request, context):
    if request == b"slow":
        time.sleep(3)
    end(context)
    return request + b"!"


def server_stream(request, context):
    for part in request.split(b","):
        yield part
    end(context)


def client_stream(requests, context):
    joined = b",".join(requests)
    end(context)
    return joined


def both(requests, context):
    for request in requests:
        yield request[::-1]
    end(context)


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        kinds = {
            "/test.Kinds/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/test.Kinds/ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
            "/test.Kinds/ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
            "/test.Kinds/Both": grpc.stream_stream_rpc_method_handler(both),
        }
        return kinds.get(details.method)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((Handler(),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
sys.stdin.read()
