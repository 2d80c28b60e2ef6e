"""What real clients do to web servers behind Ingress rules: nginx, curl, wrk, nghttp2, WebSockets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest

from netns import Lab, wait_until
from two_hosts import ROUTER_LEFT
from web_programs import HOST, ONE, TWO, Answers, WebPods, request

HEAD_LIMIT = 16384


@pytest.fixture(scope="module", params=[1, 2], ids=["1worker", "2workers"])
def web(request: pytest.FixtureRequest) -> Iterator[WebPods]:
    with Lab(f"slt-{os.getpid()}-web{request.param}-") as lab:
        pods = WebPods(lab, request.param)
        yield pods
        assert pods.router.stop() == 0, pods.router.log()


# ---- many requests of one connection ----

def test_ING12_keep_alive(web: WebPods) -> None:
    paths = [f"/two/{number}" if number % 3 == 0 else f"/{number}" for number in range(30)]
    answers = web.curl(paths, "-w", "connects %{num_connects}\\n").splitlines()
    assert answers[::2] == [f"{TWO if path.startswith('/two') else ONE} GET {path}" for path in paths]
    assert answers[1::2] == ["connects 1"] + ["connects 0"] * 29


def test_ING12_SPL7_pipelining_by_hand(web: WebPods) -> None:
    """Requests for one endpoint in one write: each answer in its turn."""
    paths = ["/a", "/b", "/c"] * 10
    with web.connect() as sock:
        sock.sendall(b"".join(request(path) for path in paths))
        answers = Answers(sock)
        for path in paths:
            assert answers.next() == (200, f"{ONE} GET {path}\n")


def test_ING12_SPL7_pipelining_to_two_endpoints(web: WebPods) -> None:
    """All at once: each is asked when the one before has answered."""
    for before in (1, 3, 12):
        paths = ["/a"] * before + ["/two/a", "/a"]
        with web.connect() as sock:
            sock.sendall(b"".join(request(path) for path in paths))
            answers = Answers(sock)
            for path in paths:
                assert answers.next() == (200, f"{TWO if path.startswith('/two') else ONE} GET {path}\n")
    with web.connect() as sock:  # who waits may go where he likes
        answers = Answers(sock)
        for path in ["/a", "/two/a"] * 5:
            sock.sendall(request(path))
            assert answers.next() == (200, f"{TWO if path.startswith('/two') else ONE} GET {path}\n")


def test_ING12_http_1_0_with_and_without_keep_alive(web: WebPods) -> None:
    with web.connect() as sock:
        answers = Answers(sock)
        for path, endpoint in (("/a", ONE), ("/two/b", TWO)):
            sock.sendall(request(path, "Connection: keep-alive", version="1.0"))
            assert answers.next() == (200, f"{endpoint} GET {path}\n")
        sock.sendall(request("/last", version="1.0"))
        assert answers.next() == (200, f"{ONE} last\n")
        assert answers.at_end()
    assert web.curl(["/a", "/b"], "-0", "-w", "%{num_connects}\\n").splitlines() == \
        [f"{ONE} GET /a", "1", f"{ONE} GET /b", "1"]


def test_ING12_the_server_ends_the_connection(web: WebPods) -> None:
    with web.connect() as sock:
        answers = Answers(sock)
        sock.sendall(request("/a"))
        assert answers.next() == (200, f"{ONE} GET /a\n")
        sock.sendall(request("/last"))
        assert answers.next() == (200, f"{ONE} last\n")
        assert answers.at_end()
    assert web.curl(["/last", "/b"], "-w", "%{num_connects}\\n").splitlines() == \
        [f"{ONE} last", "1", f"{ONE} GET /b", "1"]


# ---- bodies ----

def test_ING12_chunked_upload(web: WebPods) -> None:
    body = os.urandom(3 << 20)
    source = web.lab.directory / "body"
    source.write_bytes(body)
    (web.nginx.folder / "puts" / "chunked").unlink(missing_ok=True)
    done = web.curl(["/puts/chunked"], "-T", str(source), "-H", "Transfer-Encoding: chunked", "-w", "%{http_code}\\n",
                    "-o", "/dev/null")
    assert done == "201\n"
    assert (web.nginx.folder / "puts" / "chunked").read_bytes() == body


@pytest.mark.parametrize("size", [7, 1 << 20])
def test_ING12_expect_100_continue(web: WebPods, size: int) -> None:
    """The body waits for the server's word; behind it comes a request for the other endpoint."""
    body = os.urandom(size)
    with web.connect() as sock:
        answers = Answers(sock)
        sock.sendall(request("/puts/expected", f"Content-Length: {size}", "Expect: 100-continue", method="PUT"))
        assert answers.line() == b"HTTP/1.1 100 Continue\r\n"
        assert answers.line() == b"\r\n"
        sock.sendall(body)
        assert answers.next("PUT")[0] in (201, 204)
        sock.sendall(request("/two/after"))
        assert answers.next() == (200, f"{TWO} GET /two/after\n")
    assert (web.nginx.folder / "puts" / "expected").read_bytes() == body


