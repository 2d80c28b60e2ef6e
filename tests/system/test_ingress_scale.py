"""10 000 hosts with 5 paths each: connections by the rules that are live, and changes of rules beside them."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import time
from collections.abc import Iterator

import pytest

from netns import Lab
from nginx import Nginx
from objects import service_with_endpoints, with_items
from router import Json, Options
from test_ingress_rules import CLASS, LISTENS, ingress, patch
from two_hosts import ROUTER_LEFT, TwoHosts
from web_programs import Answers, connected

HOSTS, PATHS = 10000, 5
LIVE = 50.0  # milliseconds, where nothing else keeps the processors busy
PORTS = range(9000, 9064)  # of the endpoint; each is a service of its own
ENDPOINT = "10.2.0.11"
SERVERS = "\n".join(["access_log off; keepalive_requests 1000000;", "server {", *(f"listen {port};" for port in PORTS),
                     'location / { return 200 "$server_port\\n"; }', "}"])


def host_name(number: int) -> str:
    return f"host-{number}.example.com"


def port_of(host: int, path: int, turn: int = 0) -> int:
    return PORTS[(host * 7 + path * 11 + turn * 13) % len(PORTS)]


def rules(host: int, turn: int = 0) -> Json:
    paths = {f"/path/{path}": f"service-{port_of(host, path, turn)}" for path in range(PATHS)}
    return ingress(f"i{host}", host_name(host), paths)


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    with Lab(f"slt-{os.getpid()}-many-") as lab:
        made = TwoHosts(lab, Options(workers=1), ipv6=False)
        made.right.ip(f"addr add {ENDPOINT}/24 dev eth0")
        Nginx(made.right, "nginx", SERVERS, PORTS[0])
        services = [item for number, port in enumerate(PORTS) for item in service_with_endpoints(
            f"service-{port}", f"10.96.0.{number + 1}", 80, port, [(ENDPOINT, "far")])]
        document = with_items(made.document(ingress=LISTENS), CLASS, *services, *map(rules, range(HOSTS)))
        made.start()
        written = json.dumps(document)
        before = time.monotonic()
        answer = made.router.request("PUT", "/v1/config", written, timeout=60)
        assert answer.status == 200, answer.text
        took = time.monotonic() - before
        print(f"{HOSTS} Ingresses: pushed in {took:.2f} s, of which applied in {answer.json['applyMillis']:.0f} ms")
        yield made
        assert made.router.stop() == 0, made.router.log()


def test_SCALE5_ING3_every_sampled_rule_leads_where_it_says(hosts: TwoHosts) -> None:
    sample = [0, HOSTS - 1, *random.Random(1).sample(range(HOSTS), 200)]
    wanted = {f"{host}-{path}": port_of(host, path) for host in sample for path in range(PATHS)}
    folder = hosts.lab.directory / "answers"
    folder.mkdir()
    config = hosts.lab.directory / "urls"
    config.write_text("".join(f'url = "http://{host_name(host)}/path/{path}/more"\noutput = "{folder}/{host}-{path}"\n'
                              for host in sample for path in range(PATHS)))
    hosts.left.run("curl", "-sS", "--fail-early", "--max-time", "20", "--connect-to", f"::{ROUTER_LEFT}:80",
                   "--parallel", "--parallel-max", "100", "-K", str(config), timeout=60)
    assert {file.name: int(file.read_text()) for file in folder.iterdir()} == wanted


def request(host: int, path: int) -> bytes:
    return f"GET /path/{path} HTTP/1.1\r\nHost: {host_name(host)}\r\n\r\n".encode()


class Change:
    """A request by an old rule, the rule's change, a request by the new one; and how long that took."""

    def __init__(self, hosts: TwoHosts, answers: Answers, sock: socket.socket, turn: int):
        host = turn * 97 % HOSTS  # another one each time
        sock.sendall(request(host, 0))
        assert answers.next() == (200, f"{port_of(host, 0)}\n")
        before = time.monotonic()
        self.apply_millis = patch(hosts, rules(host, turn))["applyMillis"]
        with connected(hosts.left, 80) as fresh:
            fresh.sendall(request(host, 0))
            assert Answers(fresh).next() == (200, f"{port_of(host, 0, turn)}\n")
        self.live_millis = (time.monotonic() - before) * 1000
        sock.sendall(request(host, 1))
        assert answers.next() == (200, f"{port_of(host, 1, turn)}\n"), "a connection from before the change"


def test_SCALE5_SPL7_a_changed_rule_is_live_when_its_change_is_answered(hosts: TwoHosts) -> None:
    with connected(hosts.left, 80) as sock:
        answers = Answers(sock)
        changes = [Change(hosts, answers, sock, turn) for turn in range(1, 21)]
    live, applied = (sorted(getattr(change, what) for change in changes) for what in ("live_millis", "apply_millis"))
    print(f"from a PATCH to an answer by its rule: median {live[10]:.1f} ms, worst {live[-1]:.1f} ms; "
          f"to be applied: median {applied[10]:.1f} ms, worst {applied[-1]:.1f} ms")
    patience = LIVE * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert live[10] <= patience and applied[10] <= patience, (patience, live, applied)


def test_SCALE6_SPL7_connections_outlive_changes_of_rules(hosts: TwoHosts) -> None:
    load = hosts.left.start("wrk", "-t", "1", "-c", "20", "-d", "4s", "--timeout", "10s", "-H",
                            f"Host: {host_name(HOSTS - 1)}", f"http://{ROUTER_LEFT}/path/1")
    changes = 0
    with connected(hosts.left, 80) as sock:
        answers = Answers(sock)
        while load.running():
            changes += 1
            Change(hosts, answers, sock, 20 + changes)
    assert load.wait(1) == 0
    said = load.stdout()
    print(said, f"{changes} changes")
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    assert int(re.search(r"(\d+) requests in", said)[1]) > 100
    assert changes > 3
