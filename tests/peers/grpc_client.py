"""Calls all four kinds through an address and says what came of each, a line a call."""

import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1])
sent = (("x-sent", "hello"),)


def trailing(call):
    return dict(call.trailing_metadata())


unary = channel.unary_unary("/test.Kinds/Unary")
answer, call = unary.with_call(b"one", timeout=5, metadata=sent)
trailers = trailing(call)
print("unary", answer, trailers["x-saw"], 0 < int(trailers["x-left"]) <= 5000)

call = channel.unary_stream("/test.Kinds/ServerStream")(b"a,b,c", metadata=sent)
print("server_stream", list(call), trailing(call)["x-saw"])

answer, call = channel.stream_unary("/test.Kinds/ClientStream").with_call(iter([b"x", b"y"]), metadata=sent)
print("client_stream", answer, trailing(call)["x-saw"])

call = channel.stream_stream("/test.Kinds/Both")(iter([b"abc", b"def"]), metadata=sent)
print("both", list(call), trailing(call)["x-saw"])

large = b"z" * 3_000_000
print("large", unary(large) == large + b"!")

for code in ("NOT_FOUND", "UNAUTHENTICATED"):
    try:
        unary(b"x", metadata=(("fail", code),))
    except grpc.RpcError as error:
        print("fails", error.code().name, error.details())

try:
    unary(b"slow", timeout=0.3)
except grpc.RpcError as error:
    print("late", error.code().name)

try:
    channel.unary_unary("/test.Kinds/Nothing")(b"")
except grpc.RpcError as error:
    print("unknown", error.code().name)

try:
    channel.unary_unary("/nobody.There/Call")(b"")
except grpc.RpcError as error:
    print("unrouted", error.code().name, error.details())

try:
    channel.unary_unary("/dead.Service/Call")(b"")
except grpc.RpcError as error:
    print("dead", error.code().name, error.details())
