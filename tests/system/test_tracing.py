"""Why does my connection fail: explained without a packet, traced and captured with one."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

import pytest
import yaml

import cluster as lab
from cluster import Cluster, changed, find_object, gateway_configuration
from frames import IP, TCP, UDP
from netns import Process, wait_until
from objects import service_with_endpoints, with_items
from probes import connect_error, curl, ping
from router import SLUICECTL, Router
from scapy.utils import PcapNgReader

STRANGER, NOWHERE = "198.51.100.7", "198.51.100.8"


def explain(router: Router, *words: str) -> str:
    return router.control("explain", *words).stdout


def step(text: str, name: str) -> str:
    """What the line with this name says."""
    found = re.search(rf"^\s*{name}\s+(.*)$", text, re.M)
    return found[1] if found else ""


def lookups(router: Router) -> dict[str, int]:
    """Everything that a packet leaves behind."""
    return {**router.counters(), "flows": len(router.flows()), "buffers": router.mbufs_in_use(),
            "neighbors": len(router.neighbors())}


# ---- two commands: the one that fails, and the one that says why ----

def test_EXP1_service_without_endpoints(cluster: Cluster) -> None:
    assert connect_error(cluster.client, lab.EMPTY_LOAD_BALANCER, 80) == "refused"
    assert explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{lab.EMPTY_LOAD_BALANCER}:80") == """\
parsed    tcp SYN 192.0.2.10:40000 > 203.0.113.99:80, 40 bytes, in by uplink0
flow      none: a packet like the first of a connection
service   default/empty:http, LoadBalancer 203.0.113.99:80; the client is outside the cluster
backend   none: no EndpointSlice of default/empty has an endpoint
answer    icmp unreachable (port) 203.0.113.99 > 192.0.2.10, 68 bytes by uplink0
dropped   no_endpoint_rejected: the service has no usable endpoint: check that its selector matches pods and that they \
are ready
=> dropped (no_endpoint_rejected)
"""


@pytest.mark.changes_config
def test_EXP1_endpoints_that_are_not_ready(cluster: Cluster) -> None:
    document = changed(cluster.gateway_document)
    slices = [item for item in document["items"] if item["kind"] == "EndpointSlice"
              and item["metadata"]["labels"]["kubernetes.io/service-name"] == "web"]
    for item in slices:
        for endpoint in item["endpoints"]:
            endpoint["conditions"] = {"ready": False, "serving": False, "terminating": False}
    cluster.gateway.apply(document)
    assert connect_error(cluster.client, lab.LOAD_BALANCER, 80) == "refused"
    text = explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{lab.LOAD_BALANCER}:80")
    assert step(text, "backend") == "none: 0 of 4 endpoints of default/web are ready (4 not ready)"


@pytest.mark.changes_config
def test_EXP1_source_range(cluster: Cluster) -> None:
    document = changed(cluster.gateway_document)
    find_object(document, "Service", "web")["spec"]["loadBalancerSourceRanges"] = ["192.0.2.128/25", "10.0.0.0/8"]
    cluster.gateway.apply(document)
    assert connect_error(cluster.client, lab.LOAD_BALANCER, 80, seconds=1.5) == "timeout"
    text = explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{lab.LOAD_BALANCER}:80")
    assert step(text, "service") == ("default/web:http, LoadBalancer 203.0.113.80:80; the client is outside the "
                                     "cluster")
    assert step(text, "dropped") == ("source_range: 192.0.2.10 is in none of the loadBalancerSourceRanges of "
                                     "default/web:http (192.0.2.128/25, 10.0.0.0/8): add its network to them if it "
                                     "shall enter")
    assert text.endswith("=> dropped (source_range)\n")


def test_EXP1_mtu(cluster: Cluster) -> None:
    pod = lab.PODS["web-1a"].address
    text = explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{pod}:8080", "--size", "1500")
    assert step(text, "mtu") == "1500 bytes do not fit the tunnel's MTU of 1450"
    assert step(text, "answer") == "icmp fragmentation needed, MTU 1450 192.0.2.1 > 192.0.2.10, 576 bytes by uplink0"
    assert step(text, "dropped") == ("mtu_exceeded: the packet is larger than its way carries and must not be "
                                     "fragmented: lower the sender's MTU, let ICMP through so that it learns the "
                                     "size, or clamp the MSS (tcpMssClamp)")
    text = explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{pod}:8080", "--size", "1500", "--may-fragment")
    assert step(text, "mtu") == "1500 bytes do not fit the tunnel's MTU of 1450: fragmented"
    assert text.endswith("=> forwarded\n")


def test_EXP1_no_route(cluster: Cluster) -> None:
    assert connect_error(cluster.client, NOWHERE, 80, seconds=1.5) != ""
    text = explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{NOWHERE}:80")
    assert step(text, "route") == f"none to {NOWHERE}"
    assert step(text, "answer") == "icmp unreachable (network) 192.0.2.1 > 192.0.2.10, 68 bytes by uplink0"
    assert step(text, "dropped") == (f"no_route: no route leads to {NOWHERE}: add a route, node or block for it; "
                                     "`sluicectl get routes` shows those there are")
    refused = cluster.gateway.control("explain", "--from", STRANGER, "--to", f"{lab.LOAD_BALANCER}:80", check=False)
    assert refused.returncode == 1
    assert f"no route leads back to {STRANGER}, so it is not clear where its packets come in" in refused.stderr


@pytest.mark.changes_config
def test_EXP1_neighbor_missing(cluster: Cluster) -> None:
    """A gateway that nobody has: the first answer is that it is being asked for, the last that it does not answer."""
    document = changed(cluster.gateway_document)
    gateway_configuration(document)["spec"]["routes"] = [{"destination": f"{NOWHERE}/32", "via": "192.0.2.99"}]
    cluster.gateway.apply(document)
    failed = "192.0.2.99 on uplink0 does not answer ARP"

    def dropped() -> bool:
        text = explain(cluster.gateway, "--from", lab.PODS["web-1a"].address, "--to", f"{NOWHERE}:80")
        return step(text, "dropped") == (f"neighbor_failed: {failed}: is it up, on this link and in this VLAN? "
                                         "`sluicectl get neighbors` shows its state")
    wait_until(dropped, 8, "the gateway to be given up")


BEHIND = "203.0.113.70"  # a load balancer address whose endpoint cannot be reached


def with_endpoint(cluster: Cluster, endpoint: str, **spec: object) -> None:
    """A service with one endpoint and, by `spec`, what else of the gateway's configuration is another."""
    document = with_items(cluster.gateway_document,
                          *service_with_endpoints("behind", "10.96.7.70", 80, 8080, [(endpoint, "node1")], BEHIND))
    gateway_configuration(document)["spec"] = {**gateway_configuration(document)["spec"], **spec}
    cluster.gateway.apply(document)


