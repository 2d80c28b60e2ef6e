"""Service addresses: who is asked, who is seen as the client, what is refused. Real curl, real web servers."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter

import pytest

import cluster as lab
from cluster import Cluster
from netns import wait_until
from objects import service_with_endpoints, with_items
from probes import ask_udp, connect_error, curl, ping_says


def host(address: str) -> str:
    return address.rpartition(":")[0]


@pytest.mark.parametrize(("address", "port"), [(lab.LOAD_BALANCER, 80), (lab.GATEWAY, lab.NODE_PORT)],
                         ids=["load-balancer", "node-port"])
def test_SVC20_outside_requests_touch_every_endpoint(cluster: Cluster, address: str, port: int) -> None:
    answers = curl(cluster.client, f"http://{address}:{port}/[1-60]")
    assert len(answers) == 60
    pods = Counter(answer.pod for answer in answers)
    assert set(pods) == set(lab.PODS), pods
    assert max(pods.values()) <= 35, pods


def test_BASE5_pods_see_the_tunnel_address_of_the_gateway(cluster: Cluster) -> None:
    """MASQ-2, MASQ-5: outside clients are masqueraded by the address of the tunnel that the packet takes."""
    for answer in curl(cluster.client, f"http://{lab.LOAD_BALANCER}/[1-20]"):
        wanted = lab.GATEWAY_VXLAN if lab.PODS[answer.pod].node == "node1" else lab.GATEWAY_IPIP
        assert host(answer.client) == wanted, answer


def test_flow_entry_says_what_both_ends_see(cluster: Cluster) -> None:
    answer = curl(cluster.client, f"http://{lab.LOAD_BALANCER}/")[0]
    flows = cluster.gateway.flows(src=host(answer.local), sport=answer.local.rpartition(":")[2], dst=lab.LOAD_BALANCER)
    assert len(flows) == 1
    flow = flows[0]
    assert (flow.source, flow.destination) == (answer.local, f"{lab.LOAD_BALANCER}:80")
    assert (flow.reply_source, flow.reply_destination) == (answer.server, answer.client)
    assert flow.protocol == "tcp" and flow.service == "default/web:http"
    assert flow.packets >= 4 and flow.reply_packets >= 3


@pytest.mark.parametrize("pod", ["web-1a", "web-2a"])
def test_SVC20_pod_reaches_every_endpoint_of_a_cluster_ip(cluster: Cluster, pod: str) -> None:
    answers = curl(cluster.pod(pod), f"http://{lab.WEB}/[1-60]")
    assert len(answers) == 60
    assert {answer.pod for answer in answers} == set(lab.PODS)


def test_MASQ1_pod_of_the_node_is_not_masqueraded(cluster: Cluster) -> None:
    """node2's own router translates only the destination for its pods, but for a pod that meets itself (MASQ-3)."""
    for answer in curl(cluster.pod("web-2a"), f"http://{lab.WEB}/[1-30]"):
        if answer.pod == "web-2a":
            assert host(answer.client) != lab.PODS["web-2a"].address
        else:
            assert host(answer.client) == host(answer.local)  # the port may be taken by an older flow (MASQ-7)


@pytest.mark.parametrize(("pod", "address"), [("web-1a", lab.MIRROR1), ("web-2a", lab.MIRROR2)])
def test_MASQ3_pod_reaches_itself_through_a_service(cluster: Cluster, pod: str, address: str) -> None:
    answers = curl(cluster.pod(pod), f"http://{address}/[1-5]")
    assert len(answers) == 5
    for answer in answers:
        assert answer.pod == pod
        assert host(answer.client) != lab.PODS[pod].address


@pytest.mark.parametrize(("source", "address", "port"), [
    ("client", lab.EMPTY_LOAD_BALANCER, 80), ("client", lab.GATEWAY, lab.EMPTY_NODE_PORT),
    ("web-1a", lab.EMPTY, 80), ("web-2a", lab.EMPTY, 80)])
def test_SVC30_service_without_endpoints_refuses_at_once(cluster: Cluster, source: str, address: str,
                                                        port: int) -> None:
    namespace = cluster.client if source == "client" else cluster.pod(source)
    began = time.monotonic()
    assert connect_error(namespace, address, port) == "refused"
    assert time.monotonic() - began < 2  # Linux may miss an ICMP error while connect() holds the socket, and asks again


def test_SVC2_unknown_port_of_a_service_address_refuses(cluster: Cluster) -> None:
    assert connect_error(cluster.client, lab.LOAD_BALANCER, 81) == "refused"
    assert connect_error(cluster.pod("web-2a"), lab.WEB, 81) == "refused"


