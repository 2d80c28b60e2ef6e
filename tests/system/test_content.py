"""ContentPolicies between a real client and a real server: what is looked for, how connections end, and that all others
pass byte for byte, on links that lose and reorder too."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from pathlib import Path

import pytest

from netns import Lab, wait_until
from objects import service_with_endpoints, with_items
from pod_server import write_pattern
from probes import listening
from router import SLUICECTL, Json, Options
from two_hosts import LEFT, RIGHT, TwoHosts

SERVERS = Path(__file__).parent
VIP, ECHO = "10.96.0.10", "10.96.0.11"
URL = f"http://{VIP}"


def policy(*patterns: Json, name: str = "looks", **spec: Json) -> Json:
    return {"apiVersion": "sluice.dev/v1", "kind": "ContentPolicy", "metadata": {"namespace": "default", "name": name},
            "spec": {"serviceSelector": {}, "patterns": list(patterns), **spec}}


def start_hosts(lab: Lab, workers: int, driver: str) -> TwoHosts:
    made = TwoHosts(lab, Options(workers=workers), driver=driver).start()
    made.right.start("/usr/bin/python3", str(SERVERS / "pod_server.py"), "web", "--http", "8080", name="server")
    made.right.start("/usr/bin/python3", str(SERVERS / "echo_server.py"), "echo", "9090", name="echo")
    wait_until(lambda: listening(made.right, 8080) and listening(made.right, 9090), 5, "the servers")
    return made


@pytest.fixture
def hosts(lab: Lab, workers: int) -> TwoHosts:
    return start_hosts(lab, workers, "net_af_packet")


def put(hosts: TwoHosts, *items: Json) -> Json:
    web = service_with_endpoints("web", VIP, 80, 8080, [(RIGHT, "node1")])
    echo = service_with_endpoints("echo", ECHO, 80, 9090, [(RIGHT, "node1")])
    document = with_items(hosts.document(), *web, *echo, *items)
    document["items"][0]["spec"]["cluster"] = {"clusterCIDRs": ["10.1.0.0/24"]}
    return hosts.router.apply(document)


def fetch(hosts: TwoHosts, *words: str, seconds: int = 3) -> tuple[int, str]:
    done = hosts.left.run("curl", "-sS", "--max-time", str(seconds), *words, timeout=seconds + 10, check=False)
    return done.returncode, done.stdout


def found(hosts: TwoHosts) -> dict[str, int]:
    return {pattern["name"]: pattern["matches"]
            for one in hosts.router.get("/v1/content-policies")["contentPolicies"] for pattern in one["patterns"]}


TIMED_OUT, RESET = 28, 56


def test_CNT3_curl_meets_each_action(hosts: TwoHosts) -> None:
    put(hosts, policy({"name": "drop", "regex": r"GET /drop-\d+ ", "action": "Drop"},
                      {"name": "reset", "literal": "X-Attack: yes", "action": "Reset"},
                      {"name": "count", "regex": "(?i)user-agent: curl", "action": "Count"}, direction="Ingress"))
    assert fetch(hosts, f"{URL}/")[0] == 0
    assert found(hosts) == {"drop": 0, "reset": 0, "count": 1}
    assert fetch(hosts, "-A", "", f"{URL}/drop-17", seconds=1)[0] == TIMED_OUT
    assert fetch(hosts, "-A", "", "-H", "X-Attack: yes", f"{URL}/")[0] == RESET
    assert found(hosts) == {"drop": 1, "reset": 1, "count": 1}
    drops = hosts.router.drops()
    assert drops["content_matched"] == 2 and drops["content_blocked"] >= 1
    text = hosts.router.control("get", "contentpolicies").stdout
    assert "default/looks: 2 services, 0 pods" in text and "drop     Drop    Ingress    1" in text
    metrics = hosts.router.connect()
    metrics.request("GET", "/metrics")
    assert 'sluice_content_matches_total{policy="default/looks"} 3' in metrics.getresponse().read().decode()


def test_CNT9_which_pattern_and_which_bytes(hosts: TwoHosts) -> None:
    put(hosts, policy({"name": "attack", "regex": r"(?i)x-attack: *yes", "action": "Reset"}, direction="Ingress"))
    assert fetch(hosts, f"{URL}/")[0] == 0, "and the neighbour is known"
    probe = ("explain", "--from", LEFT, "--to", f"{VIP}:80", "--data")
    said = hosts.router.control(*probe, "GET / HTTP/1.1\r\nX-Attack:  yes\r\n").stdout
    assert ('pattern default/looks: attack matches bytes 16 to 29 ("X-Attack:  yes") of what the client says: both ends '
            "get a RST") in said, said
    assert said.endswith("=> dropped (content_matched)\n"), said
    said = hosts.router.control(*probe, "GET / HTTP/1.1").stdout
    assert ("default/looks looks into the first 16384 bytes that the client says: none of its patterns is in these 14 "
            "bytes") in said and said.endswith("=> forwarded\n"), said
    assert found(hosts) == {"attack": 0}, "nobody sent anything"

    words = ("--socket", str(hosts.router.socket), "trace", "-c", "400", "--seconds", "20", f"dst host {VIP}")
    trace = hosts.router.namespace.start(str(SLUICECTL), *words, name="trace")

    def seen() -> bool:
        assert fetch(hosts, "-A", "", "-H", "X-Attack: yes", f"{URL}/")[0] == RESET
        return '("X-Attack: yes")' in trace.stdout()
    wait_until(seen, 15, lambda: f"a trace of it: {trace.stdout()}{trace.stderr()}")
    trace.stop()
    sent = f"GET / HTTP/1.1\r\nHost: {VIP}\r\nAccept: */*\r\n"
    assert (f'pattern default/looks: attack matches bytes {len(sent)} to {len(sent) + 12} ("X-Attack: yes") of this '
            "direction") in trace.stdout(), trace.stdout()
    assert "default/looks looks into the first 16384 bytes that the client says" in trace.stdout()


def test_CNT4_a_pattern_in_many_small_segments(hosts: TwoHosts) -> None:
    put(hosts, policy({"name": "jndi", "regex": r"\$\{jndi:ldap", "action": "Reset"}, direction="Ingress"))
    with hosts.left.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(3)
        client.connect((VIP, 80))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for byte in b"GET / HTTP/1.1\r\nX: ${jndi:ldap://x}\r\n\r\n":
                client.sendall(bytes([byte]))
                time.sleep(0.005)  # so that each is a segment
            client.recv(1)
    assert found(hosts) == {"jndi": 1}


def test_CNT3_answers_are_looked_into_and_a_server_name(hosts: TwoHosts) -> None:
    put(hosts, policy({"name": "answer", "literal": '"pod": "web"', "action": "Reset", "direction": "Egress"}))
    assert fetch(hosts, f"{URL}/")[0] == RESET
    put(hosts, policy({"name": "name", "literal": "secret.example", "action": "Reset"}, direction="Ingress"))
    code, _ = fetch(hosts, "-k", "--resolve", f"secret.example:80:{VIP}", "https://secret.example:80/")
    assert code == 35, "the ClientHello was answered by a RST"
    assert found(hosts) == {"name": 1}


@pytest.mark.parametrize("lossy", [False, True], ids=["clean", "lossy"])
def test_CNT4_streams_that_are_looked_into_are_byte_exact(lab: Lab, workers: int, lossy: bool) -> None:
    """The depth is larger than the transfers, so that every segment is looked at, and gaps are many."""
    hosts = start_hosts(lab, workers, "net_tap" if lossy else "net_af_packet")
    put(hosts, policy({"name": "never", "regex": "this is nowhere [0-9]{5}"}, depth=16 << 20))
    if lossy:
        hosts.lose(2)
    size = (1 << 20) if lossy else (8 << 20)
    digest = hashlib.sha256()
    write_pattern(digest.update, size)
    done = hosts.left.run("bash", "-o", "pipefail", "-c",
                          f"curl -sS --max-time 60 {URL}/bytes/{size} | sha256sum", timeout=70)
    assert done.stdout.split()[0] == digest.hexdigest()
    done = hosts.left.run("bash", "-o", "pipefail", "-c",
                          f"head -c {size} /dev/zero | curl -sS --max-time 60 --data-binary @- {URL}/", timeout=70)
    assert hashlib.sha256(bytes(size)).hexdigest() in done.stdout
    if lossy:
        assert hosts.router.drops().get("content_gap", 0) > 0, "nothing was lost: the test shows nothing"


def test_CNT8_a_policy_that_cannot_be_is_refused_and_the_old_one_serves(hosts: TwoHosts) -> None:
    put(hosts, policy({"name": "reset", "literal": "X-Attack: yes", "action": "Reset"}))
    generation = hosts.router.generation()
    bad = policy({"name": "good", "regex": "a"}, {"name": "bad", "regex": "a("}, {"name": "back", "regex": r"(a)\1"})
    reply = hosts.router.request("PATCH", "/v1/config", json.dumps({"kind": "Delta", "upsert": [bad]}))
    assert reply.status == 422
    assert [fault["pointer"] for fault in reply.faults()] == ["/upsert/0/spec/patterns/1/regex",
                                                              "/upsert/0/spec/patterns/2/regex"]
    assert hosts.router.generation() == generation
    assert fetch(hosts, "-H", "X-Attack: yes", f"{URL}/")[0] == RESET


def test_CNT7_policies_come_and_go_under_connections(hosts: TwoHosts) -> None:
    put(hosts, policy({"name": "one", "literal": "first", "action": "Count"}))
    with hosts.left.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(3)
        client.connect((ECHO, 80))
        client.sendall(b"first\n")
        assert client.recv(100) == b"echo first\n"
        for number in range(20):
            put(hosts, policy({"name": "two", "regex": f"second{number}x*", "action": "Count"}, direction="Ingress"))
            assert fetch(hosts, f"{URL}/second{number}")[0] == 0
            assert found(hosts) == {"two": 1}
            client.sendall(f"{number} second{number}\n".encode())
            assert client.recv(100) == f"echo {number} second{number}\n".encode()
            assert found(hosts) == {"two": 1}, "that connection has the rules that it began with"
        put(hosts)
        client.sendall(b"again\n")
        assert client.recv(100) == b"echo again\n"
    assert hosts.router.get("/v1/content-policies") == {"contentPolicies": []}


def test_CNT8_a_restart_finds_the_databases(hosts: TwoHosts) -> None:
    patterns = [{"name": f"p{i}", "regex": f"word{i}[a-z]{{2,5}}x{i}", "action": "Reset"} for i in range(300)]
    put(hosts, policy(*patterns))
    kept = sorted(path.name for path in (hosts.router.state / "patterns").iterdir())
    assert len(kept) == 2
    hosts.router.process.signal(9)
    hosts.router.process.wait(5)
    hosts.router.start()
    assert fetch(hosts, f"{URL}/word7abcx7")[0] == RESET
    assert sorted(path.name for path in (hosts.router.state / "patterns").iterdir()) == kept