@pytest.mark.changes_config
def test_EXP1_a_service_whose_endpoint_has_no_route(cluster: Cluster) -> None:
    with_endpoint(cluster, NOWHERE)
    assert connect_error(cluster.client, BEHIND, 80, seconds=1.5) != ""
    text = explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{BEHIND}:80")
    assert step(text, "backend") == f"{NOWHERE}:8080, the only endpoint"
    assert step(text, "route") == f"none to {NOWHERE}"
    assert step(text, "dropped") == (f"no_route: no route leads to {NOWHERE}: add a route, node or block for it; "
                                     "`sluicectl get routes` shows those there are")
    assert text.endswith("=> dropped (no_route)\n")


@pytest.mark.changes_config
def test_EXP1_a_service_whose_endpoint_is_behind_a_next_hop_that_is_down(cluster: Cluster) -> None:
    with_endpoint(cluster, NOWHERE, routes=[{"destination": f"{NOWHERE}/32", "via": "192.168.0.99"}])

    def dropped() -> bool:
        text = explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{BEHIND}:80")
        assert step(text, "backend") == f"{NOWHERE}:8080, the only endpoint"
        assert step(text, "route") == f"{NOWHERE}/32 (static) via 192.168.0.99 dev underlay0"
        return step(text, "dropped") == (
            "neighbor_failed: 192.168.0.99 on underlay0 does not answer ARP: is it up, on this link and in this VLAN? "
            "`sluicectl get neighbors` shows its state")
    assert connect_error(cluster.client, BEHIND, 80, seconds=1.5) != "", "asks for the next hop"
    wait_until(dropped, 8, "the next hop to be given up")


