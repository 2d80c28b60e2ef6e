"""Tests of the model: that it says what the specification's table says, and that a router which errs is found out."""

import os
import random
import struct

import pytest

import compare
import sctp
import wire
from by_hand import drains_object
from cluster import Cluster, key_of
from conntrack import ORIGINAL, REPLY, Flow
from ingress import Arrived
from reference import Model
from router import Router
from tables import Tables
from window import Segment

DRIVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../build/tests/model/drive")

# --- the truth table (specification 3.16) -------------------------------------------------------------------

LOCAL, REMOTE = "10.246.0.5", "10.246.1.3"  # endpoints
CLIENTS = {"pod": "10.246.0.7", "pod-of-node3": "10.246.1.7", "node": "192.168.0.1", "outside": "203.0.113.1"}
ADDRESSES = {"ClusterIP": ("10.96.0.1", 80), "NodePort": ("192.0.2.1", 30000), "LB IP": ("198.18.1.1", 80)}
# external policy, internal policy, client: then per kind of address who serves, and "m" if the source is replaced
TRUTH = """
Cluster Cluster pod      LR   LR m  LR m
Cluster Cluster node     LR m LR m  LR m
Cluster Cluster outside  LR m LR m  LR m
Local   Cluster pod      LR   LR    LR
Local   Cluster pod-of-node3 LR L   LR
Local   Cluster node     LR m LR m  LR m
Local   Cluster outside  LR m L     L
Cluster Local   pod      L    LR m  LR m
Cluster Local   node     L m  LR m  LR m
Cluster Local   outside  L m  LR m  LR m
Local   Local   pod      L    LR    LR
Local   Local   pod-of-node3 L L    LR
Local   Local   node     L m  LR m  LR m
Local   Local   outside  L m  L     L
"""


def rows():
    for line in TRUTH.split("\n"):
        if line:
            external, internal, client, *rest = line.split()
            cells = []
            for word in rest:
                if word == "m":
                    cells[-1] = cells[-1][0], True
                else:
                    cells.append((word, False))
            for frontend, (serving, masquerade) in zip(ADDRESSES, cells, strict=True):
                yield external, internal, client, frontend, serving, masquerade


def model_with(external, internal):
    everything = Cluster(random.Random(1)).objects
    objects = {key: o for key, o in everything.items() if key[0] not in ("Service", "EndpointSlice")}
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "svc0"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv4"],
                 "externalTrafficPolicy": external, "internalTrafficPolicy": internal,
                 "ports": [{"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30000}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "198.18.1.1"}]}},
    }  # fmt: skip
    endpoints = [{"addresses": [LOCAL], "nodeName": "gw"}, {"addresses": [REMOTE], "nodeName": "node3"}]
    slices = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "default", "name": "svc0-a", "labels": {"kubernetes.io/service-name": "svc0"}},
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}], "endpoints": endpoints,
    }  # fmt: skip
    for o in (service, slices):
        objects[key_of(o)] = o
    spec = next(o for key, o in objects.items() if key[0] == "GatewayConfiguration")["spec"]
    spec["localNodeNames"] = ["gw"]
    spec["proxy"] = {"allowExternalClusterIP": True}
    tables = Tables(objects)
    return Model(tables, 1)


@pytest.mark.parametrize("external, internal, client, frontend, serving, masquerade", rows())
def test_SVC60_SVC64_TruthTable(external, internal, client, frontend, serving, masquerade):
    model = model_with(external, internal)
    address, port = ADDRESSES[frontend]
    packet = wire.tcp(wire.addr(CLIENTS[client]), wire.addr(address), 5000, port, wire.SYN, 1, 0)
    a = Arrived(packet, model.tables.interfaces[0], None)
    usable, replaced = model.endpoints_for(a, model.tables.frontends[wire.addr(address), wire.TCP, port])
    names = {(wire.addr(LOCAL), 8080): "L", (wire.addr(REMOTE), 8080): "R"}
    assert "".join(sorted(names[endpoint] for endpoint in usable)) == serving
    assert replaced == masquerade


# --- SCTP, weights, drains, direct return ---------------------------------------------------------------------


