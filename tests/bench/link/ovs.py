"""Open vSwitch with DPDK, as a router: Debian's openvswitch-switch-dpdk, run by hand with folders, sockets and a
database of its own, in a network namespace of its own (its internal ports are TAP devices).

Routing, VXLAN and services are OpenFlow:

  table 0  services: ct(nat) gives established packets their translation; otherwise straight to routing
  table 1  new packets to a service address: a select group, each bucket commits the connection to one endpoint
  table 2  routing: longest prefix by priority, TTL, MAC addresses, output to a link or a tunnel port
  table 3  node port: second translation, of the source, in a zone of its own
  table 4  node port: answers, source first, then destination
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from machine import resident_bytes
from netns import CommandFailed, Namespace, Process, execute, wait_until
from network import (LEFT, LENGTH4, LINKS, MTU, NODE_PORT, REMOTE_VTEP_MAC, RIGHT, SERVICE_PORT, TARGET_PORT, VTEP_MAC,
                     Link, Tunnel)
from scenario import Route, Scenario, Services, Work
from system import Bench, Counters, System, Unsupported, end

VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
ROUTING = 2


class OpenVSwitch(System):
    name = "ovs-dpdk"
    # The main thread owns the first send queue, the packet thread the second.
    send_queues = 2

    def __init__(self, bench: Bench):
        super().__init__(bench)
        self.namespace: Namespace | None = None
        self.processes: list[Process] = []
        self.folder = bench.directory / "ovs"

    # ---- life ----

    def start(self, scenario: Scenario) -> None:
        work = scenario.work
        tunnels = {route.tunnel for route in work.routes if route.tunnel}
        if any(tunnel.kind == "ipip" for tunnel in tunnels):
            raise Unsupported("Open vSwitch has no IPIP tunnels")
        self.remove_sockets()
        self.folder.mkdir(exist_ok=True)
        self.namespace = self.bench.lab.namespace("ovs")
        self.start_database()
        self.start_switch()
        self.make_bridges(tunnels)
        if work.services:
            self.set_connection_limits(work)
            self.add("add-groups", groups(work.services))
        self.add("add-flows", flows(work))
        self.wait_for_sockets(self.processes[-1])

    def stop(self) -> None:
        # Newest first: the switch before its database.
        for process in reversed(self.processes):
            end(self.bench, process)
        self.processes.clear()
        if self.namespace:
            execute("ip", "netns", "delete", self.namespace.full_name, check=False)
            self.bench.lab.namespaces.pop("ovs", None)
            self.namespace = None
        for path in self.folder.glob("*") if self.folder.exists() else ():
            path.unlink()
        self.remove_sockets()

    def lost_its_peer(self) -> bool:
        return not self.processes[-1].running()

    def start_database(self) -> None:
        database, socket = self.folder / "conf.db", self.folder / "db.sock"
        execute("ovsdb-tool", "create", str(database), SCHEMA)
        self.launch("ovsdb-server", str(database), f"--remote=punix:{socket}",
                    f"--unixctl={self.folder}/ovsdb.ctl", "--no-chdir")
        wait_until(socket.exists, 10, "ovsdb-server")
        self.vsctl("--no-wait", "init")
        cpus = self.bench.cpus
        values = {"dpdk-init": "true", "dpdk-lcore-mask": hex(1 << cpus.control), "dpdk-socket-mem": "512",
                  "dpdk-socket-limit": "768", "pmd-cpu-mask": hex(1 << cpus.system),
                  "dpdk-extra": "--in-memory --no-pci --no-telemetry",
                  "userspace-tso-enable": "false", "flow-limit": "1000000"}
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                   *(f'other_config:{key}="{value}"' for key, value in values.items()))

    def start_switch(self) -> None:
        self.launch(VSWITCHD, f"unix:{self.folder}/db.sock", "--no-chdir", f"--unixctl={self.control}",
                    f"--pidfile={self.folder}/vswitchd.pid", f"--log-file={self.folder}/vswitchd.log")

        def ready() -> bool:
            if not self.processes[-1].running():
                raise AssertionError(f"ovs-vswitchd ended: {self.processes[-1].stderr()[-3000:]}")
            return self.vsctl("get", "Open_vSwitch", ".", "dpdk_initialized").strip() == "true"
        wait_until(ready, 30, lambda: f"ovs-vswitchd: {self.processes[-1].stderr()[-3000:]}", 0.1)

    def launch(self, program: str, *arguments: str) -> None:
        """In the namespace, with Open vSwitch's folders pointed at ours."""
        environment = [f"{name}={self.folder}" for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")]
        command = ["ip", "netns", "exec", self.namespace.full_name, "env", *environment, program, *arguments,
                   "-vconsole:warn"]
        self.processes.append(self.bench.lab.start(command, program.rpartition("/")[2]))

    @property
    def control(self) -> str:
        return str(self.folder / "vswitchd.ctl")

    def vsctl(self, *words: str) -> str:
        return execute("ovs-vsctl", f"--db=unix:{self.folder}/db.sock", "--timeout=20", *words, timeout=30).stdout

    def appctl(self, *words: str) -> str:
        return execute("ovs-appctl", "-t", self.control, *words).stdout

    # ---- configuration ----

    def make_bridges(self, tunnels: set[Tunnel]) -> None:
        """One bridge with both links; a link that carries tunnels is on a bridge that has its address."""
        underlay = {tunnel.link for tunnel in tunnels}
        self.add_bridge("br0", LEFT.router_mac)
        for link in LINKS:
            bridge = f"phy-{link.name}" if link in underlay else "br0"
            if link in underlay:
                self.add_bridge(bridge, link.router_mac)
            self.vsctl("add-port", bridge, link.name, "--", "set", "Interface", link.name, "type=dpdk",
                       f'options:dpdk-devargs="{self.device(link)}"', f"ofport_request={port(link)}")
            error = self.vsctl("get", "Interface", link.name, "error").strip()
            if error != "[]":
                raise AssertionError(f"Open vSwitch refuses {self.device(link)}: {error}")
        for tunnel in sorted(tunnels, key=lambda tunnel: tunnel.remote):
            bridge = f"phy-{tunnel.link.name}"
            self.namespace.ip(f"link set dev {bridge} up mtu {MTU}",
                              f"addr add {tunnel.link.router4}/{LENGTH4} dev {bridge}")
            name = tunnel_port(tunnel)
            self.vsctl("add-port", "br0", name, "--", "set", "Interface", name, "type=vxlan",
                       f"options:remote_ip={tunnel.remote}", f"options:key={tunnel.vni}",
                       f"ofport_request={tunnel_number(tunnel)}")

            def known() -> bool:
                try:
                    self.appctl("tnl/neigh/set", bridge, tunnel.remote, tunnel.link.peer_mac)
                except CommandFailed:
                    return False
                return bridge in self.appctl("ovs/route/show")
            wait_until(known, 10, "the tunnel's route and neighbour", 0.2)

    def add_bridge(self, name: str, mac: str) -> None:
        self.vsctl("add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", f'other-config:hwaddr="{mac}"',
                   "fail-mode=" + ("secure" if name == "br0" else "standalone"))

    def set_connection_limits(self, work: Work) -> None:
        # A node port's connection is in two zones, and counts twice.
        zones = 2 if work.services.node_port else 1
        self.appctl("dpctl/ct-set-maxconns", str(max(zones * (work.connections + work.connections // 4), 1024)))
        if timeouts := connection_timeouts(work):
            self.vsctl("--", "--id=@m", "create", "Datapath", 'datapath_version=""', "--", "set", "Open_vSwitch", ".",
                       "datapaths:netdev=@m")
            self.vsctl("add-zone-tp", "netdev", "zone=1", *timeouts)

    def add(self, command: str, lines: Iterator[str]) -> None:
        path = self.folder / command
        with open(path, "w") as file:
            file.writelines(line + "\n" for line in lines)
        execute("ovs-ofctl", "-O", "OpenFlow15", "--bundle", command, f"unix:{self.folder}/br0.mgmt", str(path),
                timeout=300)

    # ---- measuring ----

    def counters(self) -> Counters:
        # The counters of pmd-perf-show, unrounded; the packet thread comes before the main thread.
        text = self.appctl("dpif-netdev/pmd-stats-show")
        packets = re.search(r"packets received: (\d+)", text)
        busy = re.search(r"processing cycles: (\d+)", text)
        return Counters(int(busy[1]), int(packets[1])) if packets and busy else Counters(0.0, 0)

    def flows(self) -> int:
        return int(self.appctl("dpctl/ct-get-nconns").strip())

    def memory(self) -> int:
        return resident_bytes(int((self.folder / "vswitchd.pid").read_text()))


def connection_timeouts(work: Work) -> list[str]:
    """A zone's timeout policy. Both ends have closed: the userspace datapath calls that "close", then "time_wait"."""
    made = []
    if work.udp_timeout != 120:
        made += [f"udp_{name}={work.udp_timeout}" for name in ("first", "single", "multiple")]
    if work.tcp_time_wait != 120:
        made += [f"tcp_{name}={work.tcp_time_wait}" for name in ("time_wait", "close")]
    return made


def port(link: Link) -> int:
    return link.index + 1


def tunnel_port(tunnel: Tunnel) -> str:
    return f"{tunnel.kind}-{tunnel.link.name}"


def tunnel_number(tunnel: Tunnel) -> int:
    return tunnel.link.index + 11


def flows(work: Work) -> Iterator[str]:
    services = work.services
    yield "table=0,priority=1,ip,actions=goto_table:2"
    yield "table=0,priority=1,ipv6,actions=goto_table:2"
    if services:
        protocol = services.protocol
        if services.node_port:
            yield f"table=0,priority=10,ip,in_port={port(LEFT)},actions=ct(zone=1,nat,table=1)"
            yield f"table=0,priority=10,ip,in_port={port(RIGHT)},actions=ct(zone=2,nat,table=4)"
            yield "table=1,priority=5,ip,ct_state=+est+trk,actions=ct(zone=2,nat,table=2)"
            yield (f"table=1,priority=20,ct_state=+new+trk,{protocol},nw_dst={LEFT.router4},tp_dst={NODE_PORT},"
                   f"actions=group:1")
            yield f"table=3,ip,actions=ct(commit,zone=2,table=2,nat(src={RIGHT.router4}:32768-65535))"
            yield "table=4,ip,actions=ct(zone=1,nat,table=2)"
        else:
            yield "table=0,priority=10,ip,actions=ct(zone=1,nat,table=1)"
            yield "table=1,priority=5,ip,actions=goto_table:2"
        for number in range(services.count):
            yield (f"table=1,priority=10,ct_state=+new+trk,{protocol},nw_dst={services.frontend(number)},"
                   f"tp_dst={SERVICE_PORT},actions=group:{number + 1}")
    for route in work.routes:
        yield route_flow(route)


def route_flow(route: Route) -> str:
    network = ipaddress.ip_network(route.destination)
    match = f"ip,nw_dst={network}" if network.version == 4 else f"ipv6,ipv6_dst={network}"
    source, target, out = route.link.router_mac, route.link.peer_mac, port(route.link)
    if route.tunnel:
        source, target, out = VTEP_MAC, REMOTE_VTEP_MAC, tunnel_number(route.tunnel)
    return (f"table={ROUTING},priority={network.prefixlen + 1},{match},"
            f"actions=dec_ttl,set_field:{source}->eth_src,set_field:{target}->eth_dst,output:{out}")


def groups(services: Services) -> Iterator[str]:
    after = 3 if services.node_port else ROUTING
    for number in range(services.count):
        buckets = ",".join(f"bucket=bucket_id:{k},weight:100,actions=ct(commit,zone=1,table={after},"
                           f"nat(dst={address}:{TARGET_PORT}))" for k, address in enumerate(services.backends(number)))
        yield f"group_id={number + 1},type=select,selection_method=dp_hash,{buckets}"