@pytest.mark.changes_config
def test_EXP1_a_service_whose_path_is_too_small(cluster: Cluster) -> None:
    """The connection opens, and its large packets do not come through: seen without a guess at their size."""
    with_endpoint(cluster, lab.PODS["web-1a"].address)
    text = explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{BEHIND}:80")
    assert step(text, "backend") == lab.PODS["web-1a"].address + ":8080, the only endpoint"
    assert step(text, "mtu") == ("40 bytes fit the tunnel's MTU of 1450; those of 1451 to 1500 bytes, which uplink0 "
                                 'takes, are refused with ICMP "fragmentation needed"')
    assert text.endswith("=> forwarded\n")
    text = explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{BEHIND}:80", "--size", "1500")
    assert step(text, "mtu") == "1500 bytes do not fit the tunnel's MTU of 1450"
    assert step(text, "dropped").startswith("mtu_exceeded: the packet is larger than its way carries")
    assert text.endswith("=> dropped (mtu_exceeded)\n")


# ---- what it says is what happens ----

def test_EXP2_explained_endpoint_is_the_one_that_answers(cluster: Cluster) -> None:
    for answer in curl(cluster.client, f"http://{lab.LOAD_BALANCER}/[1-8]"):
        text = explain(cluster.gateway, "--from", answer.local, "--to", f"{lab.LOAD_BALANCER}:80", "--flags", "ACK")
        assert step(text, "backend").startswith(lab.PODS[answer.pod].address + ":8080, kept"), text
        assert step(text, "flow").startswith("known, original direction, "), text
        assert f"source {answer.local} to {answer.client}" in step(text, "nat"), text


@pytest.mark.changes_config
def test_EXP2_session_affinity_is_known(cluster: Cluster) -> None:
    document = changed(cluster.gateway_document)
    find_object(document, "Service", "web")["spec"]["sessionAffinity"] = "ClientIP"
    cluster.gateway.apply(document)
    pod = curl(cluster.client, f"http://{lab.LOAD_BALANCER}/")[0].pod
    text = explain(cluster.gateway, "--from", lab.CLIENT, "--to", f"{lab.LOAD_BALANCER}:80")
    assert step(text, "backend") == (f"{lab.PODS[pod].address}:8080, the one this client had before (session "
                                     "affinity)")


def test_EXP2_json_for_programs(cluster: Cluster) -> None:
    answer = json.loads(explain(cluster.gateway, "--from", lab.CLIENT, "--to", lab.WEB + ":80", "-o", "json"))
    assert (answer["verdict"], answer["reason"]) == ("dropped", "cluster_ip_from_outside")
    assert [entry["step"] for entry in answer["steps"]] == ["parsed", "flow", "service", "backend", "dropped"]


def test_EXP3_explaining_leaves_nothing_behind(cluster: Cluster) -> None:
    router = cluster.gateway
    ping(cluster.client, lab.GATEWAY)
    noise = {"packets_in", "arp_received", "arp_requests_sent", "arp_replies_sent", "not_our_mac", "handed_over",
             "received_over", "nd_received", "ip_multicast", "ip_broadcast", "flows_closed", "flows"}  # of others
    for _ in range(5):
        before = lookups(router)
        for target in (f"{lab.LOAD_BALANCER}:80", f"{lab.EMPTY_LOAD_BALANCER}:80", "192.0.2.77:80", f"{NOWHERE}:1"):
            for size in ("40", "3000", "9216"):
                explain(router, "--from", lab.CLIENT, "--to", target, "--size", size, "--may-fragment")
        after = lookups(router)
        left = {name: value for name, value in after.items() if value != before[name] and name not in noise}
        if left == {} and after["flows"] <= before["flows"]:
            break
        time.sleep(1)  # what ended before this test may still send again; explaining would leave something every time
    else:
        assert left == {} and after["flows"] <= before["flows"]
    assert not any(entry["address"] == "192.0.2.77" for entry in router.neighbors())


# ---- real packets ----

