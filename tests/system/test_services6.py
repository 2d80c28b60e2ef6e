"""IPv6 services between two hosts: each family by itself, never one in place of the other."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from cluster import POD_SERVER, listens
from netns import wait_until
from objects import service_with_endpoints
from probes import curl
from two_hosts import LEFT6, RIGHT, RIGHT6, ROUTER_RIGHT6, TwoHosts

VIP4, VIP6 = "203.0.113.1", "2001:db8:1::80"
CIDRS = {"cluster": {"serviceCIDRs": ["10.96.0.0/16", "fd00:96::/112"]}}


@pytest.fixture
def served(two_hosts: TwoHosts) -> Iterator[TwoHosts]:
    """A web server at the right host, behind a service of each family."""
    server = two_hosts.right.start(sys.executable, "-I", str(POD_SERVER), "right", name="server")
    wait_until(lambda: listens(two_hosts.right, 8080), 10, "the server")
    items = [*service_with_endpoints("four", "10.96.0.4", 80, 8080, [(RIGHT, "other")], VIP4),
             *service_with_endpoints("six", "fd00:96::6", 80, 8080, [(RIGHT6, "other")], VIP6)]
    two_hosts.router.apply(two_hosts.document(items=items, **CIDRS))
    yield two_hosts
    server.stop()


@pytest.mark.changes_config
def test_SVC100_ipv6_service_from_outside(served: TwoHosts) -> None:
    answers = curl(served.left, f"http://[{VIP6}]/[1-10]")
    assert len(answers) == 10
    for answer in answers:
        assert answer.server == f"[{RIGHT6}]:8080"
        assert answer.client.startswith(f"[{ROUTER_RIGHT6}]:")  # MASQ-5: the address of the way out
        assert answer.local.startswith(LEFT6)


@pytest.mark.changes_config
def test_SVC100_families_stand_beside_each_other(served: TwoHosts) -> None:
    assert curl(served.left, f"http://{VIP4}/")[0].server == f"{RIGHT}:8080"
    assert curl(served.left, f"http://[{VIP6}]/")[0].server == f"[{RIGHT6}]:8080"
