"""Ingress and gRPC: its clients send no request before they have heard of the server."""

from __future__ import annotations

import sys
from pathlib import Path

from netns import Lab, wait_until
from objects import with_items
from router import Options
from test_ingress import LISTENS, ONE, ONE6, TWO, TWO6, web_service
from test_ingress_rules import CLASS, ingress
from two_hosts import ROUTER_LEFT, TwoHosts

PEER = Path(__file__).parent / "grpc_peer.py"


def call(hosts: TwoHosts, host: str, count: int = 3) -> list[str]:
    done = hosts.left.run("env", "GRPC_ENABLE_FORK_SUPPORT=0", sys.executable, str(PEER), "call", host,
                          f"{ROUTER_LEFT}:80", str(count), timeout=60)
    return done.stdout.splitlines()


def test_SPL10_ING1_calls_and_streams_of_grpc(lab: Lab, workers: int) -> None:
    hosts = TwoHosts(lab, Options(workers=workers), driver="net_tap")
    hosts.right.ip(f"addr add {ONE}/24 dev eth0", f"addr add {TWO}/24 dev eth0")
    for name, address in (("first", ONE), ("second", TWO)):
        hosts.right.start(sys.executable, str(PEER), "serve", name, f"{address}:8080", name=name)
        wait_until(lambda address=address: address in hosts.right.run("ss", "-Htln", "sport = 8080").stdout, 20, name)
    hosts.start().router.apply(with_items(
        hosts.document(ingress=LISTENS), CLASS, *web_service("one", 1, ONE, ONE6), *web_service("two", 2, TWO, TWO6),
        ingress("a", "one.example.com", {"/": "one"}),
        ingress("b", "two.example.com", {"/": "two"})))
    for host, name in (("one.example.com", "first"), ("two.example.com", "second")):
        assert call(hosts, host) == [f"{name} 0", f"{name} 1", f"{name} 2",
                                     f"{name} first/{len(name) + 6} {name + ' ' + 'x' * 20:.20}/{len(name) + 100_001} "
                                     f"{name} last/{len(name) + 5}"]
    hosts.lose(3)
    for _ in range(3):
        assert len(call(hosts, "two.example.com", 20)) == 21
    assert hosts.router.stop() == 0, hosts.router.log()
