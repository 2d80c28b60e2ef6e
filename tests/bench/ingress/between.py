"""Client and server in namespaces of their own, and between them whoever is measured: the same place for all.

    wrk 10.1.0.2 -- left -- 10.1.0.1  system under test  10.2.0.1 -- right -- 10.2.0.2 web server, every endpoint

The system under test has a processor; everybody else has the other one. Receive packet steering puts the kernel's work
for each end of a link on the processor of whoever is at that end, as a NIC's interrupts would be.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

from machine import Cpus
from netns import Lab, Namespace, Process, wait_until
from router import Json, Options, Router
from rules import BULK, BULK_BYTES, ENDPOINT_RANGE, PORT, haproxy, haproxy_map, nginx_backend, nginx_proxy, objects
from threads import worker_thread

CLIENT, LEFT, RIGHT, SERVER = "10.1.0.2", "10.1.0.1", "10.2.0.1", "10.2.0.2"
PRIORITY = -10  # of the system under test, so that what else the machine does rarely comes between


class Between(ABC):
    """What stands between client and server, with the network around it."""

    name: str
    offloads = False

    def __init__(self, lab: Lab, cpus: Cpus):
        self.lab, self.cpus = lab, cpus
        self.client, self.middle, self.server = (lab.namespace(name) for name in ("client", "middle", "server"))
        for name, host, address, gateway in (("left", self.client, CLIENT, LEFT),
                                             ("right", self.server, SERVER, RIGHT)):
            self.link(f"m-{name}", host)
            host.ip(f"addr add {address}/24 dev eth0", f"route add default via {gateway}")
            self.steer(self.middle, f"m-{name}", cpus.system)
            self.steer(host, "eth0", cpus.generator)
        for host in (self.client, self.middle, self.server):
            host.sysctl(**{"net.ipv4.ip_local_port_range": "1024 65535", "net.core.somaxconn": 4096,
                           "net.ipv4.tcp_max_syn_backlog": 4096, "net.ipv4.tcp_tw_reuse": 1})
        self.server.ip(f"route add local {ENDPOINT_RANGE} dev lo")
        self.backend = self.start_backend()

    @staticmethod
    def steer(namespace: Namespace, interface: str, cpu: int) -> None:
        namespace.run("sh", "-c", f"echo {1 << cpu:x} > /sys/class/net/{interface}/queues/rx-0/rps_cpus")

    def start_backend(self) -> Process:
        directory = self.lab.directory
        (directory / BULK).write_bytes(os.urandom(1000) * (BULK_BYTES // 1000))
        directory.chmod(0o755)  # for nginx's worker, which is nobody
        path = directory / "backend.conf"
        path.write_text(nginx_backend(directory))
        process = self.run_on(self.server, self.cpus.generator, "nginx", "-c", str(path), name="backend")
        wait_until(lambda: listens(self.server, PORT), 10, lambda: f"the web server: {process.stderr()}")
        return process

    def run_on(self, namespace: Namespace, cpu: int, *command: str, name: str) -> Process:
        return namespace.start("taskset", "-c", str(cpu), *command, name=name)

    @abstractmethod
    def link(self, name: str, host: Namespace) -> None:
        """A veth pair: `name` in the middle, eth0 at the host."""

    def begin(self) -> None:
        self.start()
        os.setpriority(os.PRIO_PROCESS, self.thread(), PRIORITY)

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def thread(self) -> int:
        """The one thread that works."""

    def busy_cycles(self) -> int | None:
        """By its own account."""
        return None


def listens(namespace: Namespace, port: int) -> bool:
    with namespace.entered():
        lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


class Sluice(Between):
    name = "sluice"
    poll = "adaptive"
    device = "net_af_packet{index},iface={}"

    def link(self, name: str, host: Namespace) -> None:
        self.lab.router_link(self.middle, name, host, "eth0")

    def start(self) -> None:
        options = Options(memory=512, mbufs=32768, extra=("--poll", self.poll))
        options.cpus = [self.cpus.system, self.cpus.control]  # of the worker and of the control thread
        self.sluiced = Router(self.middle, "sluiced", options)
        self.sluiced.start(document(self.device))

    def thread(self) -> int:
        return worker_thread(self.sluiced.process.pid)

    def busy_cycles(self) -> int:
        return self.sluiced.status()["workers"][0]["busyCycles"]


class SluiceOffloads(Sluice):
    """Frames as veth makes them by default: the router's own packet socket takes super-frames."""

    name, offloads, device = "sluice-offloads", True, "packet,iface={}"

    def link(self, name: str, host: Namespace) -> None:
        self.lab.link(self.middle, name, host, "eth0")


class BusySluice(Sluice):
    name, poll = "sluice-busy", "busy"


def document(device: str) -> Json:
    interfaces = [{"name": name, "device": device.format(f"m-{name}", index=index), "role": "uplink",
                   "addresses": [f"{address}/24"]} for index, (name, address) in enumerate((("left", LEFT),
                                                                                           ("right", RIGHT)))]
    spec = {"nodeName": "bench", "interfaces": interfaces, "conntrack": {"max": 262144},
            "routes": [{"destination": ENDPOINT_RANGE, "via": SERVER}],
            "ingress": {"enabled": True, "addresses": [LEFT], "http": [80], "https": []}}
    gateway = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "bench"}, "spec": spec}
    return {"apiVersion": "v1", "kind": "List", "items": [gateway, *objects()]}


class Proxy(Between):
    """A program of sockets. Without offloads its frames are those that sluice gets: no larger than the link's MTU, with
    their checksums. With them, as they are by default on veth, super-frames of up to 64 KiB pass without one."""

    def link(self, name: str, host: Namespace) -> None:
        self.lab.link(self.middle, name, host, "eth0")
        if not self.offloads:
            for namespace, interface in ((self.middle, name), (host, "eth0")):
                namespace.offload(interface, tx="off", gro="off")
        self.middle.ip(f"addr add {LEFT if 'left' in name else RIGHT}/24 dev {name}")

    def start(self) -> None:
        self.middle.ip(f"route add {ENDPOINT_RANGE} via {SERVER}")
        self.process = self.run_on(self.middle, self.cpus.system, *self.command(), name=self.name)
        wait_until(lambda: listens(self.middle, 80), 10, lambda: f"{self.name}: {self.process.stderr()}")

    @abstractmethod
    def command(self) -> list[str]: ...


class Nginx(Proxy):
    name = "nginx"

    def command(self) -> list[str]:
        path = self.lab.directory / "proxy.conf"
        path.write_text(nginx_proxy(self.lab.directory, LEFT))
        return ["nginx", "-c", str(path)]

    def thread(self) -> int:
        pid = self.process.pid
        return int(wait_until(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split(), 5,
                              "nginx's worker")[0])


class Haproxy(Proxy):
    name = "haproxy"

    def command(self) -> list[str]:
        path, map_path = self.lab.directory / "haproxy.cfg", self.lab.directory / "haproxy.map"
        map_path.write_text(haproxy_map())
        path.write_text(haproxy(LEFT, map_path))
        return ["haproxy", "-db", "-f", str(path)]

    def thread(self) -> int:
        return self.process.pid


class NginxOffloads(Nginx):
    name, offloads = "nginx-offloads", True


class HaproxyOffloads(Haproxy):
    name, offloads = "haproxy-offloads", True


SYSTEMS: dict[str, type[Between]] = {each.name: each for each in
                                     (Sluice, SluiceOffloads, BusySluice, Nginx, Haproxy, NginxOffloads, HaproxyOffloads)}
