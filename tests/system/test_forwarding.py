"""Plain forwarding between two networks: neighbours, TTL, MTU, errors. The right link's MTU is 1400."""

from __future__ import annotations

import pytest

from frames import ARP, ICMP, IP, UDP, Ether, Raw, Wire
from netns import wait_until
from probes import checksum_errors, iperf, listening, ping, ping_loss, ping_says, tracepath
from two_hosts import LEFT, LEFT6, RIGHT, RIGHT6, ROUTER_LEFT, ROUTER_LEFT6, ROUTER_RIGHT, TwoHosts


@pytest.mark.parametrize("target", [RIGHT, RIGHT6], ids=["ipv4", "ipv6"])
def test_BASE1_hosts_reach_each_other(two_hosts: TwoHosts, target: str) -> None:
    ping(two_hosts.left, target)
    ping(two_hosts.right, LEFT if target == RIGHT else LEFT6)


def test_ARP5_neighbor_is_resolved_and_listed(two_hosts: TwoHosts) -> None:
    ping(two_hosts.left, RIGHT)
    entry = next(entry for entry in two_hosts.router.neighbors() if entry["address"] == RIGHT)
    assert entry["mac"] == two_hosts.right.mac("eth0")
    assert entry["state"] in ("reachable", "stale")
    assert entry["interface"] == "right0"


def test_ARP5_silent_neighbor_gives_host_unreachable(two_hosts: TwoHosts) -> None:
    said = ping_says(two_hosts.left, "10.2.0.77", "-W", "6")
    assert f"From {ROUTER_LEFT}" in said and "Destination Host Unreachable" in said, said


def test_ARP4_requests_for_other_addresses_stay_unanswered(two_hosts: TwoHosts) -> None:
    with Wire(two_hosts.left, "eth0") as wire:
        wire.send(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc=LEFT, hwsrc=two_hosts.left.mac("eth0"),
                                                       pdst="10.1.0.99"))
        wire.send(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc=LEFT, hwsrc=two_hosts.left.mac("eth0"),
                                                       pdst=ROUTER_LEFT))
        answer = wire.expect(lambda frame: ARP in frame and frame[ARP].op == 2, "ARP reply")
        assert answer[ARP].psrc == ROUTER_LEFT and answer[ARP].hwsrc == two_hosts.middle.mac("r-left")
        wire.expect_none(lambda frame: ARP in frame and frame[ARP].op == 2, "an answer for somebody else's address")


@pytest.mark.parametrize("address", [ROUTER_LEFT, ROUTER_RIGHT, ROUTER_LEFT6])
def test_TTL4_router_answers_echo_at_its_addresses(two_hosts: TwoHosts, address: str) -> None:
    assert "ttl=64" in ping_says(two_hosts.left, address)


def test_TTL1_forwarding_decrements_once_and_keeps_the_rest(two_hosts: TwoHosts) -> None:
    ping(two_hosts.left, RIGHT)
    sent = IP(src=LEFT, dst=RIGHT, ttl=9, id=0x1234, tos=0xb9, flags="DF") / UDP(sport=4000, dport=4001) / b"payload"
    sent = IP(bytes(sent))
    with Wire(two_hosts.left, "eth0") as left, Wire(two_hosts.right, "eth0") as right:
        left.send(Ether(dst=two_hosts.middle.mac("r-left"), src=two_hosts.left.mac("eth0")) / sent)
        seen = right.expect(lambda frame: IP in frame and frame[IP].id == 0x1234, "forwarded datagram")
    assert seen.src == two_hosts.middle.mac("r-right") and seen.dst == two_hosts.right.mac("eth0")
    wanted = sent.copy()
    wanted.ttl, wanted.chksum = 8, None
    assert bytes(seen[IP])[:len(wanted)] == bytes(IP(bytes(wanted)))


@pytest.mark.parametrize(("target", "router"), [(RIGHT, ROUTER_LEFT), (RIGHT6, ROUTER_LEFT6)], ids=["ipv4", "ipv6"])
def test_TTL2_expired_packet_is_answered_by_the_router(two_hosts: TwoHosts, target: str, router: str) -> None:
    said = ping_says(two_hosts.left, target, "-t", "1")
    assert f"From {router}" in said, said
    assert "Time to live exceeded" in said or "Hop limit" in said, said


def test_TTL2_packet_to_the_router_itself_may_have_ttl_one(two_hosts: TwoHosts) -> None:
    assert "1 received" in ping_says(two_hosts.left, ROUTER_LEFT, "-t", "1")


