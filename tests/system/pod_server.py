#!/usr/bin/python3
"""What runs in a pod of the laboratory: a web server and a UDP echo that say who they are and whom they see.

Usage: pod_server.py NAME [--http PORT] [--udp PORT] [--keep-alive]

  GET /bytes/N   N bytes of a known pattern
  POST anything  {"pod", "bytes": what came, "sha256": of it}
  GET anything   {"pod", "client": "10.244.0.0:40123", "server": "10.244.34.5:8080", "path"}
  UDP "who"      the same JSON; any other datagram comes back as it is

HTTP/1.0: one request per connection, so that each request is a flow of its own; with --keep-alive HTTP/1.1.
"""

import argparse
import hashlib
import http.server
import json
import socket
import socketserver
import threading

PATTERN = bytes(range(251)) * 261  # a prime period: a lost or doubled segment does not fall on itself


def write_pattern(write, count: int) -> None:
    """`count` bytes of the pattern, repeated, in pieces."""
    while count > 0:
        write(PATTERN[:count])
        count -= len(PATTERN)


def plain(pair: tuple) -> tuple:
    """An IPv4 address as such, which a socket of both families shows inside an IPv6 one."""
    return (pair[0].removeprefix("::ffff:"), *pair[1:])


def address(pair: tuple) -> str:
    return f"[{pair[0]}]:{pair[1]}" if ":" in pair[0] else f"{pair[0]}:{pair[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    pod = ""

    def do_GET(self) -> None:
        if self.path.startswith("/bytes/"):
            count = int(self.path.removeprefix("/bytes/"))
            self.head("application/octet-stream", count)
            write_pattern(self.wfile.write, count)
        else:
            self.answer(path=self.path)

    def do_POST(self) -> None:
        left = int(self.headers.get("Content-Length", 0))
        count, digest = 0, hashlib.sha256()
        while left > 0 and (piece := self.rfile.read(min(left, 65536))):
            digest.update(piece)
            count += len(piece)
            left -= len(piece)
        self.answer(bytes=count, sha256=digest.hexdigest())

    def answer(self, **more: object) -> None:
        reply = {"pod": self.pod, "client": address(self.client_address),
                 "server": address(plain(self.connection.getsockname())), **more}
        body = (json.dumps(reply) + "\n").encode()
        self.head("application/json", len(body))
        self.wfile.write(body)

    def head(self, kind: str, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    address_family = socket.AF_INET6  # and IPv4 through it
    allow_reuse_address = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own would ask the name service who it is
        self.server_name, self.server_port = "", self.server_address[1]

    def finish_request(self, request, client_address) -> None:
        super().finish_request(request, plain(client_address))


def echo_datagrams(pod: str, port: int) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind(("0.0.0.0", port))
    while True:
        data, client = sock.recvfrom(65535)
        if data == b"who":
            data = json.dumps({"pod": pod, "client": address(client)}).encode()
        sock.sendto(data, client)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--http", type=int, default=8080)
    parser.add_argument("--udp", type=int, default=9000)
    parser.add_argument("--keep-alive", action="store_true")
    arguments = parser.parse_args()
    Handler.pod = arguments.name
    if arguments.keep_alive:
        Handler.protocol_version = "HTTP/1.1"
    threading.Thread(target=echo_datagrams, args=(arguments.name, arguments.udp), daemon=True).start()
    Server(("::", arguments.http), Handler).serve_forever()


if __name__ == "__main__":
    main()
