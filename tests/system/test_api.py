"""The API under documents with faults and clients with bad manners: nothing changes, the router serves on."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import time

import pytest

import cluster as lab
from cluster import Cluster, changed, find_object
from probes import curl
from router import Json, Router

MIB = 1 << 20


def faulty_type(document: Json) -> str:
    find_object(document, "Service", "web")["spec"]["ports"][0]["port"] = "eighty"
    return "spec.ports[0].port"


def faulty_port_zero(document: Json) -> str:
    find_object(document, "EndpointSlice", "web-k7x2p")["ports"][0]["port"] = 0
    return "ports[0].port"


def faulty_service_port(document: Json) -> str:
    find_object(document, "Service", "mirror-1")["spec"]["ports"][0]["port"] = 65536
    return "spec.ports[0].port"


def faulty_loopback(document: Json) -> str:
    find_object(document, "EndpointSlice", "web-k7x2p")["endpoints"][1]["addresses"] = ["127.0.0.1"]
    return "endpoints[1].addresses[0]"


def faulty_pools(document: Json) -> str:
    find_object(document, "IPPool", "ipip-pool")["spec"]["cidr"] = "10.244.128.0/17"
    return "spec.cidr"


def faulty_node_port(document: Json) -> str:
    find_object(document, "Service", "web")["spec"]["ports"][0]["nodePort"] = 80
    return "spec.ports[0].nodePort"


def faulty_address(document: Json) -> str:
    find_object(document, "Service", "web")["spec"]["clusterIP"] = "10.96.7.007"
    return "spec.clusterIP"


def faulty_interface(document: Json) -> str:
    lab.gateway_configuration(document)["spec"]["interfaces"][0]["addresses"] = ["192.0.2.1/33"]
    return "spec.interfaces[0].addresses[0]"


FAULTS = [faulty_type, faulty_port_zero, faulty_service_port, faulty_loopback, faulty_pools, faulty_node_port,
          faulty_address, faulty_interface]


@pytest.mark.parametrize("make", FAULTS, ids=lambda make: make.__name__.removeprefix("faulty_"))
def test_document_with_a_fault_changes_nothing_and_names_it(cluster: Cluster, make) -> None:
    router = cluster.gateway
    generation = router.generation()
    document = changed(cluster.gateway_document)
    path = make(document)
    reply = router.put(document)
    assert reply.status == 422, reply.text
    assert path in [fault["path"] for fault in reply.faults()], reply.text
    assert all(fault["kind"] and fault["name"] and fault["message"] for fault in reply.faults())
    assert router.generation() == generation


@pytest.mark.parametrize("wrong", [[faulty_type, faulty_address, faulty_interface],
                                   [faulty_loopback, faulty_pools, faulty_node_port]], ids=["written", "meant"])
def test_every_fault_of_a_document_is_named_at_once(cluster: Cluster, wrong) -> None:
    """What is written wrongly comes first: what a field means can be judged only when it can be read."""
    document = changed(cluster.gateway_document)
    paths = {make(document) for make in wrong}
    reply = cluster.gateway.put(document)
    assert reply.status == 422
    assert paths <= {fault["path"] for fault in reply.faults()}, reply.text


def test_unknown_kind_is_refused_unless_it_may_be_ignored(cluster: Cluster) -> None:
    router = cluster.gateway
    document = changed(cluster.gateway_document)
    document["items"].append({"apiVersion": "v1", "kind": "Teapot", "metadata": {"name": "short-and-stout"}})
    generation = router.generation()
    reply = router.put(document)
    assert reply.status == 422 and "Teapot" in reply.text, reply.text
    assert router.generation() == generation
    reply = router.request("PUT", "/v1/config?ignoreUnknown=true", json.dumps(document))
    assert reply.status == 200, reply.text


@pytest.mark.parametrize("text", ["", "{", '{"kind": "List", "items": [}', "\x00\x01", '{"a":1} {"b":2}', "[" * 100000],
                         ids=["empty", "open", "bracket", "binary", "two", "deep"])
def test_text_that_is_no_document_changes_nothing(cluster: Cluster, text: str) -> None:
    generation = cluster.gateway.generation()
    reply = cluster.gateway.request("PUT", "/v1/config", text)
    assert reply.status in (400, 422), reply.text
    assert reply.json["error"]["message"]
    assert cluster.gateway.generation() == generation


def test_syntax_error_has_its_place(cluster: Cluster) -> None:
    reply = cluster.gateway.request("PUT", "/v1/config", '{"kind": "List",\n "items": [}')
    assert reply.status == 400
    assert "line 2" in reply.json["error"]["message"], reply.text


def test_sluicectl_apply_tells_faults_and_fails(cluster: Cluster) -> None:
    router = cluster.gateway
    generation = router.generation()
    document = changed(cluster.gateway_document)
    faulty_loopback(document)
    path = cluster.lab.directory / "faulty.json"
    path.write_text(json.dumps(document))
    done = router.control("apply", "-f", str(path), check=False)
    assert done.returncode != 0
    assert "127.0.0.1" in done.stdout + done.stderr
    assert router.generation() == generation


def test_same_document_twice_is_no_change(cluster: Cluster) -> None:
    router = cluster.gateway
    router.apply(cluster.gateway_document)
    generation = router.generation()
    reply = router.apply(cluster.gateway_document)
    assert reply["changed"] is False and router.generation() == generation


def serves(cluster: Cluster) -> None:
    """Traffic and API, both."""
    assert cluster.gateway.request("GET", "/readyz", timeout=5).status == 200
    assert curl(cluster.client, f"http://{lab.LOAD_BALANCER}/")


def test_body_of_200_megabytes_is_refused(cluster: Cluster) -> None:
    router = cluster.gateway
    generation, memory = router.generation(), router.resident_bytes()
    began = time.monotonic()
    status = send_endless(router, content_length=200 * MIB, most=200 * MIB)
    assert status in (413, 0), status  # 0: cut off while we were still sending
    assert time.monotonic() - began < 20
    assert router.generation() == generation
    assert router.resident_bytes() < memory + 150 * MIB
    serves(cluster)


def test_body_without_end_is_refused(cluster: Cluster) -> None:
    router = cluster.gateway
    generation = router.generation()
    assert send_endless(router, content_length=None, most=300 * MIB) in (413, 0)
    assert router.generation() == generation
    assert router.resident_bytes() < 400 * MIB
    serves(cluster)


def test_body_that_never_comes_keeps_nobody_waiting(cluster: Cluster) -> None:
    with contextlib.closing(cluster.gateway.connect().__class__(cluster.gateway.socket, 5)) as connection:
        connection.connect()
        connection.sock.sendall(b"PUT /v1/config HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        serves(cluster)


def test_1000_idle_connections_leave_the_router_serving(cluster: Cluster) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                sock.connect(str(cluster.gateway.socket))
        serves(cluster)
        cluster.gateway.apply(cluster.gateway_document)
    serves(cluster)


@pytest.mark.parametrize("request_text", [
    b"GET / HTTP/9.9\r\n\r\n", b"\x00\x01\x02\x03\r\n\r\n", b"GET /v1/status\r\n\r\n",
    b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
    b"PUT /v1/config HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_requests_that_are_no_http_are_survived(cluster: Cluster, request_text: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(str(cluster.gateway.socket))
        with contextlib.suppress(ConnectionError):
            sock.sendall(request_text)
            sock.recv(1000)
    assert cluster.gateway.request("GET", "/readyz").status == 200


def send_endless(router: Router, content_length: int | None, most: int) -> int:
    """Sends a body until an answer comes, the connection ends or `most` bytes are gone; the status, 0 without one."""
    piece = b'"' + b"x" * 65533 + b'",'
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(15)
        sock.connect(str(router.socket))
        kind = f"Content-Length: {content_length}" if content_length else "Transfer-Encoding: chunked"
        sock.sendall(f"PUT /v1/config HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{kind}\r\n\r\n".encode())
        data = piece if content_length else b"%x\r\n%s\r\n" % (len(piece), piece)
        sent = 0
        try:
            while sent < most:
                sock.sendall(data)
                sent += len(piece)
        except OSError:
            pass  # it does not want more: perhaps it said why
        try:
            answer = sock.recv(4096)
        except OSError:
            return 0
        return int(answer.split()[1]) if answer.startswith(b"HTTP/") else 0