def test_ICMP7_quote_is_the_packet_as_it_was_sent(two_hosts: TwoHosts) -> None:
    sent = IP(bytes(IP(src=LEFT, dst=RIGHT, ttl=1, id=0x4321) / UDP(sport=4000, dport=4001) / (b"x" * 40)))
    with Wire(two_hosts.left, "eth0") as left:
        left.send(Ether(dst=two_hosts.middle.mac("r-left"), src=two_hosts.left.mac("eth0")) / sent)
        error = left.expect(lambda frame: ICMP in frame and frame[ICMP].type == 11, "time exceeded")
    assert error[IP].src == ROUTER_LEFT and error[IP].dst == LEFT
    assert bytes(error[ICMP].payload)[:len(sent)] == bytes(sent)


@pytest.mark.parametrize(("target", "overhead"), [(RIGHT, 28), (RIGHT6, 48)], ids=["ipv4", "ipv6"])
def test_MTU2_packet_larger_than_the_link_is_told(two_hosts: TwoHosts, target: str, overhead: int) -> None:
    two_hosts.left.forget_path_mtus()
    said = ping_says(two_hosts.left, target, "-M", "do", "-s", str(1500 - overhead))
    assert "mtu = 1400" in said or "mtu=1400" in said, said
    assert "1 received" in ping_says(two_hosts.left, target, "-M", "do", "-s", str(1400 - overhead))


def test_MTU2_tracepath_finds_the_narrow_link(two_hosts: TwoHosts) -> None:
    two_hosts.left.forget_path_mtus()
    found = tracepath(two_hosts.left, RIGHT)
    assert found.mtu == 1400
    assert found.hops == [ROUTER_LEFT, RIGHT]


def test_MTU2_packet_without_df_is_fragmented(two_hosts: TwoHosts) -> None:
    """The request is cut by the router, the reply by the right host; both arrive whole."""
    fragmented = two_hosts.router.counters()["fragmented"]
    assert "1 received" in ping_says(two_hosts.left, RIGHT, "-M", "dont", "-s", "1472")
    assert two_hosts.router.counters()["fragmented"] > fragmented


def test_ENC4_no_route_is_net_unreachable(two_hosts: TwoHosts) -> None:
    said = ping_says(two_hosts.left, "172.31.0.1")
    assert f"From {ROUTER_LEFT}" in said and "Unreachable" in said, said
    assert two_hosts.router.drops()["no_route"] > 0


def test_transit_keeps_no_state(two_hosts: TwoHosts) -> None:
    ping(two_hosts.left, RIGHT)
    assert two_hosts.router.flows() == []


@pytest.mark.parametrize("target", [RIGHT, RIGHT6], ids=["ipv4", "ipv6"])
def test_no_packet_is_lost_at_a_modest_rate(two_hosts: TwoHosts, target: str) -> None:
    assert ping_loss(two_hosts.left, target, 1000, 0.002) == 0


@pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
def test_CSUM_tcp_stream_flows_without_checksum_errors(two_hosts: TwoHosts, reverse: bool) -> None:
    server = two_hosts.right.start("iperf3", "--server", "--one-off")
    try:
        wait_until(lambda: listening(two_hosts.right, 5201), 5, "iperf3")
        errors = checksum_errors(two_hosts.left, two_hosts.right)
        moved = iperf(two_hosts.left, RIGHT, reverse=reverse)
        assert moved.stalled_seconds == 0, moved
        assert moved.megabits > 20, moved
        assert checksum_errors(two_hosts.left, two_hosts.right) == errors
    finally:
        server.stop()


def test_UDP_payload_of_every_length_arrives_unchanged(two_hosts: TwoHosts) -> None:
    ping(two_hosts.left, RIGHT)
    lengths = [0, 1, 2, 17, 18, 19, 20, 63, 64, 65, 511, 1000, 1371, 1372]
    with Wire(two_hosts.left, "eth0") as left, Wire(two_hosts.right, "eth0") as right:
        for length in lengths:
            payload = bytes(index % 256 for index in range(length))
            left.send(Ether(dst=two_hosts.middle.mac("r-left"), src=two_hosts.left.mac("eth0"))
                      / IP(src=LEFT, dst=RIGHT, id=7000 + length) / UDP(sport=4000, dport=4001) / Raw(payload))
            seen = right.expect(lambda frame: IP in frame and frame[IP].id == 7000 + length, f"{length} bytes")
            assert bytes(seen[UDP].payload)[:length] == payload