def test_SVC97_SctpIsThatOfScapy():
    from scapy.layers.sctp import SCTP, SCTPChunkData

    def built(sport, dport):
        return bytes(SCTP(sport=sport, dport=dport, tag=7) / SCTPChunkData(data=b"hello, there"))

    assert sctp.crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    message = built(40000, 2905)
    assert sctp.checksum_right(message)
    assert sctp.kinds_of(message) == [sctp.DATA]
    assert sctp.with_ports(message, 1, 36412, len(message)) == built(1, 36412)
    beginning = sctp.with_ports(message[:16], 1, 36412, len(message))  # as ICMP errors quote it
    assert beginning == built(1, 36412)[:16]
    wrong = message[:8] + b"\0\0\0\0" + message[12:]
    assert not sctp.checksum_right(sctp.with_ports(wrong, 1, 36412, len(wrong)))


def by_hand(weights=None, drains=(), condition="ready"):
    """The first service's port with an endpoint here and one elsewhere."""
    everything = model_with("Cluster", "Cluster").tables.objects
    for o in everything.values():
        if o["kind"] == "Service" and weights is not None:
            o["metadata"]["annotations"] = {"sluice.dev/weights": weights}
        for e in o.get("endpoints", []):
            e["conditions"] = {"ready": True} if condition == "ready" else {"ready": False, "terminating": True}
            e["targetRef"] = {"kind": "Pod", "name": "here" if e["addresses"] == [LOCAL] else "elsewhere"}
    o = drains_object(drains)
    tables = Tables({**everything, key_of(o): o})
    service = tables.service_ports["default", "svc0", "http", 4]
    names = {(wire.addr(LOCAL), 8080): "L", (wire.addr(REMOTE), 8080): "R"}
    return ["".join(sorted(names[at] for at in some)) for some in (service.cluster, service.local, service.serving)]


def test_SVC22_WeightsByAddressPodAndLabel():
    assert by_hand() == ["LR", "L", "LR"]
    assert by_hand('{"10.246.0.5": 0}') == ["R", "", "LR"]
    assert by_hand('{"here": 0, "10.246.0.5": 1}') == ["LR", "L", "LR"]
    assert by_hand('{"elsewhere": 0}') == ["L", "L", "LR"]
    assert by_hand('{"kubernetes.io/service-name=svc0": 0, "here": 3}') == ["L", "L", "LR"]


def test_SVC91_DrainsByEveryName():
    assert by_hand(drains=[("10.246.0.5", False)]) == ["R", "", "LR"]
    assert by_hand(drains=[("10.246.0.5:8080", True), ("10.246.1.3:8081", True)]) == ["R", "", "LR"]
    assert by_hand(drains=[("default/elsewhere", False)]) == ["L", "L", "LR"]
    assert by_hand(drains=[("elsewhere", False), ("here", False)]) == ["", "", "LR"]
    assert by_hand(drains=[("prod/here", False)]) == ["LR", "L", "LR"]


def test_SVC9_OnlyClientsFromOutsideGetDirectReturn():
    objects = model_with("Cluster", "Cluster").tables.objects
    for o in objects.values():
        if o["kind"] == "Service":
            o["metadata"]["annotations"] = {"sluice.dev/forwarding": "dsr"}
    model = Model(Tables(objects), 1)
    direct = set()
    for client, source in CLIENTS.items():
        for name, (address, port) in ADDRESSES.items():
            packet = wire.tcp(wire.addr(source), wire.addr(address), 5000, port, wire.SYN, 1, 0)
            a = Arrived(packet, model.tables.interfaces[0], None)
            if model.is_direct(a, model.tables.frontends[wire.addr(address), wire.TCP, port]):
                direct.add((client, name))
    assert direct == {("outside", "LB IP")}
    nodes = model.tables.service_ports["default", "svc0", "http", 4].nodes
    assert nodes == {(wire.addr(REMOTE), 8080): "node3"}


# --- connections ----------------------------------------------------------------------------------------------


class Connection:
    def __init__(self):
        client, server = wire.addr(CLIENTS["outside"]), wire.addr(LOCAL)
        self.flow = Flow((wire.TCP, client, 5000, server, 80), (wire.TCP, server, 80, client, 5000), None, 0)

    def track(self, direction, flags, seq, ack, length=0, scale=None):
        """What becomes of the segment, and of the connection."""
        options = b"" if scale is None else bytes([1, 3, 3, scale])
        action = self.flow.track(direction, Segment(flags, seq, ack, length, 65535, options), 0, False)
        return action, self.flow.state


