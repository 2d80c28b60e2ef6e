"""Neighbours that somebody set in the host's kernel at the twins, and routes of it by next hops of the other family."""

from __future__ import annotations

from pathlib import Path

import pytest
from bird import BirdDaemon
from netns import Lab, execute, wait_until
from router import Json, Options
from test_host import DOWN, Hosts, answers
from two_hosts import LEFT, LEFT6, RIGHT, ROUTER_LEFT, ROUTER_LEFT6, ROUTER_RIGHT

WRONG = "02:00:00:00:66:66"

EXTENDED = """
router id {address};
protocol device {{ scan time 1; }}
protocol direct {{ ipv4; interface "lo"; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; scan time 1; }}
protocol bgp partner {{
  local {own} as {local_as};
  neighbor {peer} as {peer_as};
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export where source = RTS_DEVICE; extended next hop on; }};
}}
"""


class Silent(Hosts):
    """The right host answers no ARP, and asks for none."""

    def __init__(self, lab: Lab, options: Options | None = None, **host: Json):
        super().__init__(lab, options, **host)
        self.right.sysctl(**{"net/ipv4/conf/eth0/arp_ignore": 8, "net/ipv4/conf/all/arp_ignore": 8})
        self.right.ip(f"neigh replace {ROUTER_RIGHT} lladdr {self.mac('right0')} nud permanent dev eth0")
        self.right_mac = self.right.mac("eth0")

    def static(self) -> dict[str, tuple[str, str]]:
        """MAC address and source of what is static, by address."""
        return {entry["address"]: (entry["mac"], entry["source"]) for entry in self.router.neighbors()
                if entry["state"] == "permanent"}

    def wait_for(self, *expected: tuple[str, str, str]) -> None:
        wanted = {address: (mac, source) for address, mac, source in expected}
        wait_until(lambda: self.static() == wanted, 5, lambda: f"{self.static()}, not {wanted}")

    def warnings(self) -> list[str]:
        return [warning for warning in map(str, self.router.status()["warnings"]) if "neighbour" in warning]

    def neigh(self, *lines: str) -> None:
        self.middle.ip(*(f"neigh {line} dev {DOWN}" for line in lines))


@pytest.mark.parametrize("count", [1, 2], ids=["1worker", "2workers"])
def test_HOST5_a_neighbour_that_a_person_sets(lab: Lab, count: int) -> None:
    hosts = Silent(lab, Options(workers=count))
    assert not answers(hosts.left, RIGHT), "nobody says where it is"
    hosts.neigh(f"add {RIGHT} lladdr {hosts.right_mac} nud permanent")
    hosts.wait_for((RIGHT, hosts.right_mac, "host"))
    assert answers(hosts.left, RIGHT)
    row = next(line for line in hosts.router.control("get", "neighbors").stdout.splitlines() if RIGHT in line)
    assert row.split()[:5] == ["right0", RIGHT, hosts.right_mac, "permanent", "host"], row
    hosts.neigh(f"replace {RIGHT} lladdr {WRONG} nud permanent")
    hosts.wait_for((RIGHT, WRONG, "host"))
    assert not answers(hosts.left, RIGHT), "it goes where the person says"
    hosts.neigh(f"replace {RIGHT} lladdr {hosts.right_mac} nud noarp")
    hosts.wait_for((RIGHT, hosts.right_mac, "host"))
    assert answers(hosts.left, RIGHT)
    hosts.neigh(f"del {RIGHT}")
    hosts.wait_for()
    assert not answers(hosts.left, RIGHT)
    hosts.neigh(f"add {RIGHT} lladdr {hosts.right_mac} nud reachable extern_learn")
    hosts.wait_for((RIGHT, hosts.right_mac, "extern_learn"))
    assert answers(hosts.left, RIGHT)
    # What the kernel only knows for a while is the kernel's own affair.
    hosts.neigh(f"replace {RIGHT} lladdr {hosts.right_mac} nud reachable")
    wait_until(lambda: not answers(hosts.left, RIGHT), 5, "the end of it")
    hosts.wait_for()
    assert hosts.warnings() == []


