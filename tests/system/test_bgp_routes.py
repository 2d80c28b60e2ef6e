"""Routes by BGP on a gateway: BIRD in the host as sluiced configures it, the router behind its kernel."""

from __future__ import annotations

import re
import time

from bird import BirdDaemon
from netns import Lab, Namespace, wait_until
from objects import calico, with_items
from router import Json, Options
from test_host import DOWN, UP, Hosts, Stream, answers, many_networks
from two_hosts import RIGHT, ROUTER_RIGHT

COUNT = 100_000
UPSTREAM = f"""
log stderr all;
router id {RIGHT};
protocol device {{ }}
protocol static many {{
  disabled;
  ipv4;
  include "%s";
}}
protocol bgp peer {{
  local {RIGHT} as 65001;
  neighbor {ROUTER_RIGHT} as 64512;
  ipv4 {{ import none; export all; next hop self; }};
}}
"""


class Gateway(Hosts):
    """The host of sluiced has BIRD with what sluiced writes."""

    def __init__(self, lab: Lab):
        folder = lab.directory / "bird-router"
        folder.mkdir()
        super().__init__(lab, Options(extra=BirdDaemon.options(folder)), routes={"protocols": ["bird"]})
        self.bird = BirdDaemon(self.middle)

    def document(self, **spec: Json) -> Json:
        made = super().document(bgp={"engine": "bird", "maxPrefixes": 0}, **spec)
        return with_items(made, calico("BGPPeer", "upstream", node="router", peerIP=RIGHT, asNumber=65001,
                                       sourceAddress="None"))


def in_kernel(namespace: Namespace) -> int:
    """Routes of the main table, as the kernel counts them."""
    with namespace.entered(), open("/proc/thread-self/net/fib_triestat") as file:
        return int(re.search(r"Prefixes:\s+(\d+)", file.read())[1])


def test_BGP8_100000_routes_appear_and_disappear_under_traffic(lab: Lab) -> None:
    hosts = Gateway(lab)
    networks = many_networks(COUNT)
    listed = lab.directory / "networks"
    listed.write_text("".join(f"route {network} unreachable;\n" for network in networks))
    hosts.right.ip("addr add 11.0.0.1/32 dev lo", "addr add 12.134.159.1/32 dev lo")
    upstream = BirdDaemon(hosts.right, UPSTREAM % listed).start()
    hosts.bird.start()
    wait_until(lambda: any(one["up"] for one in hosts.router.get("/v1/bgp")["sessions"]), 20,
               lambda: hosts.bird.ask("show protocols all"))
    assert UP in hosts.addresses(UP) and DOWN in hosts.addresses(DOWN)
    own = in_kernel(hosts.middle)

    def installed() -> int:
        return sum(route["origin"] == "host" for route in hosts.router.routes())

    def change(word: str, kernel_count: int, router_count: int) -> tuple[float, float]:
        began = time.monotonic()
        upstream.ask(f"{word} many")
        wait_until(lambda: in_kernel(hosts.middle) == kernel_count, 60, lambda: f"{in_kernel(hosts.middle)} routes")
        kernel = time.monotonic() - began
        wait_until(lambda: installed() == router_count, 60, lambda: f"{installed()} routes", interval=0.3)
        return kernel, time.monotonic() - began

    with Stream(hosts) as stream:
        there = change("enable", own + COUNT, COUNT)
        assert answers(hosts.left, "11.0.0.1") and answers(hosts.left, "12.134.159.1")
        gone = change("disable", own, 0)
    assert stream.sent > 1000 and stream.lost() == 0, f"{stream.lost()} of {stream.sent} were lost"
    print(f"{COUNT} routes by BGP: in the kernel after {there[0]:.1f} s, in the router after {there[1]:.1f} s; "
          f"gone after {gone[0]:.1f} s and {gone[1]:.1f} s")
