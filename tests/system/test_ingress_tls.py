"""TLS passed on by server names: openssl, nginx, curl, and ClientHellos in pieces."""

from __future__ import annotations

import fcntl
import hashlib
import os
import ssl
import sys
import termios
from collections.abc import Iterator

import pytest

from cluster import listens
from netns import Lab, wait_until
from nginx import Nginx
from objects import service_with_endpoints, with_items
from router import SLUICECTL, Json, Options
from test_ingress_rules import CLASS, ingress
from tls_programs import Authority, Client
from two_hosts import ROUTER_LEFT, TwoHosts
from web_programs import LISTENS, connected

OPENSSL, NGINX = "openssl.example.com", "nginx.example.com"
ENDPOINT = "10.2.0.11"
PASSTHROUGH = {"sluice.dev/tls-passthrough": "true"}

SERVER = """
  access_log off;
  server {
    listen 8444 ssl http2;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate CERTIFICATE;
    ssl_certificate_key KEY;
    root {folder};
    location / { return 200 "$host $server_protocol $ssl_protocol $ssl_session_reused\\n"; }
    location /files/ { }
  }
"""


def passed_on(name: str, host: str, service: str) -> Json:
    made = ingress(name, host, {"/": service}, tls=[{"hosts": [host]}])
    made["metadata"]["annotations"] = PASSTHROUGH
    return made


class TlsPods(TwoHosts):
    def __init__(self, lab: Lab, workers: int, driver: str = "net_af_packet"):
        super().__init__(lab, Options(workers=workers), ipv6=False, driver=driver)
        self.authority = Authority(lab.directory / "authority")
        self.right.ip(f"addr add {ENDPOINT}/24 dev eth0")
        certificate, key = self.authority.issue(OPENSSL)
        self.right.start("openssl", "s_server", "-www", "-accept", "8443", "-cert", str(certificate), "-key", str(key),
                         name="openssl")
        wait_until(lambda: listens(self.right, 8443), 10, "openssl s_server")
        certificate, key = self.authority.issue(NGINX)
        configuration = SERVER.replace("CERTIFICATE", str(certificate)).replace("KEY", str(key))
        self.nginx = Nginx(self.right, "nginx", configuration, 8444)
        self.start().router.apply(with_items(
            self.document(ingress=LISTENS), CLASS, passed_on("a", OPENSSL, "openssl"), passed_on("b", NGINX, "nginx"),
            *service_with_endpoints("openssl", "10.96.0.1", 80, 8443, [(ENDPOINT, "far")]),
            *service_with_endpoints("nginx", "10.96.0.2", 80, 8444, [(ENDPOINT, "far")])))

    def curl(self, *words: str, host: str = NGINX) -> str:
        return self.left.run("curl", "-sS", "--max-time", "20", "--cacert", str(self.authority.certificate),
                             "--resolve", f"{host}:443:{ROUTER_LEFT}", "--resolve", f"{host}:80:{ROUTER_LEFT}",
                             *words, timeout=30).stdout

    def s_client(self, *options: str, host: str = OPENSSL) -> str:
        """The server's own page about the connection, behind the client's words."""
        command = ["openssl", "s_client", "-connect", f"{ROUTER_LEFT}:443", "-verify_return_error", "-verify_hostname",
                   host, "-CAfile", str(self.authority.certificate), "-ign_eof", *options]
        done = self.left.run("bash", "-c", 'printf "GET / HTTP/1.0\\r\\n\\r\\n" | "$@"', "bash", *command, check=False)
        return done.stdout + done.stderr


@pytest.fixture(scope="module", params=[1, 2], ids=["1worker", "2workers"])
def pods(request: pytest.FixtureRequest) -> Iterator[TlsPods]:
    with Lab(f"slt-{os.getpid()}-tls{request.param}-") as lab:
        made = TlsPods(lab, request.param)
        yield made
        assert made.router.stop() == 0, made.router.log()