def start(cluster: Cluster, *words: str, name: str) -> Process:
    return cluster.gw.start(str(SLUICECTL), "--socket", str(cluster.gateway.socket), *words, name=name)


def test_EXP5_trace_follows_a_real_connection(cluster: Cluster) -> None:
    process = start(cluster, "trace", "-c", "400", "--seconds", "4", f"host {lab.LOAD_BALANCER} and tcp port 80",
                    name="trace")
    answers = []

    def seen() -> bool:
        answers.extend(curl(cluster.client, f"http://{lab.LOAD_BALANCER}/"))
        return "SYN" in process.stdout()
    wait_until(seen, 4, "a traced connection")
    assert process.wait(8) == 0, process.stderr()
    text = process.stdout()
    assert "this packet opened it" in text
    assert re.search(r"service +default/web:http, LoadBalancer 203\.0\.113\.80:80; the client is outside the cluster",
                     text), text
    assert re.search(r"backend +10\.24[45]\.\d+\.\d:8080, one of 4 endpoints by Maglev hash", text), text
    assert re.search(r"nat +destination 203\.0\.113\.80:80 to 10\.24[45]\S+:8080, source 192\.0\.2\.10:\d+ to "
                     r"10\.24[45]\.0\.0:\d+ \(masqueraded, so that replies come back here\)", text), text
    assert re.search(r"out +tcp SYN 10\.24[45]\.0\.0:\d+ > 10\.24[45]\S+:8080, \d+ bytes by underlay0, in "
                     r"(vxlan|ipip) 192\.168\.0\.1 > 192\.168\.0\.1[12]", text), text
    assert re.search(r"flow +known, original direction, ESTABLISHED", text), text
    assert lab.GATEWAY + ":" not in text, "nothing but what matches"


def test_EXP5_trace_names_the_drop(cluster: Cluster) -> None:
    process = start(cluster, "trace", "-c", "2", "--seconds", "6", "-o", "json", f"dst host {lab.WEB}", name="trace")

    def seen() -> bool:
        connect_error(cluster.client, lab.WEB, 80, seconds=0.3)
        return not process.running()
    wait_until(seen, 10, "the trace to end")
    events = [json.loads(line) for line in process.stdout().splitlines()]
    assert [event["event"] for event in events] in (["packet", "packet", "end"], ["packet", "end"]), events
    verdicts = {(event["data"]["verdict"], event["data"].get("reason")) for event in events if event["event"] == "packet"}
    assert verdicts <= {("dropped", "cluster_ip_from_outside"), ("handed over", None)}
    if cluster.gateway.options.workers == 1:
        assert verdicts == {("dropped", "cluster_ip_from_outside")}


def test_EXP6_traces_are_limited(cluster: Cluster) -> None:
    wrong = cluster.gateway.control("trace", "host", "example", check=False)
    assert wrong.returncode == 1 and "names of hosts are not looked up" in wrong.stderr, wrong.stderr
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(contextlib.closing(cluster.gateway.connect()))
            connection.request("GET", "/v1/trace?filter=port%209&seconds=60")
            assert connection.getresponse().readline() == b": tracing\n"
        one_more = cluster.gateway.control("trace", "--seconds", "1", "port 9", check=False)
        assert one_more.returncode == 1
        assert "too many traces and captures run already: try again later" in one_more.stderr, one_more.stderr
    # A client that left is noticed with the next sign of life to it.
    wait_until(lambda: cluster.gateway.control("trace", "--seconds", "1", "port 9", check=False).returncode == 0, 30,
               "room for a trace")


