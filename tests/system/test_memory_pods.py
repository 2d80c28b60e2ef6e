"""Section 9 for pods that share their memory: memif and virtio-user beside pods with veth pairs. What speaks memif is
written in Python here; DPDK's own drivers are the other pods."""

from __future__ import annotations

import re

import pytest
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6

import pods
from frames import ARP, ICMP, IP, Ether, Raw
from memif import Memif, Refused
from netns import Lab, Process, processors, wait_until
from probes import ping, ping_says

DEVICES = {"memif": "net_memif0,role=client,id=0,socket={socket},socket-abstract=no,mac={mac}",
           "vhost-user": "net_virtio_user0,path={socket},mac={mac},queues=1"}
READY = 20  # seconds


def is_up(pod: pods.MemoryPod) -> bool:
    return pod.node.interface(pod.host_side)["linkUp"]


def wait_for(pod: pods.MemoryPod, up: bool) -> None:
    wait_until(lambda: is_up(pod) == up, READY, f"the link of {pod.name} to be {'up' if up else 'down'}")


def echo_pod(pod: pods.MemoryPod) -> Process:
    """DPDK's testpmd as the pod: it answers ARP and echo requests, until it is ended."""
    device = DEVICES[pod.how.split(",")[0]].format(socket=pod.socket, mac=pod.mac)
    cpus = processors()
    return pod.node.lab.start(
        ["dpdk-testpmd", "--lcores", f"0@{cpus[0]},1@{cpus[-1]}", "--no-huge", "-m", "64", "--no-pci", "--no-shconf",
         "--vdev", device, "--", "--forward-mode=icmpecho", "--auto-start", "--stats-period=1", "--no-flush-rx",
         "--total-num-mbufs=4096"], f"testpmd-{pod.name}")


def frame(pod: pods.MemoryPod) -> Ether:
    return Ether(src=pod.mac, dst=pods.GATEWAY_MAC)


def who_has(pod: pods.MemoryPod, target: str, sender: str = "") -> Ether:
    return Ether(src=pod.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=pod.mac, psrc=sender or pod.address,
                                                             pdst=target)


def test_ARP1_ARP3_SPOOF1_a_pod_that_speaks_memif(lab: Lab) -> None:
    node = pods.one_node(lab)
    first = node.pod("first")
    fast = node.memory_pod("fast", "memif,mode=0660")
    assert fast.socket.is_socket() and fast.socket.stat().st_mode & 0o777 == 0o660
    entry = node.interface(fast.host_side)
    assert entry["device"] == f"memif,socket={fast.socket}"
    assert entry["waitingForDevice"] and not entry["linkUp"]
    gone = node.router.drops()["interface_gone"]
    assert "1 received" not in ping_says(first.namespace, fast.address, "-c", "1", "-W", "1")
    assert node.router.drops()["interface_gone"] > gone, "packets to a pod that has not come"

    with Memif(fast.socket) as memif:
        wait_for(fast, True)
        assert not node.interface(fast.host_side).get("waitingForDevice")
        for target in (pods.GATEWAY, first.address):
            reply = memif.ask(who_has(fast, target))
            assert (reply[ARP].psrc, reply[ARP].hwsrc) == (target, pods.GATEWAY_MAC)
        solicit = Ether(src=fast.mac, dst="33:33:ff:ee:ee:ee") / IPv6(
            src=fast.address6, dst="ff02::1:ffee:eeee", hlim=255) / ICMPv6ND_NS(
                tgt=pods.GATEWAY6) / ICMPv6NDOptSrcLLAddr(lladdr=fast.mac)
        assert memif.ask(solicit, lambda got: ICMPv6ND_NA in got)[ICMPv6ND_NA].tgt == pods.GATEWAY6

        four = memif.ask(frame(fast) / IP(src=fast.address, dst=first.address) / ICMP(id=7, seq=1) / Raw(b"x" * 1000))
        assert four[ICMP].type == 0 and four[Raw].load == b"x" * 1000 and four[IP].ttl == 63
        six = memif.ask(frame(fast) / IPv6(src=fast.address6, dst=first.address6) / ICMPv6EchoRequest(id=7, seq=1),
                        lambda got: ICMPv6EchoReply in got)
        assert six[IPv6].src == first.address6

        before = node.router.drops()
        arrived = first.namespace.snmp()["IcmpInEchos"]
        memif.send(frame(fast) / IP(src="10.244.1.77", dst=first.address) / ICMP())
        memif.send(frame(fast) / IPv6(src="fd00:244:0:1::77", dst=first.address6) / ICMPv6EchoRequest())
        memif.send(who_has(fast, pods.GATEWAY, "10.244.1.77"))
        wait_until(lambda: node.router.drops()["spoofed_source"] == before["spoofed_source"] + 3, 5,
                   "three frames with foreign sources to be dropped")
        memif.ask(frame(fast) / IP(src=fast.address, dst=first.address) / ICMP(id=8, seq=1))
        assert first.namespace.snmp()["IcmpInEchos"] == arrived + 1

        with pytest.raises(Refused, match="already connected"):
            Memif(fast.socket)
    wait_for(fast, False)
    with pytest.raises(Refused, match="sealed against shrinking"):
        Memif(fast.socket, seal=False)
    fast.delete()
    assert not fast.socket.parent.exists()
    assert node.router.stop() == 0


@pytest.mark.parametrize("how", ["memif", "vhost-user"])
def test_ARP2_pods_of_dpdk_come_die_and_come_again_while_others_talk(lab: Lab, how: str) -> None:
    """Nothing of it is seen by two pods that talk meanwhile."""
    node = pods.one_node(lab)
    first, second = node.pod("first"), node.pod("second")
    ping(first.namespace, second.address)
    steady = first.namespace.start("ping", "-n", "-q", "-i", "0.01", second.address, name="steady")
    for _ in range(2):
        fast = node.memory_pod("fast", how)
        for death in (9, 15):
            process = echo_pod(fast)
            wait_until(lambda: is_up(fast) or not process.running(), READY, "the pod's link to be up")
            assert process.running(), process.stdout() + process.stderr()
            # The link may be up before the pod has given its first buffers.
            wait_until(lambda: "1 received" in ping_says(first.namespace, fast.address, "-W", "1"), READY,
                       "the pod to answer")
            ping(first.namespace, fast.address)
            process.signal(death)
            process.wait(10)
            wait_for(fast, False)
        fast.delete()
        assert not fast.socket.exists()
        assert node.interface(fast.host_side) is None
        node.pods.remove(fast)
    steady.signal(2)
    assert steady.wait(5) == 0
    sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", steady.stdout()).groups())
    # A loaded machine may lose some by itself; one for each change would be many more.
    assert sent > 100 and sent - received <= 1 + sent // 100, f"{received} of {sent}"
    assert node.router.stop() == 0


def test_a_pod_of_memory_after_the_router_was_killed(lab: Lab) -> None:
    node = pods.one_node(lab)
    first = node.pod("first")
    fast = node.memory_pod("fast", "memif")
    for _ in range(2):
        with Memif(fast.socket) as memif:
            wait_for(fast, True)
            memif.ask(frame(fast) / IP(src=fast.address, dst=first.address) / ICMP(id=7, seq=1))
            node.router.process.signal(9)
            node.router.process.wait(5)
            node.router.start()
