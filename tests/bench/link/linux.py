"""The Linux kernel as the router, in a network namespace, with kube-proxy's rule sets and kernel VXLAN.

Its links are veth pairs, whose other ends are in the generator's namespace, read and written there with packet
sockets (`net_af_packet`): another link than memif, slower by itself, so these rows say what the kernel does with it and
are to be compared with each other. Receive packet steering puts the kernel's work for the router on the processor of
the system under test, and that for the generator on the generator's. Cycles per packet are the time that processor
spent in the kernel, from /proc/stat.
"""

from __future__ import annotations

import ipaddress
import subprocess
import time
from pathlib import Path

import kube_proxy
from machine import slab_bytes, softirq_and_system_seconds
from netns import CommandFailed, Namespace
from network import LENGTH4, LENGTH6, LINKS, MTU, REMOTE_VTEP_MAC, VTEP_MAC, VXLAN_PORT, Link, Tunnel
from scenario import Scenario, Services, Work
from system import Bench, Counters, System, Unsupported

CONNTRACK = "/proc/sys/net/netfilter/"
RULES_MINUTES = 10  # for the rules of all services; a kernel that needs longer is not measured with so many


class Linux(System):
    keeps_running = True

    def __init__(self, bench: Bench, mode: str):
        super().__init__(bench)
        self.mode = mode
        self.name = f"linux-{mode}"
        self.router: Namespace | None = None
        self.generator: Namespace | None = None
        self.too_many: dict[Services, str] = {}  # whose rules were not in place in time

    # ---- life ----

    def start(self, scenario: Scenario) -> None:
        work = scenario.work
        self.router = self.bench.lab.namespace(f"{self.mode}-router")
        self.generator = self.bench.lab.namespace(f"{self.mode}-generator")
        self.router.sysctl(**{"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.disable_ipv6": 0,
                              "net.ipv6.conf.default.disable_ipv6": 0, "net.ipv6.conf.default.accept_dad": 0,
                              "net.ipv6.conf.all.forwarding": 1, "net.ipv6.route.max_size": 1_000_000})
        for link in LINKS:
            self.make_link(link)
        self.make_routes(work)
        if work.services:
            self.size_conntrack(work)
            self.load_rules(work.services)

    def stop(self) -> None:
        for namespace in (self.router, self.generator):
            if namespace:
                subprocess.run(["ip", "netns", "delete", namespace.full_name], capture_output=True)
                self.bench.lab.namespaces.pop(namespace.name, None)
        self.router = self.generator = None

    def forget_flows(self) -> None:
        self.router.run("conntrack", "-F", check=False, timeout=60)

    def make_link(self, link: Link) -> None:
        mine, peer = link.name, f"gen-{link.name}"
        self.bench.lab.link(self.router, mine, self.generator, peer, MTU, link.router_mac, link.peer_mac)
        self.generator.ip(f"link set dev {peer} arp off promisc on")
        # What arrives is finished and single: no checksum is left to anybody, nothing is merged.
        self.router.offload(mine, gro="off", tx="off")
        self.generator.offload(peer, gro="off", tx="off")
        self.router.ip(f"addr add {link.router4}/{LENGTH4} dev {mine}",
                       f"addr add {link.router6}/{LENGTH6} dev {mine} nodad",
                       f"neigh replace {link.peer4} lladdr {link.peer_mac} dev {mine} nud permanent",
                       f"neigh replace {link.peer6} lladdr {link.peer_mac} dev {mine} nud permanent")
        self.steer(self.router, mine, self.bench.cpus.system)
        self.steer(self.generator, peer, self.bench.cpus.generator)

    def steer(self, namespace: Namespace, interface: str, cpu: int) -> None:
        namespace.run("sh", "-c", f"echo {1 << cpu:x} > /sys/class/net/{interface}/queues/rx-0/rps_cpus")

    def make_routes(self, work: Work) -> None:
        made: set[Tunnel] = set()
        lines = []
        for route in work.routes:
            if route.tunnel is None:
                lines.append(f"route add {route.destination} via {route.link.peer(work.family)}")
                continue
            if route.tunnel not in made:
                self.make_tunnel(route.tunnel)
                made.add(route.tunnel)
            gateway = ipaddress.ip_network(route.destination)[-2]
            device = tunnel_device(route.tunnel)
            lines += [f"neigh replace {gateway} lladdr {REMOTE_VTEP_MAC} dev {device} nud permanent",
                      f"route add {route.destination} via {gateway} dev {device} onlink"]
        for start in range(0, len(lines), 20_000):
            self.router.ip(*lines[start:start + 20_000])

    def make_tunnel(self, tunnel: Tunnel) -> None:
        device, local, remote = tunnel_device(tunnel), tunnel.link.router4, tunnel.remote
        try:
            if tunnel.kind == "vxlan":
                self.router.ip(f"link add {device} address {VTEP_MAC} mtu {MTU - 50} type vxlan id {tunnel.vni} "
                               f"dstport {VXLAN_PORT} local {local} remote {remote} dev {tunnel.link.name} "
                               f"nolearning noudpcsum")
            else:
                self.router.ip(f"link add {device} mtu {MTU - 20} type ipip local {local} remote {remote}")
        except CommandFailed:
            raise Unsupported(f"this kernel has no {tunnel.kind.upper()} devices") from None
        self.router.ip(f"link set dev {device} up",
                       f"neigh replace {remote} lladdr {tunnel.link.peer_mac} dev {tunnel.link.name} nud permanent")

    def size_conntrack(self, work: Work) -> None:
        room = max(work.connections + work.connections // 4, 65536)
        # Machine-wide, and put back when the bench ends.
        self.bench.settings.raise_to(CONNTRACK + "nf_conntrack_max", room)
        self.bench.settings.raise_to(CONNTRACK + "nf_conntrack_buckets", room)
        self.router.sysctl(**conntrack_timeouts(work))

    def load_rules(self, services: Services) -> None:
        """Unsupported if that takes too long; then it is not tried for the same services again."""
        if services in self.too_many:
            raise Unsupported(self.too_many[services])
        path = self.bench.directory / f"{self.name}.rules"
        if self.mode == "nftables":
            program, inputs = ("nft", "-f"), kube_proxy.nftables_transactions(services)
        else:
            program, inputs = ("iptables-legacy-restore",), iter(["\n".join(kube_proxy.iptables_rules(services))])
        end = time.monotonic() + 60 * RULES_MINUTES
        try:
            for text in inputs:
                path.write_text(text + "\n")
                try:
                    self.router.run(*program, str(path), timeout=max(end - time.monotonic(), 0.1))
                except CommandFailed:
                    if time.monotonic() < end:
                        raise
                    self.too_many[services] = f"its rules were not in place after {RULES_MINUTES} minutes"
                    raise Unsupported(self.too_many[services]) from None
        finally:
            path.unlink(missing_ok=True)

    # ---- measuring ----

    def devices(self) -> list[str]:
        return [f"net_af_packet{link.index},iface=gen-{link.name},framesz=2048,framecnt=4096,blocksz=4096,"
                f"qdisc_bypass=1" for link in LINKS]

    def generator_namespace(self) -> str:
        return self.generator.full_name

    def counters(self) -> Counters:
        packets = 0
        with self.router.entered():
            for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
                name, _, numbers = line.partition(":")
                if name.strip() in {link.name for link in LINKS}:
                    packets += int(numbers.split()[1])
        return Counters(softirq_and_system_seconds(self.bench.cpus.system) * self.bench.tsc_hz, packets)

    def flows(self) -> int:
        with self.router.entered():
            return int(Path(CONNTRACK, "nf_conntrack_count").read_text())

    def memory(self) -> int:
        return slab_bytes()


def conntrack_timeouts(work: Work) -> dict[str, int]:
    """Of this network namespace."""
    made = {}
    if work.udp_timeout != 120:
        made["net.netfilter.nf_conntrack_udp_timeout"] = work.udp_timeout
    if work.tcp_time_wait != 120:
        made["net.netfilter.nf_conntrack_tcp_timeout_time_wait"] = work.tcp_time_wait
    return made


def tunnel_device(tunnel: Tunnel) -> str:
    return f"{tunnel.kind}-{tunnel.link.name}"