def test_SVC121_cluster_ip_is_closed_to_the_outside(cluster: Cluster) -> None:
    before = cluster.gateway.drops()["cluster_ip_from_outside"]
    assert connect_error(cluster.client, lab.WEB, 80, seconds=1.5) == "timeout"
    assert cluster.gateway.drops()["cluster_ip_from_outside"] > before


def test_SVC71_service_address_does_not_answer_ping(cluster: Cluster) -> None:
    assert "0 received" in ping_says(cluster.client, lab.LOAD_BALANCER, "-W", "1")


@pytest.mark.parametrize(("source", "address", "port"), [
    ("client", lab.LOAD_BALANCER, lab.ECHO_PORT), ("client", lab.GATEWAY, lab.ECHO_NODE_PORT),
    ("web-1b", lab.ECHO, lab.ECHO_PORT), ("web-2b", lab.ECHO, lab.ECHO_PORT)])
def test_SVC1_udp_service(cluster: Cluster, source: str, address: str, port: int) -> None:
    namespace = cluster.client if source == "client" else cluster.pod(source)
    pods = {ask_udp(namespace, address, port)["pod"] for _ in range(30)}
    assert pods == set(lab.PODS)


TWIN = "10.96.7.21"  # a second service with the endpoint of mirror-1


@pytest.mark.changes_config
@pytest.mark.parametrize("targets", [
    ((lab.MIRROR1, 80), (TWIN, 80)),
    ((lab.MIRROR1, 80), (lab.PODS["web-1a"].address, 8080)),
    ((lab.PODS["web-1a"].address, 8080), (lab.MIRROR1, 80))], ids=["two-services", "service-first", "pod-first"])
def test_MASQ7_same_source_port_to_two_addresses_of_one_backend(cluster: Cluster, targets: tuple) -> None:
    """Both connections have one tuple towards the backend; both must live (a pod of node2: no masquerade)."""
    pod = lab.PODS["web-1a"]
    cluster.second.apply(with_items(cluster.node2_document, *service_with_endpoints(
        "twin", TWIN, 80, 8080, [(pod.address, pod.node)])))
    source_port = 23456 + len(cluster.second.flows())  # not one that an earlier connection still holds
    namespace = cluster.pod("web-2b")
    with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as first, \
            namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as second:
        for sock, target in zip((first, second), targets):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.settimeout(4)
            sock.bind(("", source_port))
            sock.connect(target)
        for sock in (first, second):
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        for sock in (first, second):
            assert b"web-1a" in read_all(sock)


def test_MASQ8_pod_leaves_behind_the_address_of_the_gateway(cluster: Cluster) -> None:
    for pod in ("web-1b", "web-2b"):
        answer = curl(cluster.pod(pod), f"http://{lab.CLIENT}:8080/")[0]
        assert host(answer.client) == lab.GATEWAY


@pytest.mark.parametrize("pod", ["web-1a", "web-2a"])
def test_MASQ8_reply_to_the_outside_is_not_masqueraded(cluster: Cluster, pod: str) -> None:
    """natOutgoing is for connections that pods open; replies of those from outside keep the pod's address."""
    target = lab.PODS[pod].address
    assert "1 received" in ping_says(cluster.client, target)
    answer = curl(cluster.client, f"http://{target}:8080/")[0]
    assert host(answer.client) == host(answer.local)
    assert ask_udp(cluster.client, target, 9000)["pod"] == pod


@pytest.mark.changes_config
def test_SVC40_client_affinity_keeps_the_endpoint(cluster: Cluster) -> None:
    document = lab.changed(cluster.gateway_document)
    lab.find_object(document, "Service", "web")["spec"]["sessionAffinity"] = "ClientIP"
    cluster.gateway.apply(document)
    assert len({answer.pod for answer in curl(cluster.client, f"http://{lab.LOAD_BALANCER}/[1-20]")}) == 1


@pytest.mark.changes_config
def test_SVC90_change_of_endpoints_acts_on_new_connections_only(cluster: Cluster) -> None:
    """A connection outlives the change that takes its endpoint away from new ones (SVC-92)."""
    document = lab.changed(cluster.gateway_document)
    endpoints = lab.find_object(document, "EndpointSlice", "web-k7x2p")["endpoints"]
    with cluster.client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(4)
        sock.connect((lab.LOAD_BALANCER, 80))
        local = "%s:%d" % sock.getsockname()
        flow = next(flow for flow in cluster.gateway.flows(dport=80) if flow.source == local)
        gone = host(flow.reply_source)
        endpoints[:] = [endpoint for endpoint in endpoints if endpoint["addresses"] != [gone]]
        cluster.gateway.apply(document)
        answers = curl(cluster.client, f"http://{lab.LOAD_BALANCER}/[1-40]")
        sock.sendall(b"GET /still-there HTTP/1.0\r\n\r\n")
        assert b"still-there" in read_all(sock)
    assert gone not in {host(answer.server) for answer in answers}
    assert len({answer.pod for answer in answers}) == 3


