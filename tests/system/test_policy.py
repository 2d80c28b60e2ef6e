"""What a person does to traffic by hand: drain an endpoint, watch connections, end them."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

import cluster as lab
from cluster import Cluster, changed, find_object
from netns import Lab, Process, wait_until
from probes import connect_error, curl
from router import SLUICECTL, Router
from two_hosts import TwoHosts

DRAINED = lab.PODS["web-1a"].address


def answering(cluster: Cluster, count: int = 40) -> set[str]:
    """The pods that answer new connections."""
    return {answer.pod for answer in curl(cluster.client, f"http://{lab.LOAD_BALANCER}/[1-{count}]")}


@contextlib.contextmanager
def drained(router: Router, endpoint: str, *options: str):
    router.control("drain", endpoint, *options)
    try:
        yield
    finally:
        router.control("undrain", endpoint, check=False)


@pytest.mark.changes_config
def test_SVC91_drained_endpoint_gets_nothing_new(cluster: Cluster) -> None:
    router, others = cluster.gateway, set(lab.PODS) - {"web-1a"}
    generation = router.generation()
    assert answering(cluster) == set(lab.PODS)
    with drained(router, DRAINED):
        assert answering(cluster) == others
        assert router.generation() == generation, "a drain is no configuration"
        # A new document leaves it drained.
        document = changed(cluster.gateway_document)
        find_object(document, "Service", "web")["metadata"].setdefault("annotations", {})["note"] = "changed"
        router.apply(document)
        assert answering(cluster) == others
        listed = router.control("drain").stdout
        assert DRAINED in listed and "default/web:http" in listed, listed
        assert f"{DRAINED}:8080(drained)" in router.control("get", "services", "-o", "wide").stdout.replace(" ", "")
    assert answering(cluster) == set(lab.PODS)
    assert router.control("drain").stdout == "No endpoint is drained.\n"


def two_to_one_endpoint(cluster: Cluster, stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket, str]:
    """Two open connections, and the endpoint that both have. Of more connections than there are endpoints two do."""
    found: dict[str, socket.socket] = {}
    for _ in range(len(lab.PODS) + 1):
        sock = stack.enter_context(cluster.client.socket(socket.AF_INET, socket.SOCK_STREAM))
        sock.settimeout(5)
        sock.connect((lab.LOAD_BALANCER, 80))
        endpoint = cluster.gateway.flows(sport=sock.getsockname()[1], dst=lab.LOAD_BALANCER)[0].reply_source
        if endpoint in found:
            return found[endpoint], sock, endpoint
        found[endpoint] = sock
    raise AssertionError(f"every connection has an endpoint of its own: {found}")


def test_SVC91_SVC92_established_connections_go_on_unless_drained_hard(cluster: Cluster) -> None:
    router = cluster.gateway
    with contextlib.ExitStack() as stack:
        first, second, endpoint = two_to_one_endpoint(cluster, stack)
        with drained(router, endpoint):
            first.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b" 200 " in first.recv(4000)
            said = router.control("drain", endpoint, "--hard").stdout
            assert "is drained now, its connections end" in said, said
            with pytest.raises(ConnectionResetError):
                second.sendall(b"GET / HTTP/1.0\r\n\r\n")
                second.recv(4000)
            assert not router.flows(sport=second.getsockname()[1], dst=lab.LOAD_BALANCER)


def test_drain_says_what_is_odd(cluster: Cluster) -> None:
    router = cluster.gateway
    with drained(router, "default/nobody"):
        assert "no service has such an endpoint now" in router.control("drain", "default/nobody", "--hard").stderr
    done = router.control("undrain", "default/nobody", check=False)
    assert done.returncode == 1 and "default/nobody is not drained" in done.stderr
    done = router.control("drain", "10.0.0.256", check=False)
    assert done.returncode == 1 and "is no endpoint" in done.stderr


def test_SVC30_every_endpoint_drained(cluster: Cluster) -> None:
    router = cluster.gateway
    with contextlib.ExitStack() as stack:
        for pod in lab.PODS.values():
            stack.enter_context(drained(router, pod.address))
        said = router.control("drain", DRAINED, "--hard").stderr
        assert "default/web:http has no endpoint left for new flows" in said, said
        assert connect_error(cluster.client, lab.LOAD_BALANCER, 80) == "refused"
    assert connect_error(cluster.client, lab.LOAD_BALANCER, 80) == "connected"


def test_drains_are_kept_over_a_restart(lab: Lab) -> None:
    router = TwoHosts(lab, ipv6=False).start().router
    router.control("drain", "prod/web-0")
    router.control("drain", "[fd00::5]:80", "--hard")
    assert router.stop() == 0
    router.start()
    listed = [(item["endpoint"], item["hard"]) for item in router.get("/v1/drains")["drains"]]
    assert listed == [("[fd00::5]:80", True), ("prod/web-0", False)]
    router.control("undrain", "prod/web-0")
    assert router.stop() == 0
    router.start()
    assert [item["endpoint"] for item in router.get("/v1/drains")["drains"]] == ["[fd00::5]:80"]
    # A file that is damaged is told of, and stops nothing.
    assert router.stop() == 0
    (router.state / "drains.json").write_text("{")
    router.start()
    assert "drains.json" in " ".join(router.status()["warnings"])
    assert router.get("/v1/drains")["drains"] == []


# ---- connections -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def watching(router: Router, *options: str):
    """sluicectl conntrack -E; gives the function that says what it printed."""
    process: Process = router.namespace.start(str(SLUICECTL), "--socket", str(router.socket), "conntrack", "-E", *options,
                                              name="watch")
    try:
        # Until it is there: connections of our own are told.
        yield process.stdout
    finally:
        process.stop()


def test_CT34_connections_are_told_as_they_open_and_end(cluster: Cluster) -> None:
    router = cluster.gateway
    with watching(router, "-p", "tcp", "--dport", "80") as said:
        wait_until(lambda: curl(cluster.client, f"http://{lab.LOAD_BALANCER}/") and "[NEW]" in said(), 10, "news")
        answer = curl(cluster.client, f"http://{lab.LOAD_BALANCER}/")[0]
        ways = f"{answer.local} → {lab.LOAD_BALANCER}:80  as {answer.client} → {answer.server}  default/web:http"
        wait_until(lambda: f"[NEW]     tcp   {ways}\n" in said(), 5, lambda: f"news of {ways}:\n{said()}")
        port = answer.local.rpartition(":")[2]
        deleted = router.control("conntrack", "-D", "-s", answer.local.rpartition(":")[0], "--sport", port,
                                 "-r", answer.server.rpartition(":")[0]).stdout
        assert deleted == "deleted 1 connection\n"
        wait_until(lambda: f"[DESTROY] tcp   {ways}  " in said(), 5, lambda: f"the end of {ways}:\n{said()}")
        ended = next(line for line in said().splitlines() if line.startswith(f"[DESTROY] tcp   {ways}"))
        assert " packets " in ended and "packets 0/" not in ended


def test_CT34_json_events_and_filters(cluster: Cluster) -> None:
    router = cluster.gateway
    with watching(router, "-o", "json", "-e", "NEW", "--service", "default/web") as said:
        wait_until(lambda: curl(cluster.client, f"http://{lab.LOAD_BALANCER}/") and said(), 10, "news")
        router.control("conntrack", "-F")
        events = [json.loads(line) for line in said().splitlines()]
        assert {event["event"] for event in events} == {"new"}
        assert {event["data"]["service"] for event in events} == {"default/web:http"}


def test_CT34_listing_in_the_words_of_conntrack(cluster: Cluster) -> None:
    router = cluster.gateway
    answer = curl(cluster.client, f"http://{lab.LOAD_BALANCER}/")[0]
    address, _, port = answer.local.rpartition(":")
    endpoint = answer.server.rpartition(":")[0]
    mapped = answer.client.rpartition(":")
    listed = router.control("conntrack", "-L", "-p", "tcp", "--orig-src", address, "--orig-port-src", port,
                            "-r", endpoint, "-q", mapped[0], "--reply-port-dst", mapped[2]).stdout
    assert listed.count("\n") == 2 and answer.local in listed, listed
    for nothing in (("--state", "SYN_SENT"), ("--reply-port-src", "1"), ("-d", "192.0.2.99"), ("-p", "udp")):
        assert "No connections." in router.control("conntrack", "-L", "--sport", port, "-s", address, *nothing).stdout
    assert router.control("conntrack", "-D", check=False).returncode == 2
    assert router.control("conntrack", check=False).returncode == 2
