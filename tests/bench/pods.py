#!/usr/bin/env python3
"""One TCP stream between pods with default offloads, beside the kernel's own ways of joining them.

    sudo /usr/bin/python3 tests/bench/pods.py [--seconds 5] [--rounds 3] [--only one] [--save FILE]

Every round measures all of them, so that what else the machine does falls on all; the median is printed, and all that
was measured goes into FILE as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

import pods  # noqa: E402
from netns import Lab, Namespace, wait_until  # noqa: E402
from probes import iperf, listening, ping  # noqa: E402
from router import SLUICECTL, Options  # noqa: E402

Pair = tuple[Namespace, Namespace, str]  # client, server, the server's address


def sluice_one_node(lab: Lab) -> Pair:
    node = pods.one_node(lab, Options(mbufs=16384))
    first, second = node.pod("a"), node.pod("b")
    return first.namespace, second.namespace, second.address


def sluice_one_node_v6(lab: Lab) -> Pair:
    node = pods.one_node(lab, Options(mbufs=16384))
    first, second = node.pod("a"), node.pod("b")
    return first.namespace, second.namespace, second.address6


def sluice_one_node_cut(lab: Lab) -> Pair:
    """While somebody traces nothing goes on as a super-frame; the filter is of packets that there are none of."""
    node = pods.one_node(lab, Options(mbufs=16384))
    first, second = node.pod("a"), node.pod("b")
    tracing = node.namespace.start(str(SLUICECTL), "--socket", str(node.router.socket), "trace", "--seconds", "3600",
                                   "udp port 9", name="trace")
    wait_until(tracing.running, 5, "the trace")
    return first.namespace, second.namespace, second.address


def sluice_two_nodes(lab: Lab) -> Pair:
    here, there = pods.two_nodes(lab, Options(mbufs=16384))
    first, second = here.pod("a"), there.pod("b")
    return first.namespace, second.namespace, second.address


def sluice_two_nodes_v6(lab: Lab) -> Pair:
    here, there = pods.two_nodes(lab, Options(mbufs=16384))
    first, second = here.pod("a"), there.pod("b")
    return first.namespace, second.namespace, second.address6


def bridged_pod(lab: Lab, node: Namespace, name: str, address: str, mtu: int) -> Namespace:
    pod = lab.namespace(name)
    lab.link(node, f"to-{name}", pod, "eth0", mtu)
    node.ip(f"link set dev to-{name} master br0")
    pod.ip(f"addr add {address}/16 dev eth0")
    return pod


def bridge_in(lab: Lab, name: str) -> Namespace:
    node = lab.namespace(name)
    node.ip("link add br0 type bridge stp_state 0", "link set br0 up")
    node.sysctl(**{f"net.bridge.bridge-nf-call-{table}": 0 for table in ("iptables", "ip6tables", "arptables")})
    return node


def kernel_one_node(lab: Lab) -> Pair:
    node = bridge_in(lab, "node")
    return (bridged_pod(lab, node, "a", "10.244.0.2", pods.POD_MTU),
            bridged_pod(lab, node, "b", "10.244.0.3", pods.POD_MTU), "10.244.0.3")


def kernel_two_nodes(lab: Lab) -> Pair:
    here, there = bridge_in(lab, "here"), bridge_in(lab, "there")
    lab.link(here, "underlay", there, "underlay", pods.UNDERLAY_MTU)
    for node, own, other in ((here, 1, 2), (there, 2, 1)):
        node.ip(f"addr add 192.168.0.{own}/24 dev underlay",
                f"link add vx0 type vxlan id 4096 local 192.168.0.{own} remote 192.168.0.{other} dstport 4789",
                "link set vx0 master br0", "link set vx0 up")
    return (bridged_pod(lab, here, "a", "10.244.1.2", pods.POD_MTU),
            bridged_pod(lab, there, "b", "10.244.2.2", pods.POD_MTU), "10.244.2.2")


SYSTEMS: dict[str, Callable[[Lab], Pair]] = {
    "one node: sluice": sluice_one_node, "one node: sluice, IPv6": sluice_one_node_v6,
    "one node: sluice, super-frames cut and joined again": sluice_one_node_cut,
    "one node: Linux, veth and bridge": kernel_one_node,
    "two nodes: sluice, VXLAN": sluice_two_nodes, "two nodes: sluice, VXLAN, IPv6 inside": sluice_two_nodes_v6,
    "two nodes: Linux, veth, bridge and VXLAN": kernel_two_nodes}


def measure(make: Callable[[Lab], Pair], seconds: int) -> float:
    with Lab("slbench-") as lab:
        client, server, address = make(lab)
        ping(client, address)
        server.start("iperf3", "--server")
        wait_until(lambda: listening(server, 5201), 5, "iperf3")
        return iperf(client, address, seconds=seconds).megabits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="systems whose name begins so")
    parser.add_argument("--save", type=Path, help="what was measured, as JSON")
    options = parser.parse_args()
    systems = {name: make for name, make in SYSTEMS.items() if name.startswith(options.only)}
    rates: dict[str, list[float]] = {name: [] for name in systems}
    loads: list[float] = []
    for _ in range(options.rounds):
        loads.append(os.getloadavg()[0])
        for name, make in systems.items():
            rates[name].append(measure(make, options.seconds))
    if options.save:
        options.save.write_text(json.dumps({
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "processors": os.cpu_count(),
            "seconds": options.seconds, "load": loads, "megabits": rates}, indent=2) + "\n")
    print("| | Gbit/s | least | most |\n|---|---:|---:|---:|")
    for name, values in rates.items():
        print(f"| {name} | {statistics.median(values) / 1000:.1f} | {min(values) / 1000:.1f} | {max(values) / 1000:.1f} |")


if __name__ == "__main__":
    main()
