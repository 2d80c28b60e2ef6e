"""The host behind the router: its kernel keeps its addresses, routes and services at TAP devices, and nobody notices."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from frames import IP, UDP, Ether, Packet, Wire
from netns import Lab, Namespace, execute, wait_until
from objects import service_with_endpoints, with_items
from probes import connect_error
from router import Json, Options
from scapy.layers.dhcp import BOOTP, DHCP
from two_hosts import LEFT, LEFT6, RIGHT, ROUTER_LEFT, ROUTER_LEFT6, ROUTER_RIGHT, TwoHosts

UP, DOWN = "up0", "dn0"  # twins of left0 and right0
IP_BATCH_SECONDS = 60


class Hosts(TwoHosts):
    """The router's namespace is a machine whose links belong to sluiced."""

    def __init__(self, lab: Lab, options: Options | None = None, ipv6: bool = False, **host: Json):
        super().__init__(lab, options, ipv6=ipv6)
        # The kernel sees what comes to the ports' links, too; docs/operations.md says what keeps it from answering.
        self.middle.sysctl(**{f"net/ipv4/conf/{link}/rp_filter": 1 for link in ("r-left", "r-right")})
        if ipv6:
            self.middle.sysctl(**{"net/ipv6/conf/all/disable_ipv6": 0, "net/ipv6/conf/default/disable_ipv6": 0,
                                  "net/ipv6/conf/r-left/disable_ipv6": 1, "net/ipv6/conf/r-right/disable_ipv6": 1})
        self.config = self.document(**({"host": host} if host else {}))
        for interface, name in zip(self.config["items"][0]["spec"]["interfaces"], (UP, DOWN)):
            interface["hostInterface"] = name
            interface["device"] += ",framecnt=4096"  # a busy machine may hold a worker up for a tenth of a second
        self.router.start(self.config)
        self.wait_for_address(UP, ROUTER_LEFT)
        self.wait_for_address(DOWN, ROUTER_RIGHT)

    def addresses(self, device: str) -> str:
        return execute("ip", "-netns", self.middle.full_name, "-brief", "addr", "show", "dev", device).stdout

    def wait_for_address(self, device: str, address: str) -> None:
        wait_until(lambda: f"{address}/" in self.addresses(device), 5, lambda: f"{address}: {self.addresses(device)}")


def many_networks(count: int) -> list[str]:
    """Different ones: 11.0.0.0/24 and on, for at most 131 072."""
    return [f"{11 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.0/24" for number in range(count)]


def ping(namespace: Namespace, address: str, count: int = 3) -> str:
    return namespace.run("ping", "-n", "-c", str(count), "-i", "0.1", "-W", "1", address, check=False).stdout


def answers(namespace: Namespace, address: str) -> bool:
    return " 0% packet loss" in ping(namespace, address, 1)