def test_CT5_CT14_ResetOfTheConnectionBeforeTheYoungerOne():
    """A client that lost its memory opens again, and the server agrees: a RST with a number from before is too old."""
    c = Connection()
    assert c.track(ORIGINAL, wire.ACK, 1000, 5000) == ("pass", "EST")
    assert c.track(ORIGINAL, wire.SYN, 900_000, 0) == ("pass", "EST")
    assert c.track(REPLY, wire.SYN | wire.ACK, 70_000, 900_001) == ("pass", "SYN_RECV")
    for seq in (1000, 900_000):
        assert c.track(ORIGINAL, wire.RST | wire.ACK, seq, 5000) == ("invalid", "SYN_RECV"), seq
    assert c.track(ORIGINAL, wire.RST, 900_001, 0) == ("pass", "CLOSE")


def test_CT6_EitherAckCompletesASimultaneousOpen():
    for direction, seq, ack in ((ORIGINAL, 101, 501), (REPLY, 501, 101)):
        c = Connection()
        assert c.track(ORIGINAL, wire.SYN, 100, 0) == ("pass", "SYN_SENT")
        assert c.track(REPLY, wire.SYN, 500, 0) == ("pass", "SYN_SENT2")
        assert c.track(ORIGINAL, wire.SYN | wire.ACK, 100, 501) == ("pass", "SYN_RECV")
        assert c.track(REPLY, wire.SYN | wire.ACK, 500, 101) == ("pass", "SYN_RECV")
        assert c.track(direction, wire.ACK, seq, ack) == ("pass", "EST")
    c.track(ORIGINAL, wire.SYN, 9000, 0)
    assert c.track(REPLY, wire.SYN | wire.ACK, 8000, 9001) == ("pass", "SYN_RECV")
    assert c.track(REPLY, wire.ACK, 8001, 9001) == ("pass", "SYN_RECV"), "the younger one is no simultaneous open"


def test_CT11_WindowsAreScaledIfBothSynsSayHow():
    for scales, size in (((7, 7), 65535 << 7), ((7, None), 65535), ((None, 7), 65535), ((15, 0), 65535)):
        c = Connection()
        c.track(ORIGINAL, wire.SYN, 100, 0, scale=scales[0])
        c.track(REPLY, wire.SYN | wire.ACK, 500, 101, scale=scales[1])
        assert c.track(ORIGINAL, wire.ACK, 101, 501) == ("pass", "EST")
        assert c.track(REPLY, wire.ACK, 501, 101) == ("pass", "EST")
        assert c.track(ORIGINAL, wire.ACK, 102 + size, 501) == ("invalid", "EST"), scales
        assert c.track(ORIGINAL, wire.ACK, 101 + size, 501) == ("pass", "EST"), scales


# --- pods -----------------------------------------------------------------------------------------------------


def test_SPOOF2_NoDhcpFromPods():
    model = model_with("Cluster", "Cluster")
    pod = next(i for i in model.tables.interfaces if i.pods)
    for addresses, server in ((("10.246.0.5", "192.0.2.10"), 67), (("fd00:10:246:1::5", "2001:db8:2::10"), 547)):
        src, dst = map(wire.addr, addresses)
        for ports, dropped in (((server - 1, server), True), ((server, server + 1), True), ((5000, 53), False)):
            packet = wire.udp(src, dst, *ports, b"contents")
            model.begin([], {})
            model.receive(pod.port, wire.ethernet(pod.mac, b"\x02\0\0\0\0\x99", packet.bytes()))
            assert (frozenset({"pod_dhcp"}) in model.drops) == dropped, (addresses, ports)


# --- a router that errs -------------------------------------------------------------------------------------

ERRORS = {}  # by name: what to do to a frame that came out; None: nothing this time


def error(change):
    ERRORS[change.__name__] = change
    return change


