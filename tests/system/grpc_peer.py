#!/usr/bin/python3
"""A server and a client of gRPC, with bytes as messages.

Usage: grpc_peer.py serve NAME ADDRESS:PORT     answers each call with NAME and what it was sent, a stream part by part
       grpc_peer.py call HOST ADDRESS:PORT N    N calls and one stream over one channel whose authority is HOST; prints
                                                the answers, one a line
"""

from __future__ import annotations

import sys
import threading
from concurrent import futures

import grpc

UNARY, STREAM = "/test.Echo/Once", "/test.Echo/Stream"


class Handler(grpc.GenericRpcHandler):
    def __init__(self, name: str) -> None:
        self.name = name.encode()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(lambda message, _: self.name + b" " + message)
        if details.method == STREAM:
            return grpc.stream_stream_rpc_method_handler(
                lambda messages, _: (self.name + b" " + message for message in messages))
        return None


def serve(name: str, address: str) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Handler(name)])
    if server.add_insecure_port(address) == 0:
        sys.exit(f"{address} is taken")
    server.start()
    threading.Event().wait()


def call(host: str, address: str, count: str) -> None:
    with grpc.insecure_channel(address, [("grpc.default_authority", host)]) as channel:
        once = channel.unary_unary(UNARY)
        for number in range(int(count)):
            print(once(b"%d" % number, timeout=10).decode())
        parts = channel.stream_stream(STREAM)(iter([b"first", b"x" * 100_000, b"last"]), timeout=20)
        print(*(part[:20].decode() + f"/{len(part)}" for part in parts))


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