def test_HOST5_next_hops_of_the_kernels_routes(lab: Lab) -> None:
    """In no subnet of the router, as FRR has them of sessions without addresses."""
    hosts = Silent(lab, routes={"protocols": ["static"]})
    hosts.right.ip("link set lo up", "addr add 198.51.100.1/32 dev lo")
    hosts.middle.ip(f"route add 198.51.100.0/24 via 169.254.0.1 dev {DOWN} onlink proto static")
    hosts.neigh(f"add 169.254.0.1 lladdr {hosts.right_mac} nud permanent")
    hosts.wait_for(("169.254.0.1", hosts.right_mac, "host"))
    wait_until(lambda: answers(hosts.left, "198.51.100.1"), 5, "the way by it")
    hosts.neigh("del 169.254.0.1")
    wait_until(lambda: not answers(hosts.left, "198.51.100.1"), 5, "the end of it")


def test_HOST5_the_configuration_comes_first_and_bad_ones_are_left_out(lab: Lab) -> None:
    hosts = Silent(lab)
    hosts.neigh(f"add {RIGHT} lladdr {WRONG} nud permanent")
    hosts.wait_for((RIGHT, WRONG, "host"))
    spec = hosts.config["items"][0]["spec"]
    spec["neighbors"] = [{"interface": "right0", "address": RIGHT, "mac": hosts.right_mac}]
    hosts.router.apply(hosts.config)
    hosts.wait_for((RIGHT, hosts.right_mac, "configuration"))
    assert answers(hosts.left, RIGHT)
    hosts.neigh(f"add {LEFT} lladdr {WRONG} nud permanent", f"add {ROUTER_RIGHT} lladdr {WRONG} nud permanent",
                "add 10.2.0.9 lladdr 01:00:5e:00:00:09 nud permanent")
    wait_until(lambda: len(hosts.warnings()) == 3, 5, lambda: str(hosts.router.status()["warnings"]))
    for part in (f"{LEFT} at the twin of right0 is left out: its subnet is that of left0",
                 f"{ROUTER_RIGHT} at the twin of right0 is left out: it is an address of this router",
                 "10.2.0.9 at the twin of right0 is left out: 01:00:5e:00:00:09 is not the address of a station"):
        assert any(part in warning for warning in hosts.warnings()), hosts.warnings()
    assert answers(hosts.left, RIGHT) and answers(hosts.right, LEFT)
    hosts.neigh(f"del {LEFT}", f"del {ROUTER_RIGHT}", "del 10.2.0.9")
    wait_until(lambda: hosts.warnings() == [], 5, lambda: str(hosts.warnings()))
    del spec["neighbors"]
    hosts.router.apply(hosts.config)
    hosts.wait_for((RIGHT, WRONG, "host"))


def test_HOST5_what_is_there_at_the_start_and_what_goes_with_the_link(lab: Lab) -> None:
    hosts = Silent(lab)
    hosts.neigh(f"add {RIGHT} lladdr {hosts.right_mac} nud permanent")
    hosts.wait_for((RIGHT, hosts.right_mac, "host"))
    hosts.router.process.signal(9)
    hosts.router.process.wait(5)
    hosts.neigh(f"add 10.2.0.9 lladdr {WRONG} nud permanent")
    hosts.router.start(hosts.config)
    hosts.wait_for((RIGHT, hosts.right_mac, "host"), ("10.2.0.9", WRONG, "host"))
    assert answers(hosts.left, RIGHT)
    hosts.neigh("flush nud permanent")
    hosts.wait_for()
    hosts.neigh(f"add {RIGHT} lladdr {hosts.right_mac} nud permanent")
    hosts.wait_for((RIGHT, hosts.right_mac, "host"))
    hosts.middle.ip(f"link set {DOWN} down")
    hosts.wait_for()
    hosts.middle.ip(f"link set {DOWN} up")
    hosts.neigh(f"add {RIGHT} lladdr {hosts.right_mac} nud permanent")
    hosts.wait_for((RIGHT, hosts.right_mac, "host"))
    del hosts.config["items"][0]["spec"]["interfaces"][1]["hostInterface"]
    hosts.router.apply(hosts.config)
    hosts.wait_for()


