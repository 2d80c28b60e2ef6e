"""Direct server return with real clients and servers: answers take a way of their own, past the gateway."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6

import direct_return as lab_of
from conftest import lab_prefix, unharmed
from direct_return import CLIENT, CLIENT6, MTU, POD, POD6, REAL, REAL6, VIP, VIP6, DirectReturn
from frames import ICMP, IP, TCP, Ether, Packet, Wire
from netns import Lab, execute, wait_until
from probes import curl
from router import Options, Router

BODY = bytes(range(251)) * 800  # 200 800 bytes, more than many packets of any size


@pytest.fixture(scope="module")
def shared_direct(workers: int) -> Iterator[DirectReturn]:
    with Lab(f"{lab_prefix()}d{workers}-") as lab:
        yield DirectReturn(lab, Options(workers=workers)).start()


@pytest.fixture
def direct(shared_direct: DirectReturn, request: pytest.FixtureRequest) -> Iterator[DirectReturn]:
    with (unharmed(shared_direct.gateway, shared_direct.gateway_document(), request),
          unharmed(shared_direct.second, shared_direct.node_document(), request)):
        shared_direct.client.forget_path_mtus()
        yield shared_direct


def url(address: str, port: int, path: str = "/") -> str:
    return f"http://{f'[{address}]' if ':' in address else address}:{port}{path}"


def upload(direct: DirectReturn, address: str, port: int) -> dict[str, object]:
    path = direct.lab.directory / "body"
    path.write_bytes(BODY)
    return json.loads(direct.client.run("curl", "-sS", "--max-time", "20", "-H", "Expect:", "--data-binary", f"@{path}",
                                        url(address, port), timeout=30).stdout)


@pytest.mark.parametrize("vip, port, server, client", [(VIP, 80, f"{POD}:8080", CLIENT),
                                                       (VIP6, 80, f"[{POD6}]:8080", f"[{CLIENT6}]"),
                                                       (REAL, 8080, f"{REAL}:8080", CLIENT),
                                                       (REAL6, 8080, f"[{REAL6}]:8080", f"[{CLIENT6}]")],
                         ids=["node", "node-ipv6", "linux", "linux-ipv6"])
def test_SVC60_answers_do_not_pass_the_gateway(direct: DirectReturn, vip: str, port: int, server: str,
                                               client: str) -> None:
    """SVC-61, MASQ-4: the server sees the client's own address; the gateway sees one half of the connection."""
    answers = curl(direct.client, url(vip, port, "/[1-10]"))
    assert len(answers) == 10
    for answer in answers:
        assert answer.server == server
        assert answer.client.startswith(f"{client}:")

    before = direct.bytes_sent_to_client()
    done = direct.client.run("curl", "-sS", "--max-time", "20", url(vip, port, f"/bytes/{len(BODY)}"), "-o", "/dev/null",
                             "-w", "%{size_download}")
    assert int(done.stdout) == len(BODY)
    assert direct.bytes_sent_to_client() - before < 2000, "nothing but ARP and ND"

    flows = direct.gateway.flows(dport=port, dst=vip)
    assert flows
    for flow in flows:
        assert flow.raw["directReturn"] and flow.reply_packets == 0
        assert flow.packets > 3
        assert flow.reply_source == (server if vip in (VIP, VIP6) else
                                     server.replace(REAL6, lab_of.SERVER_BACK6).replace(REAL, lab_of.SERVER_BACK))
    assert "(dsr)" in direct.gateway.control("get", "flows").stdout
    assert direct.gateway.counters()["masqueraded"] == 0


@pytest.mark.parametrize("vip, port", [(VIP, 80), (VIP6, 80), (REAL, 8080), (REAL6, 8080)],
                         ids=["node", "node-ipv6", "linux", "linux-ipv6"])