def with_packet(frame, change):
    """The frame with its innermost IPv4 packet changed, its header checksum right; None if `change` says so."""
    if frame[12:14] != b"\x08\x00" or frame[23] in (4, 41) or frame[14:15] != b"\x45":
        return None
    packet = wire.read_ip(frame[14:])
    if packet.proto == wire.UDP and packet.l4[2:4] == b"\x12\xb5":
        return None
    changed = change(packet)
    return None if changed is None else frame[:14] + changed.bytes()


@error
def ttl_stays(frame):
    return with_packet(frame, lambda p: p.but(ttl=p.ttl + 1))


@error
def lost(frame):
    return b"" if frame[12:14] != b"\x08\x06" and len(frame) > 60 and frame[14] == 0x45 else None


@error
def other_neighbor(frame):
    return b"\x02\0\0\0\0\x99" + frame[6:] if frame[14] == 0x45 else None


@error
def ecn_marked(frame):
    return with_packet(frame, lambda p: p.but(tos=p.tos ^ 3))


@error
def payload_damaged(frame):
    return frame[:-1] + bytes([frame[-1] ^ 1]) if frame[14] == 0x45 and len(frame) > 60 else None


@error
def checksum_of_udp_forgotten(frame):
    def change(p):
        if p.proto != wire.UDP or p.offset or p.l4[6:8] == b"\0\0":
            return None
        return p.but(l4=p.l4[:6] + struct.pack(">H", int.from_bytes(p.l4[6:8], "big") ^ 1) + p.l4[8:])

    return with_packet(frame, change)


@error
def quoted_packet_cut(frame):
    return with_packet(frame, lambda p: p.but(l4=p.l4[:-4]) if wire.is_icmp_error(p) and len(p.l4) > 44 else None)


@error
def source_port_of_reply_wrong(frame):
    def change(p):
        if p.proto != wire.TCP or p.offset or int.from_bytes(p.l4[:2], "big") != 80:
            return None
        return p.but(l4=wire.l4_checksum(p.src, p.dst, p.proto, b"\x1f\x90" + p.l4[2:], 16))

    return with_packet(frame, change)


@error
def vni_wrong(frame):
    vxlan = frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == b"\x12\xb5"
    return frame[:48] + b"\x01" + frame[49:] if vxlan else None


@error
def checksum_of_sctp_is_the_clients(frame):
    def change(p):
        if p.proto != wire.SCTP or int.from_bytes(p.l4[2:4], "big") not in (10905, 11005):  # of endpoints
            return None
        as_sent = sctp.with_checksum(p.l4[:2] + (2905).to_bytes(2, "big") + p.l4[4:])
        return p.but(l4=p.l4[:8] + as_sent[8:12] + p.l4[12:])

    return with_packet(frame, change)


@error
def direct_return_to_another_node(frame):
    if frame[12:14] != b"\x08\x00" or frame[23] != 4 or frame[30:33] != b"\xc0\xa8\0" or frame[33] not in (11, 13):
        return None
    outer = wire.read_ip(frame[14:])
    return frame[:14] + outer.but(dst=wire.addr("192.168.0.12")).bytes()


class ErringRouter(Router):
    """Errs once, at the first frame of the kind after a while."""

    def __init__(self, program, change):
        super().__init__(program)
        self.damage, self.left = change, 400

    def received(self, frame):
        self.left -= 1
        changed = self.damage(frame) if self.left < 0 else None
        if changed is None:
            return frame
        self.left = 1 << 30
        return changed


@pytest.mark.parametrize("name", ERRORS)
def test_ARouterThatErrsIsFoundOut(name):
    router = ErringRouter(DRIVE, ERRORS[name])
    try:
        with pytest.raises(compare.Failure):
            for seed in (1, 2, 3, 4):  # not every one has every kind of frame
                compare.compare(router, seed, 1, 20000, 40, shrink=False)
    finally:
        router.close()


def test_WhatIsFoundIsShrunk():
    """A router that never sends fragments: the report is down to the packet that would have been one."""

    class NoFragments(Router):
        def received(self, frame):
            return b"" if frame[14] == 0x45 and frame[20] & 0x3F else frame

    router = NoFragments(DRIVE)
    try:
        with pytest.raises(compare.Failure) as failure:
            compare.compare(router, 1, 1, 20000, 20)
    finally:
        router.close()
    report = str(failure.value)
    assert "steps lead there" in report
    assert report.count("packet: port") < 10, report