@pytest.mark.changes_config
def test_SVC9_service_comes_and_goes_without_a_trace(cluster: Cluster) -> None:
    pod = lab.PODS["web-1a"]
    more = service_with_endpoints("late", "10.96.8.8", 80, 8080, [(pod.address, pod.node)], "203.0.113.88")
    assert connect_error(cluster.client, "203.0.113.88", 80, seconds=1) != "connected"
    cluster.gateway.apply(with_items(cluster.gateway_document, *more))
    assert curl(cluster.client, "http://203.0.113.88/")[0].pod == "web-1a"
    cluster.gateway.apply(cluster.gateway_document)
    assert connect_error(cluster.client, "203.0.113.88", 80, seconds=1) != "connected"


def health(cluster: Cluster, port: int, path: str = "/") -> tuple[int, dict]:
    """Asked on the machine itself: these are sockets of its kernel."""
    told = cluster.gw.run("curl", "-s", "-m", "5", "-w", "\n%{http_code}", f"http://127.0.0.1:{port}{path}").stdout
    body, code = told.rsplit("\n", 1)
    return int(code), json.loads(body)


@pytest.mark.changes_config
def test_SVC80_SVC81_SVC83_health_check_node_port(cluster: Cluster) -> None:
    document = lab.changed(cluster.gateway_document)
    web = lab.find_object(document, "Service", "web")["spec"]
    endpoints = lab.find_object(document, "EndpointSlice", "web-k7x2p")["endpoints"]
    web.update(externalTrafficPolicy="Local", healthCheckNodePort=31111)
    lab.gateway_configuration(document)["spec"]["proxy"]["healthzPort"] = 10256
    cluster.gateway.apply(document)
    assert health(cluster, 31111) == (503, {"service": {"namespace": "default", "name": "web"}, "localEndpoints": 0,
                                            "serviceProxyHealthy": True})
    assert connect_error(cluster.client, lab.LOAD_BALANCER, 80, seconds=1) != "connected"
    endpoints[0]["nodeName"] = "gw"
    cluster.gateway.apply(document)
    assert health(cluster, 31111)[0] == 200
    assert {host(answer.server) for answer in curl(cluster.client, f"http://{lab.LOAD_BALANCER}/[1-10]")} == {
        endpoints[0]["addresses"][0]}
    # It drains: the load balancer is told to go elsewhere, and nothing is lost until it has.
    endpoints[0]["conditions"] = {"ready": False, "serving": True, "terminating": True}
    cluster.gateway.apply(document)
    assert health(cluster, 31111)[0] == 503
    assert len(curl(cluster.client, f"http://{lab.LOAD_BALANCER}/[1-10]")) == 10
    status, told = health(cluster, 10256, "/healthz")
    assert (status, told["nodeEligible"]) == (200, True)
    # A change of the service alone.
    del web["healthCheckNodePort"]
    web["externalTrafficPolicy"] = "Cluster"
    delta = {"kind": "Delta", "upsert": [lab.find_object(document, "Service", "web")]}
    assert cluster.gateway.request("PATCH", "/v1/config", json.dumps(delta)).status == 200
    assert connect_error(cluster.gw, "127.0.0.1", 31111) == "refused"
    cluster.gateway.apply(cluster.gateway_document)
    assert connect_error(cluster.gw, "127.0.0.1", 31111) == "refused"
    assert connect_error(cluster.gw, "127.0.0.1", 10256) == "refused"


@pytest.mark.changes_config
def test_SVC80_a_port_in_use_is_told_of(cluster: Cluster) -> None:
    document = lab.changed(cluster.gateway_document)
    lab.gateway_configuration(document)["spec"]["proxy"]["healthzPort"] = 10257
    with cluster.gw.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", 10257))
        sock.listen()
        cluster.gateway.apply(document)
        assert any("cannot listen on any address port 10257" in warning
                   for warning in cluster.gateway.status()["warnings"])
    wait_until(lambda: not cluster.gateway.status()["warnings"], 15, "the port to be tried again")
    assert health(cluster, 10257, "/livez")[0] == 200


def read_all(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


choices: dict[int, dict[int, str]] = {}  # per number of workers: source port → pod


def test_SVC21_number_of_workers_does_not_change_the_choice(cluster: Cluster, workers: int) -> None:
    """The same connections meet the same pods, whether one worker serves or two."""
    mine = choices.setdefault(workers, {})
    for port in range(20001, 20041):
        with cluster.client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.settimeout(4)
            sock.bind((lab.CLIENT, port))
            sock.connect((lab.LOAD_BALANCER, 80))
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            mine[port] = read_all(sock).split(b'"pod": "')[1].split(b'"')[0].decode()
    assert len(set(mine.values())) == 4
    for other in choices.values():
        assert other == mine
