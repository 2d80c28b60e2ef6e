"""The smallest network with a router in it: left 10.1.0.2 | 10.1.0.1 sluiced 10.2.0.1 | right 10.2.0.2."""

from __future__ import annotations

from netns import Lab
from router import Json, Options, Router

LEFT, RIGHT = "10.1.0.2", "10.2.0.2"
ROUTER_LEFT, ROUTER_RIGHT = "10.1.0.1", "10.2.0.1"
LEFT6, RIGHT6 = "fd00:1::2", "fd00:2::2"
ROUTER_LEFT6, ROUTER_RIGHT6 = "fd00:1::1", "fd00:2::1"


def document(interfaces: list[Json] | None = None, items: list[Json] | None = None, **spec: Json) -> Json:
    configuration = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
                     "spec": {"nodeName": "router", "interfaces": interfaces or two_interfaces(),
                              "conntrack": {"max": 65536}, **spec}}
    return {"apiVersion": "v1", "kind": "List", "items": [configuration, *(items or [])]}


def two_interfaces(right_mtu: int = 1500, driver: str = "net_af_packet") -> list[Json]:
    first, second = ("packet", "packet") if driver == "packet" else (f"{driver}0", f"{driver}1")
    return [{"name": "left0", "device": f"{first},iface=r-left", "role": "uplink",
             "addresses": [f"{ROUTER_LEFT}/24", f"{ROUTER_LEFT6}/64"], "mtu": 1500},
            {"name": "right0", "device": f"{second},iface=r-right", "role": "uplink",
             "addresses": [f"{ROUTER_RIGHT}/24", f"{ROUTER_RIGHT6}/64"], "mtu": right_mtu}]


class TwoHosts:
    """`driver` net_af_packet: the router's ports are its ends of the links. net_tap: they are devices that the router
    makes itself, and a bridge each joins them to the links. Then frames come as they were sent, fragments too. packet:
    ends of the links again, with all that the kernel does to them by default."""

    def __init__(self, lab: Lab, options: Options | None = None, right_mtu: int = 1500, ipv6: bool = True,
                 driver: str = "net_af_packet"):
        self.lab = lab
        self.left = lab.namespace("left")
        self.middle = lab.namespace("router")
        self.right = lab.namespace("right")
        self.right_mtu = right_mtu
        self.driver = driver
        for host, interface, address, address6, gateway, gateway6, mtu in (
                (self.left, "r-left", LEFT, LEFT6, ROUTER_LEFT, ROUTER_LEFT6, 1500),
                (self.right, "r-right", RIGHT, RIGHT6, ROUTER_RIGHT, ROUTER_RIGHT6, right_mtu)):
            if driver == "net_tap":
                lab.link(self.middle, f"to-{interface}", host, "eth0", mtu)
            elif driver == "packet":
                lab.link(self.middle, interface, host, "eth0", mtu)
            else:
                lab.router_link(self.middle, interface, host, "eth0", mtu)
            host.ip(f"addr add {address}/24 dev eth0", f"route add default via {gateway}")
            if ipv6:
                host.sysctl(**{"net.ipv6.conf.eth0.router_solicitations": 0, "net.ipv6.conf.eth0.accept_dad": 0,
                               "net.ipv6.conf.all.disable_ipv6": 0, "net.ipv6.conf.eth0.disable_ipv6": 0,
                               "net.ipv6.icmp.ratelimit": 0})
                host.ip(f"addr add {address6}/64 dev eth0 nodad", f"route add default via {gateway6} dev eth0")
        self.router = Router(self.middle, "router", options)

    def document(self, **more: Json) -> Json:
        return document(two_interfaces(self.right_mtu, self.driver), **more)

    def start(self) -> "TwoHosts":
        self.router.start(self.document())
        if self.driver == "net_tap":
            for interface in ("r-left", "r-right"):
                self.join_with_bridge(interface, f"to-{interface}")
        return self

    def join_with_bridge(self, tap: str, link: str) -> None:
        # The kernel's side of a tap has the router's address, for which the bridge would keep frames to itself.
        self.middle.ip(f"link add b{tap} type bridge stp_state 0 mcast_snooping 0", f"link set dev b{tap} up",
                       f"link set dev {tap} address {'02:00:00:00:00:01' if 'left' in tap else '02:00:00:00:00:02'}",
                       f"link set dev {tap} master b{tap}", f"link set dev {link} master b{tap}")
        self.middle.sysctl(**{f"net.bridge.bridge-nf-call-{table}": 0 for table in ("iptables", "ip6tables")})

    def lose(self, percent: int) -> None:
        """From now on the links lose so many of their TCP segments; with net_tap, whose bridges stand between."""
        assert self.driver == "net_tap"
        self.middle.run("nft", "add table bridge link; add chain bridge link pass { type filter hook forward priority 0; }; "
                        f"add rule bridge link pass meta l4proto tcp numgen random mod 100 < {percent} drop")

    def reorder(self, percent: int) -> None:
        """From now on so many TCP segments of either link are overtaken by some behind them: a narrow way round holds
        them up. With net_tap, whose bridges stand between."""
        assert self.driver == "net_tap"
        rules = "add table netdev detour; "
        for interface in ("r-left", "r-right"):
            for port in (interface, f"to-{interface}"):
                enter, leave = f"{port}-e", f"{port}-l"
                self.middle.ip(f"link add {enter} type veth peer name {leave}", f"link set {enter} up",
                               f"link set {leave} master b{interface} up",
                               f"link set {leave} type bridge_slave learning off flood off mcast_flood off")
                self.middle.run("tc", "qdisc", "add", "dev", enter, "root", "tbf", "rate", "100mbit", "burst", "2k",
                                "limit", "256k")
                rules += (f"add chain netdev detour {port} {{ type filter hook ingress device {port} priority 0; }}; "
                          f"add rule netdev detour {port} ip protocol tcp numgen random mod 100 < {percent} "
                          f"fwd to {enter}; ")
        self.middle.run("nft", rules)

    def mac(self, interface: str) -> str:
        """The router's own address at "left0" or "right0"."""
        return next(entry["mac"] for entry in self.router.status()["interfaces"] if entry["name"] == interface)