def test_HOST5_more_than_the_router_takes(lab: Lab, tmp_path: Path) -> None:
    hosts = Silent(lab)
    most, more = 4096, 4196
    addresses = [f"100.64.{number >> 8}.{number & 255}" for number in range(more)]
    batch = tmp_path / "add"
    batch.write_text("".join(f"neigh add {address} lladdr {WRONG} nud permanent dev {DOWN}\n" for address in addresses))
    execute("ip", "-netns", hosts.middle.full_name, "-batch", str(batch), timeout=60)
    wait_until(lambda: len(hosts.static()) == most, 10, lambda: f"{len(hosts.static())} neighbours", interval=0.2)
    wait_until(lambda: hosts.warnings(), 5, "a warning")
    assert "more than 4096 static neighbours" in hosts.warnings()[0]
    batch.write_text("".join(f"neigh del {address} dev {DOWN}\n" for address in addresses[:200]))
    execute("ip", "-netns", hosts.middle.full_name, "-batch", str(batch), timeout=60)
    wait_until(lambda: set(hosts.static()) == set(addresses[200:]), 10, lambda: f"{len(hosts.static())} neighbours",
               interval=0.2)
    wait_until(lambda: hosts.warnings() == [], 5, lambda: str(hosts.warnings()))


def test_HOST4_routes_of_ipv4_by_next_hops_of_ipv6(lab: Lab) -> None:
    """RFC 8950, as BIRD and FRR install them of unnumbered sessions."""
    hosts = Hosts(lab, ipv6=True, routes={"protocols": ["bird", "bgp"]})
    hosts.right.ip("link set lo up", "addr add 198.51.100.1/32 dev lo", "addr add 203.0.113.1/32 dev lo")
    shown = hosts.right.run("ip", "-o", "-6", "addr", "show", "dev", "eth0", "scope", "link").stdout
    by = shown.split("inet6 ")[1].split("/")[0]

    def hops(destination: str) -> list[str]:
        return sorted(hop["via"] for route in hosts.router.routes() if route["destination"] == destination
                      for hop in route["hops"])

    hosts.middle.ip(f"route add 198.51.100.0/24 via inet6 {by} dev {DOWN} proto bird",
                    f"route add 203.0.113.0/24 proto bgp nexthop via inet6 {by} dev {DOWN} "
                    f"nexthop via {RIGHT} dev {DOWN}")
    wait_until(lambda: answers(hosts.left, "198.51.100.1"), 5, lambda: str(hosts.router.neighbors()))
    assert hops("198.51.100.0/24") == [by]
    assert hops("203.0.113.0/24") == sorted([by, RIGHT])
    wait_until(lambda: answers(hosts.left, "203.0.113.1"), 5, lambda: str(hosts.router.neighbors()))
    hosts.middle.ip(f"route del 198.51.100.0/24 via inet6 {by} dev {DOWN} proto bird")
    wait_until(lambda: hops("198.51.100.0/24") == [], 5, lambda: str(hosts.router.routes()))
    hosts.middle.ip(f"route replace 203.0.113.0/24 via {RIGHT} dev {DOWN} proto bgp")
    wait_until(lambda: hops("203.0.113.0/24") == [RIGHT], 5, lambda: str(hosts.router.routes()))
    assert answers(hosts.left, "203.0.113.1")


def test_HOST4_bird_over_ipv6_with_extended_next_hops(lab: Lab) -> None:
    hosts = Hosts(lab, ipv6=True, routes={"protocols": ["bird"]})
    hosts.left.ip("link set lo up", "addr add 203.0.113.1/32 dev lo")
    BirdDaemon(hosts.left, EXTENDED.format(address=LEFT, own=LEFT6, local_as=64900, peer=ROUTER_LEFT6,
                                           peer_as=64512)).start()
    own = BirdDaemon(hosts.middle, EXTENDED.format(address=ROUTER_LEFT, own=ROUTER_LEFT6, local_as=64512, peer=LEFT6,
                                                   peer_as=64900)).start()
    wait_until(lambda: own.established("partner"), 30, lambda: own.ask("show protocols all partner"))

    def via() -> list[str]:
        return [hop["via"] for route in hosts.router.routes() if route["destination"] == "203.0.113.1/32"
                for hop in route["hops"]]

    wait_until(via, 15, lambda: own.ask("show route all"))
    assert all(":" in hop for hop in via()), via()
    wait_until(lambda: answers(hosts.right, "203.0.113.1"), 5, lambda: str(hosts.router.neighbors()))