@pytest.mark.parametrize(("option", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_ING14_openssl_and_resumption(pods: TlsPods, option: str, version: str) -> None:
    """The server says on its page whether a session was resumed."""
    session = str(pods.lab.directory / f"session{option}")
    first = pods.s_client(option, "-servername", OPENSSL, "-sess_out", session)
    assert f"CN = {OPENSSL}" in first and "Verify return code: 0 (ok)" in first, first
    assert f"New, {version}, Cipher is" in first.partition("<pre>")[2], first
    second = pods.s_client(option, "-servername", OPENSSL, "-sess_in", session)
    assert f"Reused, {version}, Cipher is" in second.partition("<pre>")[2], second


@pytest.mark.parametrize("protocol", ["1.1", "2"])
def test_ING14_curl_and_nginx(pods: TlsPods, protocol: str) -> None:
    done = pods.curl(f"--http{protocol}", f"https://{NGINX}/a", f"https://{NGINX}/b", "-w", "%{num_connects}\\n")
    lines = done.splitlines()
    assert [line.split()[0:3:2] for line in lines[::2]] == [[NGINX, "TLSv1.3"]] * 2, done
    assert lines[0].split()[1] == {"1.1": "HTTP/1.1", "2": "HTTP/2.0"}[protocol]
    assert lines[1::2] == ["1", "0"], "one connection"


def test_ING14_redirects_are_followed(pods: TlsPods) -> None:
    done = pods.curl("-L", "-w", "%{num_redirects} %{url_effective}\\n", f"http://{NGINX}/a?b=c")
    assert done.splitlines()[1] == f"1 https://{NGINX}/a?b=c"


def test_ING14_SPL5_ten_megabytes(pods: TlsPods) -> None:
    content = os.urandom(10 << 20)
    files, fetched = pods.nginx.folder / "files", pods.lab.directory / "fetched"
    files.mkdir(exist_ok=True)
    (files / "large").write_bytes(content)
    pods.curl("-o", str(fetched), f"https://{NGINX}/files/large")
    assert hashlib.sha256(fetched.read_bytes()).digest() == hashlib.sha256(content).digest()


def test_ING14_SPL2_SPL5_over_a_bad_network(lab: Lab, workers: int) -> None:
    made = TlsPods(lab, workers, "net_tap")
    made.lose(1)
    made.reorder(2)
    test_ING14_SPL5_ten_megabytes(made)
    done = made.curl(*(f"https://{NGINX}/{number}" for number in range(20)), "-H", "Connection: close")
    assert done.count(f"{NGINX} HTTP/") == 20
    assert made.right.snmp()["TcpRetransSegs"] > 0, "the server has lost nothing"


@pytest.mark.parametrize("options", [("-servername", "unknown.example.com"), ("-noservername",)],
                         ids=["unknown", "none"])
def test_ING14_an_alert_for_names_without_rule(pods: TlsPods, options: tuple[str, ...]) -> None:
    said = pods.s_client(*options)
    assert "unrecognized name" in said and "SSL alert number 112" in said, said


def test_ING14_what_is_no_tls_is_reset(pods: TlsPods) -> None:
    with connected(pods.left, port=443) as sock, pytest.raises(ConnectionResetError):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: nginx.example.com\r\n\r\n")
        sock.recv(100)


# ---- ClientHellos in pieces ----

def in_records(hello: bytes, *cuts: int) -> bytes:
    """The same message, each piece of it in a record of its own (RFC 8446, 5.1)."""
    head, message = hello[:3], hello[5:]
    assert int.from_bytes(hello[3:5], "big") == len(message), "one record"
    pieces = [message[start:end] for start, end in zip((0, *cuts), (*cuts, len(message)))]
    return b"".join(head + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def asks(pieces: list[bytes], client: Client, version: str = "TLSv1.3") -> None:
    """Each piece is a segment of its own: it is sent when the one before has been acknowledged."""
    for piece in pieces:
        client.sock.sendall(piece)
        wait_until(lambda: unacknowledged(client) == 0, 5, "an acknowledgement", interval=0.001)
    client.finish()
    answer = client.ask(b"GET / HTTP/1.1\r\nHost: nginx.example.com\r\nConnection: close\r\n\r\n")
    assert f"\r\n\r\nnginx.example.com HTTP/1.1 {version} ".encode() in answer, answer


def unacknowledged(client: Client) -> int:
    """Bytes that the kernel still has to send, or to see acknowledged."""
    return int.from_bytes(fcntl.ioctl(client.sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at:at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("first", [1, 5, 20, 100])
def test_ING14_SPL2_a_hello_in_two_segments(pods: TlsPods, first: int, version: str) -> None:
    with connected(pods.left, port=443) as sock:
        context = pods.authority.context()
        context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
        client = Client(sock, context, NGINX)
        hello = client.hello()
        assert len(hello) > first
        asks([hello[:first], hello[first:]], client, version)


def test_ING14_a_trace_names_what_a_hello_in_two_segments_says(pods: TlsPods) -> None:
    words = ("--socket", str(pods.router.socket), "trace", "-c", "1000", "--seconds", "20", "tcp dst port 443")
    trace = pods.router.namespace.start(str(SLUICECTL), *words, name="trace")

    def seen() -> bool:
        with connected(pods.left, port=443) as sock:
            client = Client(sock, pods.authority.context(["h2", "http/1.1"]), NGINX)
            hello = client.hello()
            for piece in (hello[:100], hello[100:]):
                client.sock.sendall(piece)
                wait_until(lambda: unacknowledged(client) == 0, 5, "an acknowledgement", interval=0.001)
        return "ClientHello with" in trace.stdout()
    wait_until(seen, 15, lambda: f"a trace of it: {trace.stdout()}{trace.stderr()}")
    trace.stop()
    assert f'ClientHello with server name "{NGINX}" and ALPN "h2,http/1.1"' in trace.stdout(), trace.stdout()


def test_ING14_SPL2_a_hello_byte_by_byte(pods: TlsPods) -> None:
    with connected(pods.left, port=443) as sock:
        client = Client(sock, pods.authority.context(), NGINX)
        asks(cut(client.hello(), 1), client)


@pytest.mark.parametrize("cuts", [(1,), (4, 50), (100, 101, 102)])
def test_ING14_a_hello_in_several_records(pods: TlsPods, cuts: tuple[int, ...]) -> None:
    with connected(pods.left, port=443) as sock:
        client = Client(sock, pods.authority.context(), NGINX)
        asks([in_records(client.hello(), *cuts)], client)


@pytest.mark.parametrize("protocols", [50, 500], ids=["1800-bytes", "15000-bytes"])
def test_ING14_SPL2_a_large_hello(pods: TlsPods, protocols: int) -> None:
    """As large as those with keys that no quantum computer finds, and far larger."""
    offered = ["http/1.1", *(f"a-protocol-of-nobody-{number:07}" for number in range(protocols))]
    with connected(pods.left, port=443) as sock:
        client = Client(sock, pods.authority.context(offered), NGINX)
        hello = client.hello()
        assert len(hello) > 29 * protocols
        asks(cut(hello, 1000), client)
