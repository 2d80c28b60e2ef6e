"""Every kind of DPDK device that docs/config.md names opens and carries traffic. net_af_packet is in all other tests,
net_tap in test_fragments.py, net_ring in the packet ring."""

from __future__ import annotations

import signal
import time

import pytest
from scapy.all import ARP, Ether, rdpcap, wrpcap

from netns import Lab, wait_until
from probes import checksum_errors, iperf, ping
from router import Json, Router
from two_hosts import LEFT, RIGHT, ROUTER_LEFT, ROUTER_RIGHT, TwoHosts, document


def interface(name: str, device: str, address: str, **more: Json) -> Json:
    return {"name": name, "device": device, "role": "uplink", "addresses": [address], **more}


def test_af_xdp_carries_traffic(lab: Lab) -> None:
    hosts = TwoHosts(lab, driver="net_af_xdp", ipv6=False).start()
    ping(hosts.left, RIGHT)
    hosts.right.start("iperf3", "-s", "-1", name="iperf3")
    time.sleep(0.5)
    result = iperf(hosts.left, RIGHT)
    assert result.megabits > 1 and result.stalled_seconds == 0
    assert checksum_errors(hosts.left, hosts.right) == 0


def test_memif_joins_two_routers(lab: Lab) -> None:
    """left | first sluiced | memif | second sluiced | right"""
    left, right, here, there = (lab.namespace(name) for name in ("left", "right", "here", "there"))
    for host, router, name, address, gateway in ((left, here, "r-left", LEFT, ROUTER_LEFT),
                                                 (right, there, "r-right", RIGHT, ROUTER_RIGHT)):
        lab.router_link(router, name, host, "eth0")
        host.ip(f"addr add {address}/24 dev eth0", f"route add default via {gateway}")
    memif = f"net_memif0,id=0,socket={lab.directory / 'memif.sock'},socket-abstract=no"
    routers = []
    for namespace, device, own, role, link, far, next_hop in (
            (here, "r-left", ROUTER_LEFT, "server", "10.9.0.1/30", "10.2.0.0/24", "10.9.0.2"),
            (there, "r-right", ROUTER_RIGHT, "client", "10.9.0.2/30", "10.1.0.0/24", "10.9.0.1")):
        config = document([interface("host0", f"net_af_packet0,iface={device}", f"{own}/24"),
                           interface("link0", f"{memif},role={role}", link)],
                          routes=[{"destination": far, "nextHops": [{"via": next_hop}]}])
        routers.append(Router(namespace).start(config))
    wait_until(lambda: all(entry["linkUp"] for router in routers for entry in router.status()["interfaces"]), 10,
               "the memif to be up")
    ping(left, RIGHT)
    # DPDK 22.11's driver frees its rings under the poller whose peer leaves (docs/operations.md), so both go at once.
    for router in routers:
        router.process.signal(signal.SIGKILL)
    for router in routers:
        router.process.wait(5)


def test_pcap_reads_and_writes_files(lab: Lab) -> None:
    asked, answered = lab.directory / "in.pcap", lab.directory / "out.pcap"
    wrpcap(str(asked), [Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:99") /
                        ARP(op="who-has", hwsrc="02:00:00:00:00:99", psrc="10.1.0.9", pdst="10.1.0.1")])
    router = Router(lab.namespace("router"))
    router.start(document([interface("file0", f"net_pcap0,rx_pcap={asked},tx_pcap={answered}", "10.1.0.1/24")]))
    assert router.stop() == 0
    replies = [frame[ARP] for frame in rdpcap(str(answered)) if ARP in frame and frame[ARP].op == 2]
    assert [(reply.psrc, reply.pdst, reply.hwdst) for reply in replies] == \
        [("10.1.0.1", "10.1.0.9", "02:00:00:00:00:99")]


@pytest.mark.parametrize("device", ["net_null0", "net_ring0"])
def test_device_opens_and_is_up(lab: Lab, device: str) -> None:
    router = Router(lab.namespace("router")).start(document([interface("only0", device, "10.1.0.1/24")]))
    assert [entry["linkUp"] for entry in router.status()["interfaces"]] == [True]
    assert router.stop() == 0
