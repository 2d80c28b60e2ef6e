"""Two pods with nginx and one with WebSockets behind Ingress rules, and connections to them by hand."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from cluster import listens
from netns import Lab, Namespace, wait_until
from nginx import Nginx
from objects import service_with_endpoints, with_items
from router import Json, Options
from test_ingress_rules import CLASS, ingress
from two_hosts import ROUTER_LEFT, TwoHosts
from websocket_server import CLOSE, accept_key, frame, read_frame

ONE, TWO = "10.2.0.11", "10.2.0.12"
HTTP1, HTTP2, WEBSOCKET = 8080, 8082, 8090
HOST = "www.example.com"
LISTENS = {"enabled": True, "addresses": [ROUTER_LEFT], "http": [80], "https": [443]}
WEBSOCKET_SERVER = Path(__file__).parent / "websocket_server.py"

SERVERS = f"""
  access_log off;
  client_max_body_size 0;
  large_client_header_buffers 4 64k;
  keepalive_requests 1000000;
  sendfile on;
  server {{
    listen {HTTP1} backlog=4096;
    listen {HTTP2} http2 backlog=4096;
    root {{folder}};
    location / {{ return 200 "$server_addr $request_method $request_uri\\n"; }}
    location /files/ {{ }}
    location /two/files/ {{ alias {{folder}}/files/; }}
    location /puts/ {{ dav_methods PUT; create_full_put_path on; }}
    location /last {{ keepalive_timeout 0; return 200 "$server_addr last\\n"; }}
  }}
"""

PIPELINE = """
init = function(args)
  local all = {}
  for i, path in ipairs({PATHS}) do all[i] = wrk.format(nil, path) end
  requests = table.concat(all)
end
request = function() return requests end
"""


class WebPods(TwoHosts):
    """Paths below /two lead to TWO, /ws to the WebSocket server, all others to ONE, which h2.example.com asks by
    HTTP/2."""

    def __init__(self, lab: Lab, workers: int, driver: str = "net_af_packet", memory: int = 256):
        super().__init__(lab, Options(workers=workers, memory=memory), ipv6=False, driver=driver)
        self.right.ip(f"addr add {ONE}/24 dev eth0", f"addr add {TWO}/24 dev eth0")
        self.nginx = Nginx(self.right, "nginx", SERVERS, HTTP1)
        self.files = self.nginx.folder / "files"
        self.files.mkdir()
        self.right.start(sys.executable, "-I", str(WEBSOCKET_SERVER), "0.0.0.0", str(WEBSOCKET), name="websocket")
        wait_until(lambda: listens(self.right, WEBSOCKET), 10, "the WebSocket server")
        self.start().router.apply(with_items(self.document(ingress=LISTENS), CLASS, *self.items()))

    @staticmethod
    def items() -> list[Json]:
        return [*service_with_endpoints("one", "10.96.0.1", 80, HTTP1, [(ONE, "far")]),
                *service_with_endpoints("two", "10.96.0.2", 80, HTTP1, [(TWO, "far")]),
                *service_with_endpoints("h2", "10.96.0.3", 80, HTTP2, [(ONE, "far")]),
                *service_with_endpoints("ws", "10.96.0.4", 80, WEBSOCKET, [(ONE, "far")]),
                ingress("web", HOST, {"/": "one", "/two": "two", "/ws": "ws"}),
                ingress("h2", "h2.example.com", {"/": "h2"})]

    def curl(self, paths: list[str], *options: str, host: str = HOST, timeout: float = 30) -> str:
        """Its standard output."""
        resolve = f"{host}:80:{ROUTER_LEFT}"
        return self.left.run("curl", "-sS", "--max-time", str(timeout), "--resolve", resolve, *options,
                             *(f"http://{host}{path}" for path in paths), timeout=timeout + 5).stdout

    def wrk(self, *options: str, connections: int, seconds: int) -> int:
        """Requests that were answered, none with an error."""
        done = self.left.run("wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s",
                             "-H", f"Host: {HOST}", *options, f"http://{ROUTER_LEFT}/load", timeout=seconds + 30).stdout
        print(done)
        assert "Socket errors" not in done and "Non-2xx" not in done, done
        return int(re.search(r"(\d+) requests in", done)[1])

    def pipeline(self, *paths: str) -> Path:
        """A script for wrk: requests for all `paths` in one write."""
        script = self.lab.directory / "pipeline.lua"
        script.write_text(PIPELINE.replace("PATHS", ", ".join(f'"{path}"' for path in paths)))
        return script

    def speak_websockets(self) -> None:
        """On a connection that had other requests before; messages both ways, also of the server by itself."""
        key = b"dGhlIHNhbXBsZSBub25jZQ=="
        assert accept_key(key) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the example of RFC 6455, 1.3"
        messages = [(1, b"text"), (2, os.urandom(60000)), (2, os.urandom(500000)), (9, b"ping"), (CLOSE, b"\x03\xe8")]
        with self.connect() as sock:
            answers = Answers(sock)
            sock.sendall(request("/before"))
            assert answers.next() == (200, f"{ONE} GET /before\n")
            sock.sendall(request("/ws/echo", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
                                 "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key.decode()}"))
            head = b"".join(iter(answers.line, b"\r\n"))
            assert head.startswith(b"HTTP/1.1 101 ") and accept_key(key) in head, head

            async def read(count: int) -> bytes:
                return answers.file.read(count)
            assert asyncio.run(read_frame(read)) == (1, b"welcome")
            for opcode, payload in messages:
                sock.sendall(frame(opcode, payload, mask=os.urandom(4)))
                assert asyncio.run(read_frame(read)) == (opcode, payload)
            assert answers.at_end()

    def connect(self, receive_buffer: int = 0) -> contextlib.AbstractContextManager[socket.socket]:
        return connected(self.left, 80, receive_buffer)


@contextlib.contextmanager
def connected(client: Namespace, port: int, receive_buffer: int = 0) -> Iterator[socket.socket]:
    """A connection to the router's address; what is written goes out at once."""
    with client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(20)
        sock.connect((ROUTER_LEFT, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def request(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", f"Host: {HOST}", *fields, "", ""]).encode()


class Answers:
    """Reads the answers of one connection one after another, as far as they go and no further."""

    def __init__(self, sock: socket.socket):
        self.file = sock.makefile("rb")

    def next(self, method: str = "GET") -> tuple[int, str]:
        """Status and body."""
        answer = http.client.HTTPResponse(Shared(self.file), method=method)
        answer.begin()
        return answer.status, answer.read().decode()

    def line(self) -> bytes:
        return self.file.readline()

    def at_end(self) -> bool:
        return self.file.read(1) == b""


class Shared:
    """A socket to HTTPResponse, which leaves what it has not asked for to the next one."""

    def __init__(self, file: io.BufferedReader):
        self.file = file

    def makefile(self, _: str) -> "Unclosed":
        return Unclosed(self.file)


class Unclosed(io.BufferedIOBase):
    def __init__(self, file: io.BufferedReader):
        self.file = file
        self.read, self.read1, self.readline, self.readinto = file.read, file.read1, file.readline, file.readinto

    def close(self) -> None:
        pass