def test_EXP7_capture_has_both_sides_and_the_decisions(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "web.pcapng"
    process = start(cluster, "capture", "-w", str(file), "-c", "30", "--seconds", "4", f"host {lab.LOAD_BALANCER}",
                    name="capture")

    def seen() -> bool:
        curl(cluster.client, f"http://{lab.LOAD_BALANCER}/")
        return not process.running()
    wait_until(seen, 10, "the capture to end")
    assert process.wait(5) == 0, process.stderr()
    with PcapNgReader(str(file)) as reader:
        packets = list(reader)
    before = [packet for packet in packets if UDP not in packet and packet[IP].dst == lab.LOAD_BALANCER]
    after = [packet for packet in packets if packet[IP].src == lab.GATEWAY_UNDERLAY]
    assert before and after
    assert all(packet[TCP].dport == 80 for packet in before)
    comments = [packet.comment.decode() for packet in packets]
    opening = [text for text in comments if "this packet opened it" in text]
    assert opening, comments[:3]
    assert "service: default/web:http, LoadBalancer 203.0.113.80:80" in opening[0]
    assert opening[0].startswith("packet ") and ", forwarded | " in opening[0]
    # Of a packet that another worker handed over there is no frame as it came.
    if cluster.gateway.options.workers == 1:
        assert any(text.startswith("what became of packet ") for text in comments)


# ---- rates ----

def test_EXP8_top_shows_what_moves(cluster: Cluster) -> None:
    router = cluster.gateway
    before = router.counters()["cluster_ip_from_outside"]
    process = start(cluster, "top", "-d", "1", "-c", "3", "-o", "json", name="top")

    def seen() -> bool:
        connect_error(cluster.client, lab.WEB, 80, seconds=0.3)
        return not process.running()
    wait_until(seen, 15, "top to end")
    assert process.wait(1) == 0, process.stderr()
    looks = [json.loads(line) for line in process.stdout().splitlines()]
    assert len(looks) == 3
    assert [worker["worker"] for worker in looks[0]["workers"]] == list(range(router.options.workers))
    assert {interface["interface"] for interface in looks[0]["interfaces"]} == {"uplink0", "underlay0"}
    dropped = sum(look["dropsPerSecond"].get("cluster_ip_from_outside", 0) * look["seconds"] for look in looks)
    assert 1 <= round(dropped) <= router.counters()["cluster_ip_from_outside"] - before
    received = sum(look["seconds"] * interface["rxPacketsPerSecond"] for look in looks
                   for interface in look["interfaces"] if interface["interface"] == "uplink0")
    assert received >= dropped
    text = router.control("top", "-d", "0.2", "-c", "1").stdout
    for word in ("WORKER", "BUSY", "PACKETS/S", "INTERFACE", "RX-BIT/S", "uplink0", "underlay0"):
        assert word in text, text


def test_EXP8_yaml_is_what_json_is(cluster: Cluster) -> None:
    router = cluster.gateway
    for words in (("config",), ("config", "service", "default/web"), ("services",), ("routes",), ("interfaces",)):
        as_json = router.control("get", *words, "-o", "json").stdout
        as_yaml = router.control("get", *words, "-o", "yaml").stdout
        def without_counts(value: object) -> object:
            if isinstance(value, dict):
                return {key: without_counts(inner) for key, inner in value.items() if not key.startswith(("rx", "tx"))}
            return [without_counts(inner) for inner in value] if isinstance(value, list) else value
        assert without_counts(yaml.safe_load(as_yaml)) == without_counts(json.loads(as_json)), as_yaml


def test_EXP8_rates_and_traces_as_yaml(cluster: Cluster) -> None:
    looks = list(yaml.safe_load_all(cluster.gateway.control("top", "-d", "0.1", "-c", "2", "-o", "yaml").stdout))
    assert len(looks) == 2 and {each["interface"] for each in looks[1]["interfaces"]} == {"uplink0", "underlay0"}
    (services,) = yaml.safe_load_all(cluster.gateway.control("top", "--services", "-d", "0.1", "-c", "1", "-o", "yaml").stdout)
    assert "seconds" in services or "services" in services
    process = start(cluster, "trace", "-c", "1", "--seconds", "6", "-o", "yaml", f"dst host {lab.WEB}", name="trace")

    def seen() -> bool:
        connect_error(cluster.client, lab.WEB, 80, seconds=0.3)
        return not process.running()
    wait_until(seen, 10, "the trace to end")
    events = list(yaml.safe_load_all(process.stdout()))
    assert [event["event"] for event in events] == ["packet", "end"]
    assert events[0]["data"]["verdict"] in ("dropped", "handed over")


def test_EXP8_get_again_and_again(cluster: Cluster) -> None:
    process = start(cluster, "get", "status", "-w", name="watch")
    wait_until(lambda: process.stdout().count("Generation:") >= 2, 15, "the status twice")
    process.signal(15)
    process.wait(5)