def test_ING12_head(web: WebPods) -> None:
    (web.files / "page").write_bytes(b"x" * 5000)
    with web.connect() as sock:
        answers = Answers(sock)
        sock.sendall(request("/files/page", method="HEAD") + request("/a"))
        assert answers.next("HEAD") == (200, "")
        assert answers.next() == (200, f"{ONE} GET /a\n")
        sock.sendall(request("/two/files/page", method="HEAD"))
        assert answers.next("HEAD") == (200, "")
        sock.sendall(request("/a"))
        assert answers.next() == (200, f"{ONE} GET /a\n")
    assert "Content-Length: 5000" in web.curl(["/files/page"], "-I")


# ---- heads ----

def long_request(size: int) -> bytes:
    """A request whose head has `size` bytes."""
    def padded(count: int) -> bytes:
        return request("/long", *(f"X-{number}: " + "y" * 900 for number in range(12)), "X-Rest: " + "z" * count)
    made = padded(size - len(padded(0)))
    assert len(made) == size
    return made


@pytest.mark.parametrize(("size", "status"), [(12000, 200), (HEAD_LIMIT, 200), (HEAD_LIMIT + 1, 431), (40000, 431)])
def test_ING13_SPL8_heads_up_to_the_limit_and_above(web: WebPods, size: int, status: int) -> None:
    with web.connect() as sock:
        sock.sendall(long_request(size))
        assert Answers(sock).next()[0] == status


def test_ING13_SPL8_a_later_head_above_the_limit(web: WebPods) -> None:
    with web.connect() as sock:
        answers = Answers(sock)
        for size, status in ((100 + 12000, 200), (HEAD_LIMIT, 200), (HEAD_LIMIT + 1, 431)):
            sock.sendall(long_request(size))
            assert answers.next()[0] == status


def test_SPL2_SPL7_heads_byte_by_byte(web: WebPods) -> None:
    with web.connect() as sock:
        answers = Answers(sock)
        for path, endpoint in (("/a", ONE), ("/two/b", TWO), ("/c", ONE)):
            for byte in request(path):
                sock.send(bytes([byte]))
            assert answers.next() == (200, f"{endpoint} GET {path}\n")


# ---- readers that take their time ----

def test_SPL6_a_slow_reader_closes_its_window(web: WebPods) -> None:
    """Until the server has asked for the window several times; then it reads on."""
    content = os.urandom(4 << 20)
    (web.files / "slow").write_bytes(content)
    with web.connect(receive_buffer=8192) as sock:
        probes = web.right.snmp()["TcpExtTCPWinProbe"]
        sock.sendall(request("/files/slow", "Connection: close"))
        wait_until(lambda: web.right.snmp()["TcpExtTCPWinProbe"] >= probes + 2, 20, "the server to ask for the window")
        received = b""
        while piece := sock.recv(65536):
            received += piece
    assert received.partition(b"\r\n\r\n")[2] == content


# ---- upgrades ----

def test_ING12_websockets(web: WebPods) -> None:
    web.speak_websockets()


def test_ING12_a_refused_upgrade_leaves_the_connection_as_it_was(web: WebPods) -> None:
    """Requests behind it go where their paths say, also when they come before the refusal does."""
    asks = request("/a", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    for early in (False, True):
        with web.connect() as sock:
            answers = Answers(sock)
            sock.sendall(asks + (request("/two/b") if early else b""))
            assert answers.next() == (200, f"{ONE} GET /a\n")
            if not early:
                sock.sendall(request("/two/b"))
            assert answers.next() == (200, f"{TWO} GET /two/b\n")
            sock.sendall(request("/c"))
            assert answers.next() == (200, f"{ONE} GET /c\n")


# ---- load ----

def test_ING12_wrk_with_many_connections(web: WebPods) -> None:
    assert web.wrk(connections=400, seconds=2) > 400


def test_SPL1_wrk_with_a_connection_for_each_request(web: WebPods) -> None:
    assert web.wrk("-H", "Connection: close", connections=50, seconds=1) > 100


def test_ING12_SPL7_wrk_with_pipelining(web: WebPods) -> None:
    script = web.pipeline("/a", "/b", "/more/c", "/d", "/more/e", "/more/f")
    assert web.wrk("-s", str(script), connections=20, seconds=1) > 100


# ---- HTTP/2 of clients that know that it is spoken ----

H2 = "h2.example.com"


def test_ING12_curl_and_http_2(web: WebPods) -> None:
    for path in ("/a", "/b"):  # one each: curl 7.88 begins its second request with the preface again
        done = web.curl([path], "--http2-prior-knowledge", "-w", "%{http_version}\\n", host=H2)
        assert done == f"{ONE} GET {path}\n2\n"


def test_ING12_nghttp_fetches_much(web: WebPods) -> None:
    content = os.urandom(4 << 20)
    (web.files / "h2").write_bytes(content)
    fetched = web.lab.directory / "fetched"
    web.left.run("bash", "-c", f"nghttp -H ':authority: {H2}' http://{ROUTER_LEFT}/files/h2 > {fetched}", timeout=30)
    assert hashlib.sha256(fetched.read_bytes()).digest() == hashlib.sha256(content).digest()


def test_ING12_h2load(web: WebPods) -> None:
    done = web.left.run("h2load", "-n", "4000", "-c", "20", "-m", "10", "-H", f":authority: {H2}",
                        f"http://{ROUTER_LEFT}/load", timeout=40).stdout
    print(done)
    assert "4000 succeeded, 0 failed, 0 errored, 0 timeout" in done
    assert "status codes: 4000 2xx" in done
