"""Ingress with real clients and servers: curl, a router that reads the first bytes, and web servers behind it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator

import pytest

from cluster import POD_SERVER, listens
from netns import Lab, wait_until
from objects import endpoint_slice, service, service_port, with_items
from pod_server import write_pattern
from router import Json, Options
from test_ingress_rules import CLASS, ingress
from two_hosts import LEFT, LEFT6, ROUTER_LEFT, ROUTER_LEFT6, ROUTER_RIGHT, ROUTER_RIGHT6, TwoHosts

ONE, TWO = "10.2.0.11", "10.2.0.12"
ONE6, TWO6 = "fd00:2::11", "fd00:2::12"
LISTENS = {"enabled": True, "addresses": [ROUTER_LEFT, ROUTER_LEFT6], "http": [80], "https": [443]}
PORTS = [service_port(80, 8080)]


def web_service(name: str, number: int, address: str, address6: str) -> list[Json]:
    cluster_ips = [f"10.96.0.{number}", f"fd00:96::{number}"]
    made = service(name, cluster_ips[0], PORTS, clusterIPs=cluster_ips, ipFamilies=["IPv4", "IPv6"])
    return [made, endpoint_slice(f"{name}-4", PORTS, [(address, "far")], name),
            endpoint_slice(f"{name}-6", PORTS, [(address6, "far")], name)]


def start(lab: Lab, workers: int, driver: str = "net_af_packet", **settings: Json) -> TwoHosts:
    hosts = TwoHosts(lab, Options(workers=workers), driver=driver)
    hosts.right.ip(f"addr add {ONE}/24 dev eth0", f"addr add {TWO}/24 dev eth0",
                   f"addr add {ONE6}/64 dev eth0 nodad", f"addr add {TWO6}/64 dev eth0 nodad")
    hosts.right.start(sys.executable, "-I", str(POD_SERVER), "web", "--keep-alive", name="server")
    wait_until(lambda: listens(hosts.right, 8080), 10, "the web server")
    hosts.start().router.apply(with_items(
        hosts.document(ingress={**LISTENS, **settings}), CLASS,
        *web_service("one", 1, ONE, ONE6), *web_service("two", 2, TWO, TWO6),
        service("none", "10.96.0.3", PORTS),
        ingress("a", "one.example.com", {"/": "one", "/two": "two", "/none": "none"}),
        ingress("b", "two.example.com", {"/": "two"})))
    return hosts


@pytest.fixture(scope="module", params=[1, 2], ids=["1worker", "2workers"])
def web(request: pytest.FixtureRequest) -> Iterator[TwoHosts]:
    with Lab(f"slt-ing{request.param}-") as lab:
        hosts = start(lab, request.param)
        yield hosts
        assert hosts.router.stop() == 0, hosts.router.log()


def curl(hosts: TwoHosts, host: str, *paths: str, address: str = ROUTER_LEFT) -> str:
    where = f"[{address}]" if ":" in address else address
    done = hosts.left.run("curl", "-sS", "--max-time", "30", "--resolve", f"{host}:80:{where}",
                          "-w", "%{http_code} %{num_connects}\\n", *(f"http://{host}{path}" for path in paths), timeout=40)
    return done.stdout


def served_by(answers: str) -> list[str]:
    """The address of the server of each answer."""
    return [json.loads(line)["server"].rpartition(":")[0].strip("[]") for line in answers.splitlines()
            if line.startswith("{")]


@pytest.mark.parametrize(("address", "one", "two"), [(ROUTER_LEFT, ONE, TWO), (ROUTER_LEFT6, ONE6, TWO6)],
                         ids=["IPv4", "IPv6"])
def test_ING1_SPL3_hosts_and_paths_lead_to_services(web: TwoHosts, address: str, one: str, two: str) -> None:
    assert served_by(curl(web, "one.example.com", "/", address=address)) == [one]
    assert served_by(curl(web, "two.example.com", "/", address=address)) == [two]
    assert served_by(curl(web, "one.example.com", "/two/more", address=address)) == [two]


def test_ING6_ING15_SPL4_answers_of_the_router(web: TwoHosts) -> None:
    assert curl(web, "unknown.example.com", "/").splitlines()[-1].startswith("404")
    assert curl(web, "one.example.com", "/none").splitlines()[-1].startswith("503")


@pytest.mark.parametrize("address", [ROUTER_LEFT, ROUTER_LEFT6], ids=["IPv4", "IPv6"])
def test_ING12_SPL7_one_connection_and_many_requests(web: TwoHosts, address: str) -> None:
    """Of which some lead elsewhere: the client keeps its connection."""
    paths = ["/a", "/b", "/two/a", "/two/b", "/c", "/two/c"]
    answers = curl(web, "one.example.com", *paths, address=address)
    one, two = (ONE, TWO) if address == ROUTER_LEFT else (ONE6, TWO6)
    assert served_by(answers) == [one, one, two, two, one, two], answers
    assert [line.split()[1] for line in answers.splitlines() if line.startswith("200 ")] == ["1"] + ["0"] * 5, answers


def transfer(hosts: TwoHosts, address: str, size: int) -> None:
    where = f"[{address}]" if ":" in address else address
    base = f"curl -sS --max-time 40 --resolve one.example.com:80:{where}"
    digest = hashlib.sha256()
    write_pattern(digest.update, size)
    done = hosts.left.run("bash", "-o", "pipefail", "-c", f"{base} http://one.example.com/bytes/{size} | sha256sum",
                          timeout=60)
    assert done.stdout.split()[0] == digest.hexdigest()
    done = hosts.left.run("bash", "-o", "pipefail", "-c",
                          f"head -c {size} /dev/zero | {base} --data-binary @- http://one.example.com/", timeout=60)
    assert json.loads(done.stdout)["sha256"] == hashlib.sha256(bytes(size)).hexdigest()


@pytest.mark.parametrize("address", [ROUTER_LEFT, ROUTER_LEFT6], ids=["IPv4", "IPv6"])
def test_SPL5_SPL6_ten_megabytes_both_ways(web: TwoHosts, address: str) -> None:
    transfer(web, address, 10 << 20)


@pytest.mark.parametrize("address", [ROUTER_LEFT, ROUTER_LEFT6], ids=["IPv4", "IPv6"])
def test_SPL2_SPL5_SPL6_over_a_bad_network(lab: Lab, workers: int, address: str) -> None:
    hosts = start(lab, workers, "net_tap")
    hosts.lose(2)
    transfer(hosts, address, 1 << 20)
    for _ in range(5):
        test_ING12_SPL7_one_connection_and_many_requests(hosts, address)


@pytest.mark.parametrize("preserve", [False, True], ids=["masquerade", "preserve"])
def test_ING11_whom_the_endpoint_sees(lab: Lab, workers: int, preserve: bool) -> None:
    hosts = start(lab, workers, preserveClientAddress=preserve)
    for address, client, router in ((ROUTER_LEFT, LEFT, ROUTER_RIGHT), (ROUTER_LEFT6, LEFT6, ROUTER_RIGHT6)):
        answers = curl(hosts, "one.example.com", "/", address=address)
        seen = json.loads(answers.splitlines()[0])["client"].rpartition(":")[0].strip("[]")
        assert seen == (client if preserve else router)
