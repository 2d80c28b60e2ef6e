"""FRR in the host instead of BIRD, as docs/bgp.md shows it: routes both ways, by its own configuration."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from bird import ROUTER, SESSION, BirdDaemon
from netns import Lab, Namespace, wait_until
from router import PROJECT
from test_host import Hosts, answers
from two_hosts import LEFT, ROUTER_LEFT

BLOCK, SERVICES, BEYOND = "10.244.1.0/26", "198.51.100.0/24", "203.0.113.1"
PROGRAMS = Path("/usr/lib/frr")


def documented() -> str:
    """The example of the documentation, with the addresses of this network."""
    text = (PROJECT / "docs" / "bgp.md").read_text()
    example = re.search(r"## FRR instead.*?```\n(.*?)```", text, re.S)[1]
    return example.replace("192.168.0.2", ROUTER_LEFT).replace("192.168.0.1", LEFT).replace("64999", "64900")


class Frr:
    """zebra, which writes to the kernel, bfdd, and bgpd, which has the configuration."""

    def __init__(self, namespace: Namespace, configuration: str):
        folder = namespace.lab.directory / f"frr-{namespace.name}"
        folder.mkdir()
        namespace.lab.directory.chmod(0o711)
        for name, text in (("zebra", ""), ("bfdd", ""), ("bgpd", configuration)):
            (folder / f"{name}.conf").write_text(text)
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "frr", "frr")
        for name in ("zebra", "bfdd", "bgpd"):
            own = ("--bfdctl", str(folder / "bfdd.sock")) if name == "bfdd" else ()
            namespace.start(str(PROGRAMS / name), *own, "-f", str(folder / f"{name}.conf"), "-i",
                            str(folder / f"{name}.pid"), "-z", str(folder / "zserv.api"), "--vty_socket", str(folder),
                            "-A", "127.0.0.1", "-P", "0", name=name)
            wait_until((folder / f"{name}.vty").exists, 10, f"{name} to start")


def test_BGP10_FRR_finds_a_dead_link_by_bfd(lab: Lab) -> None:
    hosts = Hosts(lab, routes={"protocols": ["bgp"]})
    hosts.left.ip("link set lo up", f"addr add {BEYOND}/32 dev lo")
    upstream = BirdDaemon(hosts.left, ROUTER.format(address=LEFT, sessions=SESSION.format(
        name="sluice", address=LEFT, local_as=64900, peer=ROUTER_LEFT, peer_as=64512, options="bfd on;",
        channel=""))).start()
    Frr(hosts.middle, documented())
    wait_until(lambda: re.search(rf"{ROUTER_LEFT}\s+\S+\s+Up", upstream.ask("show bfd sessions")), 30,
               lambda: upstream.ask("show bfd sessions") + upstream.ask("show protocols all sluice"))

    def learned() -> bool:
        return f"{BEYOND}/32" in {route["destination"] for route in hosts.router.routes() if route["origin"] == "host"}

    wait_until(learned, 15, lambda: str(hosts.router.routes()))
    # The link stays up here: nothing but BFD notices before the hold time of 180 s.
    hosts.left.run("nft", "add table netdev dead; " + "".join(
        f"add chain netdev dead {hook} {{ type filter hook {hook} device eth0 priority 0; policy drop; }}; "
        for hook in ("ingress", "egress")))
    wait_until(lambda: not learned(), 10, lambda: str(hosts.router.routes()))


def test_FRR_learns_and_announces_in_the_place_of_bird(lab: Lab) -> None:
    hosts = Hosts(lab, routes={"protocols": ["bgp"]})
    hosts.left.ip("link set lo up", f"addr add {BEYOND}/32 dev lo")
    upstream = BirdDaemon(hosts.left, ROUTER.format(address=LEFT, sessions=SESSION.format(
        name="sluice", address=LEFT, local_as=64900, peer=ROUTER_LEFT, peer_as=64512, options="", channel=""))).start()
    Frr(hosts.middle, documented())
    wait_until(lambda: upstream.established("sluice"), 30, lambda: upstream.ask("show protocols all sluice"))
    wait_until(lambda: upstream.routes() == {BLOCK, SERVICES}, 15, lambda: str(upstream.routes()))

    def learned() -> set[str]:
        return {route["destination"] for route in hosts.router.routes() if route["origin"] == "host"}

    wait_until(lambda: f"{BEYOND}/32" in learned(), 15, lambda: str(learned()))
    assert answers(hosts.right, BEYOND)
    upstream.ask("disable sluice")
    wait_until(lambda: f"{BEYOND}/32" not in learned(), 15, lambda: str(learned()))