@contextmanager
def echo_server(namespace: Namespace, address: str, port: int) -> Iterator[None]:
    """Sends back what it reads until the client ends."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = namespace.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(8)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def talk(namespace: Namespace, address: str, port: int, size: int = 1 << 20) -> None:
    """So many bytes there and back over one connection."""
    client = namespace.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(20)
    client.connect((address, port))
    sent = bytes(range(256)) * (size // 256)
    sender = threading.Thread(target=client.sendall, args=(sent,))
    sender.start()
    got = bytearray()
    while len(got) < len(sent):
        data = client.recv(1 << 16)
        assert data, f"the connection ended after {len(got)} bytes"
        got += data
    sender.join()
    client.close()
    assert bytes(got) == sent


class Stream:
    """Numbered datagrams from left to right, through the router; `lost()` once it has ended."""

    def __init__(self, hosts: TwoHosts, rate: int = 500, port: int = 7777):
        self.receiver = hosts.right.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.receiver.bind((RIGHT, port))
        self.receiver.settimeout(1)
        self.sender = hosts.left.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.connect((RIGHT, port))
        self.rate, self.sent, self.seen = rate, 0, set[int]()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.send), threading.Thread(target=self.read)]

    def send(self) -> None:
        begin = time.monotonic()
        while not self.stop.is_set():
            while self.sent < (time.monotonic() - begin) * self.rate:
                self.sender.send(self.sent.to_bytes(4, "big"))
                self.sent += 1
            time.sleep(0.002)

    def read(self) -> None:
        while True:
            try:
                self.seen.add(int.from_bytes(self.receiver.recv(64), "big"))
            except TimeoutError:
                if self.stop.is_set():
                    return

    def __enter__(self) -> "Stream":
        for thread in self.threads:
            thread.start()
        wait_until(lambda: self.seen, 5, "the first datagram")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def lost(self) -> int:
        return self.sent - len(self.seen)


@pytest.mark.parametrize("count", [1, 2], ids=["1worker", "2workers"])
def test_HOST1_ping_and_connections_both_ways(lab: Lab, count: int) -> None:
    hosts = Hosts(lab, Options(workers=count))
    before = hosts.router.counters()
    said = ping(hosts.left, ROUTER_LEFT)
    assert " 0% packet loss" in said and "ttl=64" in said and "DUP" not in said, said
    assert " 0% packet loss" in ping(hosts.left, ROUTER_RIGHT), "the address of another interface"
    assert " 0% packet loss" in ping(hosts.middle, LEFT) and " 0% packet loss" in ping(hosts.middle, RIGHT)
    with echo_server(hosts.middle, ROUTER_LEFT, 22):
        talk(hosts.left, ROUTER_LEFT, 22)
    with echo_server(hosts.left, LEFT, 8080):
        talk(hosts.middle, LEFT, 8080)
    refused = hosts.left.socket(socket.AF_INET, socket.SOCK_STREAM)
    refused.settimeout(5)
    with pytest.raises(ConnectionRefusedError):
        refused.connect((ROUTER_LEFT, 23))
    after = hosts.router.counters()
    assert after["host_icmp"] - before["host_icmp"] >= 9 and after["host_management"] > 100, after
    assert after["echo_replies"] == 0 and after["local_no_listener"] == 0, "the host answers, not the router"
    assert answers(hosts.left, RIGHT), "and the router forwards"
    explained = hosts.router.request("POST", "/v1/explain", json.dumps({"from": LEFT, "to": f"{ROUTER_LEFT}:22"}))
    assert explained.json["verdict"] == "punted", explained.text


def test_HOST1_ipv6(lab: Lab) -> None:
    hosts = Hosts(lab, ipv6=True)
    hosts.wait_for_address(UP, ROUTER_LEFT6)
    wait_until(lambda: answers(hosts.left, ROUTER_LEFT6), 5, "the host's answer")
    wait_until(lambda: answers(hosts.middle, LEFT6), 5, "the host's neighbour")
    with echo_server(hosts.middle, ROUTER_LEFT6, 22):
        talk(hosts.left, ROUTER_LEFT6, 22)


def test_HOST1_broadcasts_such_as_those_of_dhcp(lab: Lab) -> None:
    hosts = Hosts(lab)
    server = hosts.middle.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, UP.encode())
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    server.bind(("", 67))
    server.settimeout(5)
    client = hosts.left.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    client.bind(("", 68))
    client.settimeout(5)
    client.sendto(b"discover", ("255.255.255.255", 67))
    assert server.recvfrom(100) == (b"discover", (LEFT, 68))
    server.sendto(b"offer", ("255.255.255.255", 68))
    assert client.recvfrom(100) == (b"offer", (ROUTER_LEFT, 67))
    assert hosts.router.counters()["host_multicast"] >= 1


def dhcp_message(kind: str, address: str, mac: bytes) -> Packet:
    """RFC 2131, without its Ethernet, IP and UDP headers. The broadcast flag is not set, as clients do by default."""
    op = 1 if kind in ("discover", "request") else 2
    return BOOTP(op=op, xid=0x51ce, chaddr=mac, yiaddr=address) / DHCP(options=[("message-type", kind), "end"])


def test_HOST1_a_dhcp_client_without_the_broadcast_flag(lab: Lab) -> None:
    hosts = Hosts(lab)
    leased, broadcast = "10.1.0.77", "ff:ff:ff:ff:ff:ff"

    def is_kind(kind: int) -> Callable[[Packet], bool]:
        return lambda frame: DHCP in frame and ("message-type", kind) in frame[DHCP].options

    # Raw sockets on both sides, as clients and servers have them for who has no address.
    with Wire(hosts.left, "eth0") as server, Wire(hosts.middle, UP) as client:
        mac = hosts.mac("left0")
        chaddr = bytes.fromhex(mac.replace(":", ""))
        offered = Ether(dst=mac) / IP(src=LEFT, dst=leased) / UDP(sport=67, dport=68)
        asked = Ether(src=mac, dst=broadcast) / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)
        client.send(asked / dhcp_message("discover", "0.0.0.0", chaddr))
        server.expect(is_kind(1), "DHCPDISCOVER")
        server.send(offered / dhcp_message("offer", leased, chaddr))
        offer = client.expect(is_kind(2), "DHCPOFFER")
        assert offer.dst == mac and offer[IP].dst == leased, offer.summary()
        client.send(asked / dhcp_message("request", "0.0.0.0", chaddr))
        server.expect(is_kind(3), "DHCPREQUEST")
        server.send(offered / dhcp_message("ack", leased, chaddr))
        client.expect(is_kind(5), "DHCPACK")
    hosts.middle.ip(f"addr add {leased}/24 dev {UP}")
    wait_until(lambda: answers(hosts.left, leased), 5, "the leased address")


def test_HOST3_addresses_that_a_person_adds(lab: Lab) -> None:
    hosts = Hosts(lab)
    hosts.middle.ip(f"addr add 10.1.0.77/24 dev {UP}")
    wait_until(lambda: answers(hosts.left, "10.1.0.77"), 5, "the new address")
    hosts.middle.ip(f"addr del {ROUTER_LEFT}/24 dev {UP}")
    hosts.wait_for_address(UP, ROUTER_LEFT)
    if "10.1.0.77/" in hosts.addresses(UP):  # the kernel may have taken it off with the first of its subnet
        hosts.middle.ip(f"addr del 10.1.0.77/24 dev {UP}")
    hosts.left.ip("neigh flush dev eth0")
    wait_until(lambda: not answers(hosts.left, "10.1.0.77"), 5, "the end of it")
    assert answers(hosts.left, ROUTER_LEFT)


def test_HOST3_addresses_of_the_configuration_move_with_it(lab: Lab) -> None:
    hosts = Hosts(lab)
    hosts.config["items"][0]["spec"]["interfaces"][0]["addresses"] = ["10.1.0.9/24"]
    hosts.router.apply(hosts.config)
    hosts.wait_for_address(UP, "10.1.0.9")
    wait_until(lambda: f"{ROUTER_LEFT}/" not in hosts.addresses(UP), 5, lambda: hosts.addresses(UP))
    assert answers(hosts.left, "10.1.0.9")
    del hosts.config["items"][0]["spec"]["interfaces"][0]["hostInterface"]
    hosts.router.apply(hosts.config)
    wait_until(lambda: UP not in execute("ip", "-netns", hosts.middle.full_name, "-brief", "link").stdout, 5,
               "the device to go")


def test_HOST4_routes_of_the_kernel(lab: Lab) -> None:
    hosts = Hosts(lab, routes={"protocols": ["static", "bird"]})
    hosts.right.ip("addr add 198.51.100.1/32 dev lo", "addr add 203.0.113.1/32 dev lo")

    def known() -> dict[str, Json]:
        return {route["destination"]: route for route in hosts.router.routes() if route["origin"] == "host"}

    hosts.middle.ip(f"route add 198.51.100.0/24 via {RIGHT} dev {DOWN} proto bird",
                    f"route add 192.0.2.0/24 via {RIGHT} dev {DOWN} proto dhcp",
                    "route add blackhole 203.0.113.0/24 proto static")
    wait_until(lambda: set(known()) == {"198.51.100.0/24", "203.0.113.0/24"}, 5, lambda: str(known()))
    assert known()["198.51.100.0/24"]["hops"][0]["via"] == RIGHT, known()
    assert answers(hosts.left, "198.51.100.1")
    assert not answers(hosts.left, "203.0.113.1")
    hosts.middle.ip(f"route replace 203.0.113.0/24 via {RIGHT} dev {DOWN} proto static")
    wait_until(lambda: answers(hosts.left, "203.0.113.1"), 5, "the replaced route")
    # Routes of a link that goes down go without a word of the kernel.
    hosts.middle.ip(f"link set {DOWN} down")
    wait_until(lambda: not known(), 5, lambda: str(known()))
    hosts.middle.ip(f"link set {DOWN} up", f"route add 198.51.100.0/24 via {RIGHT} dev {DOWN} proto bird")
    wait_until(lambda: answers(hosts.left, "198.51.100.1"), 5, "the route of a link that is up again")


def test_HOST4_100000_routes_come_and_go_under_traffic(lab: Lab, tmp_path) -> None:
    hosts = Hosts(lab, routes={"protocols": ["bird"]})
    hosts.right.ip("addr add 12.134.159.1/32 dev lo")
    count = 100_000
    networks = many_networks(count)
    batches = {}
    for verb in ("add", "del"):
        batches[verb] = tmp_path / verb
        batches[verb].write_text("".join(f"route {verb} {network} via {RIGHT} dev {DOWN} proto bird\n"
                                         for network in networks))

    def installed() -> int:
        return sum(route["origin"] == "host" for route in hosts.router.routes())

    with Stream(hosts) as stream:
        began = time.monotonic()
        execute("ip", "-netns", hosts.middle.full_name, "-batch", str(batches["add"]), timeout=IP_BATCH_SECONDS)
        kernel = time.monotonic() - began
        wait_until(lambda: answers(hosts.left, "12.134.159.1"), 30, "the last routes", interval=0.1)
        wait_until(lambda: installed() == count, 30, lambda: f"{installed()} routes", interval=0.5)
        both = time.monotonic() - began
        execute("ip", "-netns", hosts.middle.full_name, "-batch", str(batches["del"]), timeout=IP_BATCH_SECONDS)
        wait_until(lambda: installed() == 0, 30, lambda: f"{installed()} routes", interval=0.5)
    assert stream.sent > 1000 and stream.lost() == 0, f"{stream.lost()} of {stream.sent} were lost"
    print(f"{count} routes: {kernel:.1f} s in the kernel, {both:.1f} s until the router showed them all")


def test_HOST2_a_flood_to_the_host_leaves_forwarding_alone(lab: Lab) -> None:
    limit = 50  # far below what even a busy machine sends
    hosts = Hosts(lab, rateLimits={"other": limit})
    flooder = hosts.left.socket(socket.AF_INET, socket.SOCK_DGRAM)
    flooder.connect((ROUTER_LEFT, 9))
    before, start, sent = hosts.router.counters(), time.monotonic(), 0
    with Stream(hosts) as stream:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for _ in range(10):
                try:
                    flooder.send(b"x" * 200)
                    sent += 1
                except ConnectionRefusedError:
                    pass  # the host says so, as often as it is asked
            time.sleep(0.002)
    after = hosts.router.counters()
    passed = after["host_other"] - before["host_other"]
    stopped = after["host_other_limit"] - before["host_other_limit"]
    most = limit * (time.monotonic() - start + 1)
    assert limit <= passed <= most and passed + stopped > sent / 2 > 2 * passed, (sent, passed, stopped, most)
    assert stream.sent > 1000 and stream.lost() == 0, f"{stream.lost()} of {stream.sent} were lost"
    assert answers(hosts.left, ROUTER_LEFT), "other classes have their own room"


def test_HOST1_the_twin_outlives_the_router(lab: Lab) -> None:
    hosts = Hosts(lab, routes={})
    hosts.middle.ip(f"addr add 10.1.0.78/24 dev {UP}",
                    f"route add 198.51.100.0/24 via {RIGHT} dev {DOWN} proto static")
    wait_until(lambda: answers(hosts.left, "10.1.0.78"), 5, "the added address")
    hosts.router.process.signal(9)
    hosts.router.process.wait(5)
    left = execute("ip", "-netns", hosts.middle.full_name, "addr", "show", "dev", UP).stdout
    assert "NO-CARRIER" in left and ROUTER_LEFT in left and "10.1.0.78" in left, left
    hosts.router.start(hosts.config)
    wait_until(lambda: answers(hosts.left, ROUTER_LEFT), 5, "the host's answer")
    wait_until(lambda: answers(hosts.left, "10.1.0.78"), 5, "the address a person added before")
    wait_until(lambda: any(route["destination"] == "198.51.100.0/24" for route in hosts.router.routes()), 5, "the route")
    # What the configuration had put there is known to be its own.
    hosts.config["items"][0]["spec"]["interfaces"][0]["addresses"] = ["10.1.0.9/24"]
    hosts.router.apply(hosts.config)
    wait_until(lambda: f"{ROUTER_LEFT}/" not in hosts.addresses(UP), 5, lambda: hosts.addresses(UP))


def test_HOST1_MASQ7_directly_and_by_the_service_from_one_port(lab: Lab) -> None:
    """A service ends at a socket of the host; a client of it also connects there without, from the same port."""
    hosts = Hosts(lab)
    balancer = "203.0.113.80"
    hosts.router.apply(with_items(hosts.config, *service_with_endpoints(
        "api", "10.96.0.10", 80, 6443, [(ROUTER_LEFT, "router")], balancer)))

    def connect(address: str, port: int) -> socket.socket:
        client = hosts.left.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((LEFT, 40000))
        client.settimeout(20)
        client.connect((address, port))
        return client

    with echo_server(hosts.middle, ROUTER_LEFT, 6443):  # one connection after the other
        with connect(ROUTER_LEFT, 6443) as directly, connect(balancer, 80) as by_service:
            for client, said in ((directly, b"directly"), (by_service, b"by the service")):
                client.sendall(said)
                assert client.recv(64) == said
                client.close()


def test_SVC80_a_load_balancer_checks_at_an_uplink(lab: Lab) -> None:
    """The address that it checks is the router's; who answers is the host's kernel, where the uplink leads to it."""
    hosts = Hosts(lab)

    def with_service(config: Json, node: str) -> Json:
        return with_items(config, *service_with_endpoints("web", "10.96.0.10", 80, 8080, [(RIGHT, node)], "203.0.113.80",
                                                          externalTrafficPolicy="Local", healthCheckNodePort=31111))

    def check() -> str:
        return hosts.left.run("curl", "-s", "-m", "5", "-w", "%{http_code} %{errormsg}", "-o", "/dev/null",
                              f"http://{ROUTER_LEFT}:31111/", check=False).stdout

    def warnings(found: list) -> list:
        return [warning for warning in map(str, found) if "31111" in warning]

    assert warnings(hosts.router.apply(with_service(hosts.config, "router")).get("warnings", [])) == []
    assert check().startswith("200")
    hosts.router.apply(with_service(hosts.config, "another"))
    assert check().startswith("503")
    assert warnings(hosts.router.status()["warnings"]) == []
    for interface in hosts.config["items"][0]["spec"]["interfaces"]:
        del interface["hostInterface"]
    assert warnings(hosts.router.apply(with_service(hosts.config, "router"))["warnings"])
    assert warnings(hosts.router.status()["warnings"])
    assert connect_error(hosts.left, ROUTER_LEFT, 31111) == "refused", "by ICMP port unreachable"


def test_HOST1_names_that_cannot_be_had(lab: Lab) -> None:
    hosts = Hosts(lab)
    hosts.middle.ip("link add taken type veth peer name other")
    hosts.config["items"][0]["spec"]["interfaces"][0]["hostInterface"] = "taken"
    reply = hosts.router.put(hosts.config)
    assert reply.status != 200 and "no TAP device" in reply.text, reply.text
    assert answers(hosts.left, ROUTER_LEFT), "everything is as before"
