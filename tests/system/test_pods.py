"""Section 9: pods at their veth pairs, made and removed while others talk, with every offload that Linux has switched on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import threading

import pytest

import pods
from netns import Lab, execute, wait_until
from probes import checksum_errors, iperf, listening, ping, ping_loss, ping_says
from router import Options

MEGABYTES = 24
ROUNDS = 60


def serve_iperf(pod: pods.Pod) -> None:
    pod.namespace.start("iperf3", "--server")
    wait_until(lambda: listening(pod.namespace, 5201), 5, "iperf3")


def copied(source: pods.Pod, target: pods.Pod, address: str) -> None:
    """Random bytes over TCP; every one of them has to arrive."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    arrived = hashlib.sha256()
    with target.namespace.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(("", 7777))
        listener.listen()

        def take() -> None:
            with listener.accept()[0] as connection:
                while piece := connection.recv(1 << 20):
                    arrived.update(piece)

        taker = threading.Thread(target=take, daemon=True)
        taker.start()
        sent = hashlib.sha256()
        with source.namespace.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(20)
            connection.connect((address, 7777))
            for _ in range(MEGABYTES):
                piece = os.urandom(1 << 20)
                sent.update(piece)
                connection.sendall(piece)
        taker.join(20)
    assert arrived.hexdigest() == sent.hexdigest()


def test_a_pod_at_an_interface_that_is_called_memif(lab: Lab) -> None:
    """A name like any other, and the only pod."""
    node = pods.one_node(lab)
    pod = node.pod("a", attached=False)
    pod.host_side = "memif"
    pod.make_link()
    pod.put()
    ping(pod.namespace, "192.168.0.100")
    pod.delete()
    assert node.router.stop() == 0


def test_HOST1_pods_come_and_go_beside_the_hosts_device(lab: Lab) -> None:
    node = pods.one_node(lab, hostInterface="up0")

    def device() -> str:
        return execute("ip", "-netns", node.namespace.full_name, "-oneline", "address", "show", "dev", "up0").stdout

    wait_until(lambda: f"{node.address}/" in device(), 5, device)
    before = device()
    first = node.pod("first")
    ping(first.namespace, "192.168.0.100")
    first.delete()
    node.pod("second").delete()
    assert device() == before
    ping(node.namespace, "192.168.0.100")


@pytest.mark.parametrize("workers", [1, 2])
def test_ARP1_ARP3_CSUM4_pods_of_one_node(lab: Lab, workers: int) -> None:
    node = pods.one_node(lab, Options(workers=workers))
    first, second = node.pod("first"), node.pod("second")
    ping(first.namespace, second.address)
    ping(first.namespace, second.address6)
    ping(first.namespace, "192.168.0.100")
    neighbors = first.namespace.run("ip", "neigh", "show", "dev", "eth0").stdout
    assert f"{pods.GATEWAY} lladdr {pods.GATEWAY_MAC}" in neighbors
    assert f"{pods.GATEWAY6} lladdr {pods.GATEWAY_MAC}" in neighbors
    errors = checksum_errors(first.namespace, second.namespace)
    copied(first, second, second.address)
    copied(second, first, first.address6)
    assert checksum_errors(first.namespace, second.namespace) == errors
    features = first.namespace.run("ethtool", "-k", "eth0").stdout
    assert "tcp-segmentation-offload: on" in features and "tx-checksumming: on" in features
    assert node.router.drops()["offload_malformed"] == 0
    assert node.router.stop() == 0


def test_CSUM4_VXL1_pods_of_two_nodes(lab: Lab) -> None:
    here, there = pods.two_nodes(lab)
    first, second = here.pod("first"), there.pod("second")
    ping(first.namespace, second.address)
    ping(first.namespace, second.address6)
    copied(first, second, second.address)
    copied(second, first, first.address6)
    serve_iperf(second)
    errors = checksum_errors(first.namespace, second.namespace)
    for reverse in (False, True):
        moved = iperf(first.namespace, second.address, reverse=reverse)
        assert moved.megabits > 10, moved
    assert checksum_errors(first.namespace, second.namespace) == errors
    assert here.router.counters()["encapsulated"] > 0


def test_SPOOF1_foreign_sources(lab: Lab) -> None:
    node = pods.one_node(lab)
    first, second = node.pod("first"), node.pod("second")
    ping(first.namespace, second.address)
    first.namespace.ip("addr add 10.244.1.77/32 dev eth0", "addr add fd00:244:0:1::77/128 dev eth0 nodad")
    before = node.router.drops()["spoofed_source"]
    for options in (("-I", "10.244.1.77", second.address), ("-I", "fd00:244:0:1::77", second.address6)):
        assert "1 received" not in ping_says(first.namespace, options[2], *options[:2], "-W", "1")
    assert node.router.drops()["spoofed_source"] >= before + 2
    arrived = second.namespace.snmp()["IcmpInEchos"]
    first.put(allowSpoofedSourcePrefixes=["10.244.1.77/32"])
    # No route leads back there: that the request arrives is all there is to see.
    ping_says(first.namespace, second.address, "-I", "10.244.1.77", "-W", "1")
    assert second.namespace.snmp()["IcmpInEchos"] == arrived + 1


