"""A gRPC server with the health service of grpcio-health-checking, for the service `shop.Shop`.

Prints the port it listens on. Each line it is given is the status it tells from then on, as in `NOT_SERVING`.
"""

import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

servicer = health.HealthServicer()
servicer.set("shop.Shop", health_pb2.HealthCheckResponse.SERVING)
server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
for line in sys.stdin:
    servicer.set("shop.Shop", health_pb2.HealthCheckResponse.ServingStatus.Value(line.strip()))
