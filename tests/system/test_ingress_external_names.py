"""Ingress rules for names outside of the cluster: a real DNS server that the router asks, curl, and servers that have
those names. Nothing of it is the machine's own: the server and its resolv.conf are those of the router's namespace."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import sys
from collections.abc import Iterator

import pytest

from cluster import POD_SERVER, listens
from name_server import NameServer, serving
from netns import Lab, wait_until
from objects import service_with_endpoints, with_items
from pod_server import write_pattern
from router import Json, Options
from test_ingress import LISTENS, ONE, ONE6, TWO, TWO6, curl, served_by
from test_ingress_rules import CLASS, ingress
from test_openapi import check
from two_hosts import LEFT, ROUTER_LEFT, ROUTER_LEFT6, ROUTER_RIGHT, ROUTER_RIGHT6, TwoHosts

HOST = "www.example.com"
VIP = "10.96.0.9"


def external(name: str, of: str, **spec: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": name},
            "spec": {"type": "ExternalName", "externalName": of, **spec}}


def rules(paths: dict[str, tuple[str, Json]]) -> Json:
    """`paths`: path to service and port."""
    made = ingress("rules", HOST, {path: service for path, (service, _) in paths.items()})
    for entry, (_, port) in zip(made["spec"]["rules"][0]["http"]["paths"], paths.values()):
        entry["backend"]["service"]["port"] = port
    return made


@contextlib.contextmanager
def started(lab: Lab, workers: int, names: dict[str, list[str]], *items: Json, proxy: Json = None,
            **settings: Json) -> Iterator[tuple[TwoHosts, NameServer]]:
    hosts = TwoHosts(lab, Options(workers=workers))
    hosts.right.ip(f"addr add {ONE}/24 dev eth0", f"addr add {TWO}/24 dev eth0",
                   f"addr add {ONE6}/64 dev eth0 nodad", f"addr add {TWO6}/64 dev eth0 nodad")
    hosts.right.start(sys.executable, "-I", str(POD_SERVER), "far", "--keep-alive", name="server")
    wait_until(lambda: listens(hosts.right, 8080), 10, "the web server")
    with serving(hosts.middle, names) as dns:
        hosts.start()
        document = hosts.document(ingress={**LISTENS, **settings}, proxy=proxy or {})
        hosts.router.apply(with_items(document, CLASS, *items))
        yield hosts, dns


def status(hosts: TwoHosts, path: str = "/", address: str = ROUTER_LEFT) -> str:
    return curl(hosts, HOST, path, address=address).splitlines()[-1].split()[0]


def known(hosts: TwoHosts) -> Json:
    return hosts.router.get("/v1/ingress")["ingresses"][0]["rules"][0]["externalName"]


def reasons(hosts: TwoHosts) -> list[str]:
    events = hosts.router.get("/v1/events?types=dns&after=0&follow=false")["events"]
    return [event["reason"] for event in events]


def lookups(hosts: TwoHosts) -> dict[str, int]:
    text = hosts.router.request("GET", "/metrics").text
    prefix = 'sluice_external_name_lookups_total{result="'
    lines = [line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix)]
    return {line.partition('"')[0]: int(line.split()[-1]) for line in lines}


@pytest.mark.parametrize("preserve", [False, True], ids=["masquerade", "preserve"])
def test_ING9_ING11_a_name_and_whom_its_server_sees(lab: Lab, workers: int, preserve: bool) -> None:
    names = {"far.example": [ONE, ONE6], "two.far.example": [TWO, TWO6]}
    items = [external("far", "far.example", ports=[{"name": "http", "port": 8080}]),
             external("two", "Two.Far.Example."),
             rules({"/": ("far", {"name": "http"}), "/two": ("two", {"number": 8080}),
                    "/wrong": ("far", {"name": "nobody"})})]
    with started(lab, workers, names, *items, preserveClientAddress=preserve) as (hosts, dns):
        wait_until(lambda: len(known(hosts)["addresses"]) == 2 and status(hosts) == "200", 10,
                   lambda: f"the name to be known: {hosts.router.get('/v1/ingress')}")
        wait_until(lambda: status(hosts, "/two") == "200", 10, "the other one")
        for address, one, two, router in ((ROUTER_LEFT, ONE, TWO, ROUTER_RIGHT),
                                          (ROUTER_LEFT6, ONE6, TWO6, ROUTER_RIGHT6)):
            answers = curl(hosts, HOST, "/", "/two/x", "/", address=address)
            assert served_by(answers) == [one, two, one]
            seen = {json.loads(line)["client"].rpartition(":")[0].strip("[]") for line in answers.splitlines()
                    if line.startswith("{")}
            assert seen == {router}, "who is outside of the cluster answers the router alone"
        assert status(hosts, "/wrong") == "503", "the Service has no such port"
        assert set(dns.asked) == {"far.example", "two.far.example"}, "no search domain"
        check(hosts.router.get("/v1/openapi.json"), "IngressList", hosts.router.get("/v1/ingress"))
        table = hosts.router.control("get", "ingress").stdout
        assert "default/far:http (far.example)" in table and "default/two:8080 (two.far.example)" in table, table
        said = hosts.router.control("explain", "--from", LEFT, "--to", f"{ROUTER_LEFT}:80", "--host", HOST).stdout
        assert f"{ONE}:8080, the only endpoint" in said and "default/far:http" in said, said
        assert 'sluice_external_names{state="known"} 2' in hosts.router.request("GET", "/metrics").text


def test_ING6_ING9_nothing_is_known_before_dns_answers(lab: Lab, workers: int) -> None:
    with started(lab, workers, {"far.example": [ONE]}) as (hosts, dns):
        dns.fails = True
        hosts.router.apply(with_items(hosts.document(ingress=LISTENS), CLASS, external("far", "far.example"),
                                      external("digits", ONE),
                                      rules({"/": ("far", {"number": 8080}), "/digits": ("digits", {"number": 8080})})))
        wait_until(lambda: "ExternalNameProblem" in reasons(hosts), 10, "the first failure to be told")
        assert status(hosts) == "503"
        assert known(hosts)["addresses"] == [] and "the look-up fails" in known(hosts)["problem"]
        check(hosts.router.get("/v1/openapi.json"), "IngressList", hosts.router.get("/v1/ingress"))
        check(hosts.router.get("/v1/openapi.json"), "EventList",
              hosts.router.get("/v1/events?types=dns&after=0&follow=false"))
        said = hosts.router.control("explain", "--from", LEFT, "--to", f"{ROUTER_LEFT}:80", "--host", HOST).stdout
        assert "none: far.example: the look-up fails" in said, said
        assert "far.example): the look-up fails" in hosts.router.control("get", "ingress").stdout
        failed = lookups(hosts)["failed"]
        assert failed >= 2
        wait_until(lambda: lookups(hosts)["failed"] > failed, 10, "another try")
        dns.fails = False
        wait_until(lambda: status(hosts) == "200", 20, "DNS to be asked again")
        wait_until(lambda: known(hosts) == {"name": "far.example", "addresses": [ONE]}, 10, "both families")
        assert reasons(hosts)[-1] == "ExternalNameResolved"
        assert status(hosts, "/digits") == "503", "an address is not asked for"
        assert ONE not in dns.asked
        warnings = json.dumps(hosts.router.request("POST", "/v1/config:validate", json.dumps(
            with_items(hosts.document(), external("digits", ONE)))).json)
        assert "EndpointSlice" in warnings, warnings
        # Another name is asked for at once, without a change that anything else is made of.
        dns.names["other.example"] = [TWO]
        patch = {"kind": "Delta", "upsert": [external("far", "other.example")]}
        assert hosts.router.request("PATCH", "/v1/config", json.dumps(patch)).status == 200
        wait_until(lambda: served_by(curl(hosts, HOST, "/")) == [TWO], 5, "the other name's address")
        # One that cannot be asked for takes the addresses with it, before the change is answered.
        for taken in (external("far", TWO), external("far", "")):
            patch["upsert"] = [taken]
            assert hosts.router.request("PATCH", "/v1/config", json.dumps(patch)).status == 200
            assert status(hosts) == "503", hosts.router.get("/v1/ingress")
            assert known(hosts)["addresses"] == [] and known(hosts)["problem"]
            patch["upsert"] = [external("far", "far.example")]
            assert hosts.router.request("PATCH", "/v1/config", json.dumps(patch)).status == 200
            wait_until(lambda: served_by(curl(hosts, HOST, "/")) == [ONE], 5, "the first name's address")
        assert hosts.router.request("DELETE", "/v1/services/default/far").status == 200
        assert status(hosts) == "503"


def receive(sock: socket.socket, size: int, digest: hashlib._Hash) -> None:
    while size:
        data = sock.recv(min(size, 65536))
        assert data, f"{size} bytes are missing"
        digest.update(data)
        size -= len(data)


def test_ING8_ING9_another_address_and_connections_that_are_there(lab: Lab) -> None:
    """DNS says another address, then fails, then tells lies."""
    size = 16 << 20
    items = [external("far", "far.example"), rules({"/": ("far", {"number": 8080})}),
             *service_with_endpoints("web", VIP, 80, 8080, [(TWO, "far")])]
    with started(lab, 1, {"far.example": [ONE]}, *items, proxy={"onBackendRemoved": "Reset"}) as (hosts, dns):
        wait_until(lambda: status(hosts) == "200", 10, "the name to be known")
        with hosts.left.socket(socket.AF_INET, socket.SOCK_STREAM) as old:
            old.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            old.settimeout(20)
            old.connect((ROUTER_LEFT, 80))
            old.sendall(f"GET /bytes/{size} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += old.recv(1)
            assert head.startswith(b"HTTP/1.1 200"), head
            digest, whole = hashlib.sha256(), hashlib.sha256()
            receive(old, 1 << 20, digest)
            dns.names["far.example"] = [TWO]
            wait_until(lambda: served_by(curl(hosts, HOST, "/")) == [TWO], 40, "the other address", interval=0.2)
            receive(old, size - (1 << 20), digest)
            write_pattern(whole.update, size)
            assert digest.digest() == whole.digest(), "the connection went on"
        dns.fails = True
        wait_until(lambda: lookups(hosts)["failed"] >= 2, 40, "a look-up that fails", interval=0.2)
        assert served_by(curl(hosts, HOST, "/")) == [TWO], "what was known stays"
        assert known(hosts)["addresses"] == [TWO] and "fails" in known(hosts)["problem"]
        dns.names["far.example"] = ["127.0.0.1", "169.254.169.254", "224.0.0.1", ROUTER_LEFT, VIP, ONE]
        dns.fails = False
        wait_until(lambda: served_by(curl(hosts, HOST, "/")) == [ONE], 10, "the only one that can be used")
        wait_until(lambda: "fails" not in known(hosts)["problem"], 15, "both families")
        assert known(hosts)["addresses"] == [ONE]
        problem = known(hosts)["problem"]
        for part in ("127.0.0.1 is not used: a loopback address", "169.254.169.254 is not used: a link-local address",
                     "224.0.0.1 is not used: a multicast address", f"{ROUTER_LEFT} is not used: an address of this router",
                     f"{VIP} is not used: a service address of this router"):
            assert part in problem, problem
        assert all(served_by(curl(hosts, HOST, "/")) == [ONE] for _ in range(5))
        assert reasons(hosts)[-2:] == ["ExternalNameChanged", "ExternalNameProblem"]