def test_a_device_that_comes_later_goes_and_comes_again(lab: Lab) -> None:
    node = pods.one_node(lab)
    first = node.pod("first")
    late = node.pod("late", attached=False)
    late.put()
    entry = node.interface(late.host_side)
    assert entry["waitingForDevice"] and not entry["linkUp"]
    for _ in range(2):
        late.make_link()
        wait_until(lambda: node.interface(late.host_side)["linkUp"], 5, "the pod's interface to be found")
        ping(first.namespace, late.address)
        ping(late.namespace, first.address6)
        late.remove_link()
        wait_until(lambda: node.interface(late.host_side).get("waitingForDevice"), 5, "the interface to be missed")
    def reasons() -> list[str]:
        events = node.router.get("/v1/events?follow=false&types=link")["events"]
        return [event["reason"] for event in events if event["object"] == late.host_side]
    wait_until(lambda: reasons()[-2:] == ["LinkUp", "LinkDown"], 3, lambda: f"events, found {reasons()}")
    late.delete()
    assert node.interface(late.host_side) is None
    ping(first.namespace, "192.168.0.100")


def test_pods_come_and_go_while_others_talk(lab: Lab) -> None:
    node = pods.one_node(lab)
    first, second = node.pod("first"), node.pod("second")
    others = [node.pod(f"other{index}", attached=False) for index in range(4)]
    for other in others:
        other.make_link()
    ping(first.namespace, second.address)
    serve_iperf(second)
    drops = node.router.drops()
    buffers = node.router.mbufs_in_use()
    steady = first.namespace.start("ping", "-n", "-q", "-i", "0.005", second.address, name="steady")
    client = first.namespace.start("iperf3", "--client", second.address, "--time", "600", "--bitrate", "20M",
                                   name="client")
    for index in range(ROUNDS):
        for other in others:
            other.put()
        assert ping_loss(others[index % len(others)].namespace, second.address, 1, 0.2) == 0, f"round {index}"
        for other in others:
            other.delete()
    assert client.running(), "the connection has to outlive every change"
    client.stop()
    steady.signal(2)
    assert steady.wait(5) == 0
    sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", steady.stdout()).groups())
    # One packet for each change would be several times as many; a loaded machine may lose some by itself.
    assert sent > 100 and sent - received <= 1 + sent // 100, f"{received} of {sent}"
    for reason in ("neighbor_queue_full", "spoofed_source"):
        assert node.router.drops()[reason] == drops[reason], reason
    names = [entry["name"] for entry in node.router.status()["interfaces"]]
    assert sorted(names) == sorted(["uplink0", first.host_side, second.host_side])
    wait_until(lambda: node.router.mbufs_in_use() <= buffers + 16, 5, "all packet buffers to come back")
    assert node.router.generation() > 2 * ROUNDS * len(others)


def test_the_pods_of_a_router_that_starts_again(lab: Lab) -> None:
    node = pods.one_node(lab)
    first, second = node.pod("first"), node.pod("second")
    ping(first.namespace, second.address)
    assert node.router.stop() == 0
    node.router.start()
    ping(first.namespace, second.address)
    ping(second.namespace, first.address6)
    node.router.process.signal(9)
    node.router.process.wait(5)
    node.router.start()
    ping(first.namespace, second.address)


def test_SPOOF2_RS_is_unanswered_and_the_host_stays_quiet(lab: Lab) -> None:
    """The kernel beside the router answers for nothing at the pod's link, whatever addresses it has itself."""
    node = pods.one_node(lab)
    node.namespace.ip("addr add 10.99.0.1/32 dev lo")
    first = node.pod("first")
    ping(first.namespace, pods.GATEWAY6 + "%eth0")
    first.namespace.ip("route add 10.99.0.1 dev eth0 scope link")
    first.namespace.run("ping", "-c", "3", "-i", "0.1", "-W", "1", "10.99.0.1", check=False)
    assert f"10.99.0.1 lladdr {pods.GATEWAY_MAC}" in first.namespace.run("ip", "neigh", "show", "dev", "eth0").stdout
    assert node.namespace.run("ip", "neigh", "show", "dev", first.host_side).stdout == ""
    assert "default" not in first.namespace.run("ip", "-6", "route", "show", "proto", "ra").stdout


def test_felix_says_for_all_nodes_how_tunnels_look(lab: Lab) -> None:
    """FelixConfiguration, as one pushes Calico's objects to each router."""
    one, two = pods.two_nodes(lab)
    here, there = one.pod("here"), two.pod("there")
    ping(here.namespace, there.address)

    def say(node: pods.PodNode, **spec: int) -> None:
        felix = {"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration", "metadata": {"name": "default"},
                 "spec": spec}
        reply = node.router.request("PUT", "/v1/FelixConfiguration/-/default", json.dumps(felix))
        assert reply.status == 200, reply.text

    say(one, vxlanVNI=77, vxlanPort=8472, vxlanMTU=1400)
    assert ping_loss(here.namespace, there.address, 3, 0.1) == 3, "the other one does not know"
    say(two, vxlanVNI=77, vxlanPort=8472, vxlanMTU=1400)
    ping(here.namespace, there.address)
    told = ping_says(here.namespace, there.address, "-M", "do", "-s", "1380", "-W", "1")
    assert re.search(r"mtu ?= ?1400", told), told
    for node in (one, two):
        assert node.router.request("DELETE", "/v1/FelixConfiguration/-/default").status == 200
    here.namespace.ip("route flush cache")  # it knows the MTU of before
    assert "1400" not in ping_says(here.namespace, there.address, "-M", "do", "-s", "1380", "-W", "1")
    ping(here.namespace, there.address)
