"""What is announced is told again when the link comes up: a port whose other end comes later."""

from __future__ import annotations

from scapy.layers.inet6 import ICMPv6ND_NA
from scapy.layers.l2 import ARP

from memif import Memif
from netns import Lab, wait_until
from router import Router

LISTENS, LISTENS6 = "10.1.0.80", "fd00:1::80"


def test_L23_addresses_are_told_when_the_link_comes_up(lab: Lab) -> None:
    path = lab.directory / "up.sock"
    interface = {"name": "up0", "device": f"net_memif0,role=server,id=0,socket={path},socket-abstract=no",
                 "addresses": ["10.1.0.1/24", "fd00:1::1/64"]}
    document = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
                "spec": {"nodeName": "gw", "interfaces": [interface],
                         "ingress": {"enabled": True, "addresses": [LISTENS, LISTENS6]}}}
    router = Router(lab.namespace("gw"), "gw").start(document)
    assert not router.status()["interfaces"][0]["linkUp"]
    with Memif(path) as memif:
        told = set()

        def all_told() -> bool:
            while (frame := memif.receive()) is not None:
                if ARP in frame and frame[ARP].psrc == frame[ARP].pdst:
                    told.add(frame[ARP].psrc)
                if ICMPv6ND_NA in frame:
                    told.add(frame[ICMPv6ND_NA].tgt)
            return {LISTENS, LISTENS6} <= told

        wait_until(all_told, 10, lambda: f"gratuitous ARP and an advertisement, heard {told}")
        # DPDK's driver does not bear it that the other end goes first.
        assert router.stop() == 0
