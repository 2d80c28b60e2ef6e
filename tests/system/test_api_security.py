"""The API on TCP as a platform meets it: TLS, tokens, client certificates, rotation, and clients that mean no good.

Certificates are made on the spot with openssl(1); curl and sluicectl are the clients.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import resource
import socket
import ssl
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from netns import Lab, execute, wait_until
from router import SLUICECTL, SLUICED, Options, Router

ADMIN = "admin-token-4b1f6d0c2a"
READER = "reader-token-9e3a7c55d1"
HOST = "127.0.0.1"
PORT = 9443

DOCUMENT = {"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "gateway"},
     "spec": {"nodeName": "gw", "interfaces": [
         {"name": "null0", "device": "net_null0,no-rx=1", "addresses": ["192.0.2.1/24"]}]}}]}


def service(number: int) -> dict:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"web-{number}", "namespace": "default"},
            "spec": {"clusterIP": f"10.96.0.{number}", "ports": [{"port": 80}]}}


@dataclass
class Authority:
    """A certificate authority in a directory."""

    directory: Path
    name: str

    def __post_init__(self) -> None:
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-keyout", self.path("key"), "-out", self.path("crt"), "-subj", f"/CN={self.name}")

    def path(self, kind: str) -> str:
        return str(self.directory / f"{self.name}.{kind}")

    @property
    def certificate(self) -> str:
        return self.path("crt")

    def issue(self, name: str, subject: str, names: str = "", days: int = 30) -> tuple[str, str]:
        """Certificate and key. `days` may be negative: it ran out yesterday."""
        key, request, certificate, extensions = (str(self.directory / f"{name}.{end}")
                                                 for end in ("key", "csr", "crt", "ext"))
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                "-out", request, "-subj", subject)
        Path(extensions).write_text(f"subjectAltName={names}\n" if names else "basicConstraints=CA:FALSE\n")
        if days > 0:
            openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.path("key"),
                    "-CAcreateserial", "-days", str(days), "-extfile", extensions, "-out", certificate)
        else:
            (self.directory / "index.txt").write_text("")
            (self.directory / "serial").write_text("77\n")
            (self.directory / "ca.cnf").write_text(
                f"[ca]\ndefault_ca=d\n[d]\ndir={self.directory}\ndatabase=$dir/index.txt\nnew_certs_dir=$dir\n"
                "serial=$dir/serial\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=optional\norganizationName=optional\n")
            openssl("ca", "-batch", "-config", str(self.directory / "ca.cnf"), "-in", request, "-cert",
                    self.certificate, "-keyfile", self.path("key"), "-startdate", "20200101000000Z", "-enddate",
                    "20200102000000Z", "-extfile", extensions, "-out", certificate)
        Path(key).chmod(0o600)
        return certificate, key


def openssl(*words: str) -> None:
    execute("openssl", *words)


@dataclass
class Secured:
    """A router whose API is on TCP, and what its clients need."""

    router: Router
    authority: Authority
    access: Path
    certificate: Path
    key: Path

    def curl(self, target: str, *words: str, token: str = "", ca: str = "", check: bool = True) -> tuple[int, str]:
        """Status and body; 0 without an answer."""
        arguments = ["curl", "-sS", "--max-time", "10", "--cacert", ca or self.authority.certificate,
                     "-w", "\n%{http_code}", f"https://{HOST}:{PORT}{target}", *words]
        if token:
            arguments += ["-H", f"Authorization: Bearer {token}"]
        done = self.router.namespace.run(*arguments, check=check)
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body + done.stderr

    def serial(self) -> str:
        """Of the certificate that a new connection is shown."""
        done = self.router.namespace.run(
            "sh", "-c", f"openssl s_client -connect {HOST}:{PORT} </dev/null 2>/dev/null | openssl x509 -noout -serial")
        return done.stdout.strip()

    def control(self, *words: str, token: str = "", options: tuple[str, ...] = (), check: bool = True):
        if token:
            file = self.access.parent / "client-token"
            file.write_text(token)
            options = (*options, "--token-file", str(file))
        return self.router.namespace.run(str(SLUICECTL), "--server", f"https://{HOST}:{PORT}", *options, *words,
                                         check=check)


@pytest.fixture
def secured(lab: Lab) -> Secured:
    authority = Authority(lab.directory, "ca")
    certificate, key = authority.issue("server", "/CN=gateway", f"IP:{HOST},DNS:gateway.example")
    access = lab.directory / "access"
    access.write_text(f"# who may do what\nread-write token {ADMIN}\n"
                      f"read-only token sha256:{hashlib.sha256(READER.encode()).hexdigest()}\n"
                      "read-only cn prometheus\nread-write o platform team\n")
    access.chmod(0o600)
    router = Router(lab.namespace("gw"), options=Options(extra=(
        "--api-listen", f"{HOST}:{PORT}", "--api-access", str(access), "--tls-cert", certificate, "--tls-key", key,
        "--tls-client-ca", authority.certificate)))
    router.start(DOCUMENT)
    return Secured(router, authority, access, Path(certificate), Path(key))


def test_tokens_and_roles(secured: Secured) -> None:
    assert secured.curl("/v1/status", token=READER)[0] == 200
    assert secured.curl("/metrics", token=READER)[0] == 200
    for probe in ("/healthz", "/livez", "/readyz"):
        assert secured.curl(probe)[0] == 200
    for target in ("/v1/status", "/metrics"):
        assert secured.curl(target)[0] == 401
        assert secured.curl(target, token="wrong-token-0000000")[0] == 401
    head = secured.curl("/v1/status", "-i")[1]
    assert "WWW-Authenticate: Bearer" in head
    generation = secured.router.generation()
    put = ("-X", "PUT", "-H", "Content-Type: application/json", "--data-binary", json.dumps(service(1)))
    status, body = secured.curl("/v1/services/default/web-1", *put, token=READER)
    assert status == 403 and "needs the role read-write" in body
    assert secured.router.generation() == generation
    assert secured.curl("/v1/services/default/web-1", *put, token=ADMIN)[0] == 200
    assert secured.router.generation() == generation + 1


def test_client_certificates_have_roles(secured: Secured) -> None:
    def ask(subject: str, *words: str, authority: Authority | None = None, days: int = 30, check: bool = True):
        certificate, key = (authority or secured.authority).issue("client", subject, days=days)
        return secured.curl("/v1/drains", "--cert", certificate, "--key", key, *words, check=check)

    change = ("-X", "DELETE", "-G", "--data-urlencode", "endpoint=10.0.0.1")
    assert ask("/CN=prometheus")[0] == 200
    assert ask("/CN=prometheus", *change)[0] == 403
    assert ask("/O=platform team/CN=anna", *change)[0] == 404  # it may; there is none
    status, body = ask("/O=sales/CN=bert")
    assert status == 403 and "CN=bert" in body
    assert ask("/CN=prometheus", days=-1, check=False)[0] == 0
    stranger = Authority(secured.authority.directory, "stranger")
    assert ask("/O=platform team/CN=eve", authority=stranger, check=False)[0] == 0
    assert secured.router.request("GET", "/readyz").status == 200


def test_clients_do_not_trust_another_server(secured: Secured) -> None:
    stranger = Authority(secured.authority.directory, "stranger")
    status, body = secured.curl("/healthz", ca=stranger.certificate, check=False)
    assert status == 0 and "certificate" in body
    done = secured.control("get", "status", token=READER, options=("--ca", stranger.certificate), check=False)
    assert done.returncode == 3 and "--ca" in done.stderr


def test_only_tls_of_today(secured: Secured) -> None:
    def negotiated(**limits: ssl.TLSVersion) -> tuple[str | None, str | None]:
        context = ssl.create_default_context(cafile=secured.authority.certificate)
        context.set_ciphers("ALL:@SECLEVEL=0")
        for name, version in limits.items():
            setattr(context, name, version)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with secured.router.namespace.entered(), socket.create_connection((HOST, PORT), 5) as raw, \
                context.wrap_socket(raw, server_hostname=HOST) as sealed:
            return sealed.version(), sealed.selected_alpn_protocol()

    assert negotiated() == ("TLSv1.3", "http/1.1")
    assert negotiated(maximum_version=ssl.TLSVersion.TLSv1_2) == ("TLSv1.2", "http/1.1")
    with pytest.warns(DeprecationWarning), pytest.raises(ssl.SSLError):
        negotiated(minimum_version=ssl.TLSVersion.TLSv1_1, maximum_version=ssl.TLSVersion.TLSv1_1)
    # Plain HTTP gets nothing.
    with secured.router.namespace.entered(), socket.create_connection((HOST, PORT), 5) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/1.1" not in raw.recv(1000)


def test_sluicectl_over_tls(secured: Secured) -> None:
    ca = ("--ca", secured.authority.certificate)
    assert '"ready"' in secured.control("get", "status", "-o", "json", token=READER, options=ca).stdout
    file = secured.access.parent / "service.json"
    file.write_text(json.dumps(service(2)))
    refused = secured.control("patch", "-f", str(file), token=READER, options=ca, check=False)
    assert refused.returncode == 1 and "needs the role read-write" in refused.stderr
    certificate, key = secured.authority.issue("anna", "/O=platform team/CN=anna")
    secured.control("patch", "-f", str(file), options=(*ca, "--cert", certificate, "--key", key))
    assert "web-2" in secured.control("get", "services", token=READER, options=ca).stdout
    nobody = secured.control("get", "status", options=ca, check=False)
    assert nobody.returncode == 1 and "401" in nobody.stderr
    # From the environment, as in a shell of an operator.
    from_environment = secured.router.namespace.run(
        "env", f"SLUICE_SERVER=https://{HOST}:{PORT}", f"SLUICE_CA={secured.authority.certificate}",
        f"SLUICE_TOKEN_FILE={secured.access.parent / 'client-token'}", str(SLUICECTL), "get", "status")
    assert "gw" in from_environment.stdout


def test_certificates_and_tokens_rotate(secured: Secured) -> None:
    context = ssl.create_default_context(cafile=secured.authority.certificate)

    @contextlib.contextmanager
    def connected() -> Iterator[Callable[[str], int]]:
        with secured.router.namespace.entered(), socket.create_connection((HOST, PORT), 5) as raw, \
                context.wrap_socket(raw, server_hostname=HOST) as sealed:
            connection = http.client.HTTPConnection(HOST)
            connection.sock = sealed
            connection.auto_open = 0  # this one and no other

            def ask(token: str) -> int:
                connection.request("GET", "/v1/version", headers={"Authorization": f"Bearer {token}"})
                response = connection.getresponse()
                response.read()
                return response.status

            yield ask

    before = secured.serial()
    with connected() as ask:
        assert ask(READER) == 200
        secured.authority.issue("server", "/CN=gateway", f"IP:{HOST}")
        secured.access.write_text("read-only token another-token-77aa01\n")
        secured.router.process.signal(1)  # SIGHUP
        wait_until(lambda: secured.serial() != before, 5, "the new certificate")
        # The connection from before is judged by the new rules, and a 401 is its last answer.
        assert ask(READER) == 401
        with pytest.raises((http.client.HTTPException, OSError)):
            ask("another-token-77aa01")
    with connected() as ask:
        assert ask("another-token-77aa01") == 200
        # Half of a pair is no pair: the old one stays.
        serving = secured.serial()
        secured.key.write_text(Path(secured.authority.path("key")).read_text())
        secured.router.process.signal(1)
        wait_until(lambda: "goes on with the credentials from before" in secured.router.log(), 5, "the complaint")
        assert secured.serial() == serving
        assert ask("another-token-77aa01") == 200
    assert secured.router.process.running()


def test_certificates_are_read_again_without_being_told(secured: Secured) -> None:
    before = secured.serial()
    secured.authority.issue("server", "/CN=gateway", f"IP:{HOST}")
    wait_until(lambda: secured.serial() != before, 25, "the new certificate", interval=0.5)


def test_credentials_that_the_user_cannot_read_are_told_of(secured: Secured) -> None:
    """At once, and not when they are rotated months later. What was read as root serves on."""
    router, directory = secured.router, secured.authority.directory
    assert router.stop() == 0
    for parent in (directory, *directory.parents):
        parent.chmod(parent.stat().st_mode | 0o111)
    router.start(DOCUMENT, "--user", "nobody")
    wait_until(lambda: "goes on with the credentials from before: cannot read" in router.log(), 5, "the complaint")
    assert secured.curl("/v1/status", token=READER)[0] == 200


@pytest.mark.parametrize("options, words", [
    (["--api-listen", "127.0.0.1:9443"], "--api-access FILE says who may do what"),
    (["--api-listen", "127.0.0.1"], "expected ADDRESS:PORT"),
    (["--api-listen", "0.0.0.0:9443", "--api-access", "access"], "addresses that are named"),
    (["--api-listen", "192.0.2.9:9443", "--api-access", "access"], "without TLS the API is served on loopback"),
    (["--api-access", "access"], "--api-listen ADDRESS:PORT"),
    (["--api-listen", "127.0.0.1:9443", "--api-access", "open"], "open to other users"),
    (["--api-listen", "127.0.0.1:9443", "--api-access", "access", "--tls-cert", "access"], "--tls-key"),
    (["--api-listen", "127.0.0.1:9443", "--api-access", "access", "--tls-cert", "access", "--tls-key", "access"],
     "cannot use"),
])
def test_mistakes_are_told_before_anything_starts(tmp_path: Path, options: list[str], words: str) -> None:
    for name, mode in (("access", 0o600), ("open", 0o644)):
        (tmp_path / name).write_text(f"read-only token {READER}\n")
        (tmp_path / name).chmod(mode)
    refused_start(tmp_path, options, words)


def refused_start(directory: Path, options: list[str], words: str) -> None:
    ended = subprocess.run([SLUICED, "--socket", "s", "--state-dir", "", *options], timeout=20, text=True,
                           capture_output=True, check=False, cwd=directory)
    assert ended.returncode == 3, ended.stderr
    assert words in ended.stderr
    assert not (directory / "s").exists()


def test_never_on_a_data_port(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path, "ca").issue("server", "/CN=gateway", "IP:192.0.2.1")
    (tmp_path / "access").write_text(f"read-only token {READER}\n")
    (tmp_path / "access").chmod(0o600)
    document = json.loads(json.dumps(DOCUMENT))
    (tmp_path / "own.json").write_text(json.dumps(document))
    document["items"][0]["spec"]["interfaces"][0]["device"] = "net_af_packet0,iface=lo"
    (tmp_path / "kernel.json").write_text(json.dumps(document))
    options = ["--api-access", "access", "--tls-cert", certificate, "--tls-key", key]
    refused_start(tmp_path, ["--api-listen", "192.0.2.1:9443", "--config", "own.json", *options],
                  "192.0.2.1 is an address of the router's interface null0")
    refused_start(tmp_path, ["--api-listen", "127.0.0.1:9443", "--config", "kernel.json", *options],
                  "127.0.0.1 is an address of lo, which the router takes for its interface null0")


# ---- clients that mean no good ----

def push_seconds(router: Router, number: int) -> float:
    began = time.monotonic()
    reply = router.request("PUT", f"/v1/services/default/web-{number % 200 + 1}",
                           json.dumps(service(number % 200 + 1) | {"spec": {
                               "clusterIP": f"10.96.0.{number % 200 + 1}", "ports": [{"port": 80 + number}]}}))
    assert reply.status == 200, reply.text
    return time.monotonic() - began


def median_push(router: Router, first: int, count: int = 40) -> float:
    return statistics.median(push_seconds(router, first + number) for number in range(count))


@contextlib.contextmanager
def slow_clients(router: Router, count: int, over_tcp: bool):
    """Connections that have begun a request and send a byte of it now and then; one that was ended is opened again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    clients: list[socket.socket] = []

    def connect() -> socket.socket:
        client = socket.socket(socket.AF_INET if over_tcp else socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(0.2)
        with contextlib.suppress(OSError):
            client.connect((HOST, PORT) if over_tcp else str(router.socket))
            client.sendall(b"\x16\x03\x01" if over_tcp else b"GET /v1/status HTTP/1.1\r\nX: ")  # a TLS record begins
        return client

    def trickle() -> None:
        for index in range(0, count, 10):
            try:
                clients[index].sendall(b"\x02" if over_tcp else b"y")
            except OSError:
                clients[index].close()
                clients[index] = connect()

    try:
        with router.namespace.entered():
            clients.extend(connect() for _ in range(count))
        yield trickle
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("over_tcp", [False, True], ids=["unix", "tcp"])
def test_1000_slow_clients_do_not_delay_a_push(secured: Secured, over_tcp: bool) -> None:
    router = secured.router
    median_push(router, 0)
    alone = median_push(router, 1000)
    with slow_clients(router, 1000, over_tcp) as trickle:
        under_attack = []
        for turn in range(8):
            with router.namespace.entered():
                trickle()
            under_attack.append(median_push(router, 2000 + 100 * turn, 5))
        assert statistics.median(under_attack) < 3 * alone + 0.02, (alone, under_attack)
        assert secured.curl("/v1/status", token=READER)[0] == 200
    assert router.request("GET", "/readyz").status == 200


def test_handshakes_that_stop_half_way_time_out(secured: Secured) -> None:
    with secured.router.namespace.entered(), contextlib.ExitStack() as stack:
        began = time.monotonic()
        clients = [stack.enter_context(socket.create_connection((HOST, PORT), 5)) for _ in range(3)]
        clients[1].sendall(b"\x16\x03\x01\x02\x00\x01")
        for client in clients:
            client.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        assert 8 < time.monotonic() - began < 18
    assert secured.curl("/healthz")[0] == 200