def test_MTU2_large_uploads_learn_the_size_of_the_tunnel(direct: DirectReturn, vip: str, port: int) -> None:
    """The client's first full segments do not fit; the gateway tells it so."""
    before = direct.gateway.drops()["mtu_exceeded"]
    answer = upload(direct, vip, port)
    assert answer["bytes"] == len(BODY) and answer["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert direct.gateway.drops()["mtu_exceeded"] > before
    route = execute("ip", "-netns", direct.client.full_name, "route", "get", vip).stdout
    expected = MTU if vip != REAL6 else MTU - 20  # over IPv6
    assert f"mtu {expected}" in route, route


def connected(direct: DirectReturn, family: int, address: str) -> socket.socket:
    sock = direct.client.socket(family, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.connect((address, 80))
    return sock


@pytest.mark.parametrize("vip, pod, client", [(VIP, POD, CLIENT), (VIP6, POD6, CLIENT6)], ids=["ipv4", "ipv6"])
def test_ICMP2_an_error_about_an_answer_reaches_the_pod(direct: DirectReturn, vip: str, pod: str, client: str) -> None:
    """A router near the client finds an answer too big, and tells the service's address, which is at the gateway."""
    is_v6 = ":" in vip
    header = IPv6 if is_v6 else IP

    def is_answer(frame: Packet) -> bool:
        return header in frame and frame[header].src == vip and TCP in frame and len(frame[header]) > 1300

    def is_error(frame: Packet) -> bool:
        return header in frame and frame[header].dst == pod and (ICMPv6PacketTooBig if is_v6 else ICMP) in frame

    before = direct.pod.snmp()
    with connected(direct, socket.AF_INET6 if is_v6 else socket.AF_INET, vip) as sock, \
            Wire(direct.client, "eth0") as wire, Wire(direct.pod, "eth0") as pod_wire:
        port = sock.getsockname()[1]
        sock.sendall(b"GET /bytes/20000 HTTP/1.0\r\n\r\n")
        answer = wire.expect(is_answer, "full-sized answer")
        assert answer.src == mac_of(direct.second), "it came by the node's own link"
        quoted = bytes(answer[header])
        error = (IPv6(src=client, dst=vip) / ICMPv6PacketTooBig(mtu=1300) / quoted[:1200] if is_v6 else
                 IP(src=client, dst=vip) / ICMP(type=3, code=4, nexthopmtu=1300) / quoted[:540])
        wire.send(Ether(src=direct.client.mac("eth0"), dst=mac_of(direct.gateway)) / error)
        arrived = pod_wire.expect(is_error, "ICMP error")
        about = header(bytes(arrived[header].payload)[8:])
        assert (about.src, about.dst, about[TCP].sport, about[TCP].dport) == (pod, client, 8080, port)
    after = direct.pod.snmp()
    assert after["IcmpInDestUnreachs"] == before["IcmpInDestUnreachs"] + (0 if is_v6 else 1)
    assert after["IcmpInCsumErrors"] == before["IcmpInCsumErrors"]


def mac_of(router: Router, interface: str = "up") -> str:
    return next(entry["mac"] for entry in router.status()["interfaces"] if entry["name"] == interface)


@pytest.mark.changes_config
def test_SVC9_translated_again(direct: DirectReturn) -> None:
    """sluice.dev/forwarding: snat, while everything runs."""
    assert curl(direct.client, url(VIP, 80))[0].client.startswith(f"{CLIENT}:")
    listed = direct.gateway.get("/v1/services")["services"]
    assert {entry["forwarding"] for entry in listed} == {"dsr"}
    assert ", dsr" in direct.gateway.control("get", "services").stdout
    direct.gateway.apply(direct.gateway_document("snat"))
    assert {entry["forwarding"] for entry in direct.gateway.get("/v1/services")["services"]} == {"snat"}
    assert curl(direct.client, url(REAL, 8080))[0].client.startswith(f"{lab_of.GATEWAY_BACK}:")


@pytest.mark.changes_config
def test_SVC60_an_endpoint_that_comes_alone(direct: DirectReturn) -> None:
    """A change of one EndpointSlice, which leaves all routes as they are, finds the way to the endpoint all the same."""
    document = direct.gateway_document()
    slices = [item for item in document["items"] if item["kind"] == "EndpointSlice" and item["metadata"]["name"] == "web"]
    direct.gateway.apply({**document, "items": [item for item in document["items"] if item not in slices]})
    assert direct.client.run("curl", "-sS", "--connect-timeout", "1", url(VIP, 80), check=False).returncode != 0
    delta = {"kind": "Delta", "upsert": slices, "delete": []}
    reply = direct.gateway.request("PATCH", "/v1/config", json.dumps(delta))
    assert reply.status == 200, reply.text
    assert curl(direct.client, url(VIP, 80))[0].client.startswith(f"{CLIENT}:")
    assert all(flow.raw["directReturn"] for flow in direct.gateway.flows(dport=80, dst=VIP))


@pytest.mark.changes_config
def test_SVC70_the_node_refuses_what_it_has_no_endpoint_for(direct: DirectReturn) -> None:
    """The gateway still believes in an endpoint that the node no longer has: no loop, a named drop."""
    without = direct.node_document()
    for item in without["items"]:
        if item["kind"] == "EndpointSlice" and item["metadata"]["name"] == "web":
            item["endpoints"][0]["nodeName"] = "gw"
    direct.second.apply(without)
    before = direct.second.drops()["no_local_endpoint"]
    direct.client.run("curl", "-sS", "--connect-timeout", "1", url(VIP, 80), check=False)
    assert direct.second.drops()["no_local_endpoint"] > before
