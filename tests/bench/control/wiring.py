"""Client and server in namespaces of their own, and between them whoever is measured: sluiced, or the kernel with the
rule sets of kube-proxy. The same links, addresses and services for all.

    client 10.1.0.2 (a pod: 10.128.0.2) -- left -- router -- right -- 192.168.0.2 server (every endpoint)
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from typing import Any

import kube_proxy
from netns import Lab, Namespace
from network import ENDPOINTS, PODS, SERVICE_PORT, TARGET_PORT
from network import SERVICES as SERVICE_RANGE
from router import Options, Router, processors
from scenario import Services
from sluice import service_objects

Json = Any

CLIENT, CLIENT_POD, SERVER = "10.1.0.2", "10.128.0.2", "192.168.0.2"
ROUTER_LEFT, ROUTER_RIGHT = "10.1.0.1", "192.168.0.1"
ACCEPT = """
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", int(sys.argv[1]))); s.listen(1024); print("ready", flush=True)
while True: s.accept()[0].close()
"""
NEW_ENDPOINT = "10.31.255.1"  # in ENDPOINTS, of no service


class Between(ABC):
    """What stands between client and server. `install` and `change` answer with seconds of the clock."""

    name: str

    def __init__(self, lab: Lab, services: Services):
        self.lab, self.services = lab, services
        self.client, self.router, self.server = (lab.namespace(name) for name in ("client", "router", "server"))
        self.wire()
        for host, address, gateway in ((self.client, CLIENT, ROUTER_LEFT), (self.server, SERVER, ROUTER_RIGHT)):
            host.ip(f"addr add {address}/24 dev eth0", f"route add default via {gateway}")
        self.client.ip(f"addr add {CLIENT_POD}/32 dev lo")
        self.server.ip(f"route add local {ENDPOINTS} dev lo")
        process = self.server.start(sys.executable, "-c", ACCEPT, str(TARGET_PORT), name="accept")
        deadline = time.monotonic() + 20
        while "ready" not in process.stdout():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server does not start: {process.stderr()}")
            time.sleep(0.05)

    @abstractmethod
    def wire(self) -> None: ...

    @abstractmethod
    def install(self) -> float: ...

    @abstractmethod
    def change(self, number: int) -> float:
        """One more endpoint for service `number`, which had none more before."""

    def connect(self, count: int, seed: int, pause: float = 0.0) -> list[float]:
        """Seconds of TCP openings from the pod to services at random, with a pause before each."""
        chance = random.Random(seed)
        times = []
        for _ in range(count):
            time.sleep(pause)
            address = self.services.frontend(chance.randrange(self.services.count))
            with self.client.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
                made.bind((CLIENT_POD, 0))
                made.settimeout(10)
                begin = time.perf_counter()
                made.connect((address, SERVICE_PORT))
                times.append(time.perf_counter() - begin)
        return times


class Sluice(Between):
    name = "sluice"
    options: tuple[str, ...] = ()
    devices = ("net_af_packet0", "net_af_packet1")

    def wire(self) -> None:
        self.lab.router_link(self.router, "r-left", self.client, "eth0")
        self.lab.router_link(self.router, "r-right", self.server, "eth0")
        cpus = processors()
        self.sluiced = Router(self.router, "sluiced", Options(memory=512, cpus=cpus, extra=("--no-huge", *self.options)))
        self.sluiced.start(self.document([]))
        self.connection = self.sluiced.connect(300)

    def document(self, objects: list[Json]) -> Json:
        interfaces = [{"name": name, "device": f"{device},iface=r-{name}", "role": "uplink",
                       "addresses": [f"{address}/24"]}
                      for device, (name, address) in zip(self.devices, (("left", ROUTER_LEFT), ("right", ROUTER_RIGHT)),
                                                         strict=True)]
        spec = {"nodeName": "bench", "interfaces": interfaces,
                "routes": [{"destination": PODS, "via": CLIENT}, {"destination": ENDPOINTS, "via": SERVER}],
                "cluster": {"clusterCIDRs": [PODS, ENDPOINTS], "serviceCIDRs": [SERVICE_RANGE]},
                "conntrack": {"max": 65536}}
        gateway = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "bench"},
                   "spec": spec}
        return {"apiVersion": "v1", "kind": "List", "items": [gateway, *objects]}

    def call(self, method: str, body: bytes) -> float:
        begin = time.perf_counter()
        self.connection.request(method, "/v1/config", body)
        answer = self.connection.getresponse()
        text = answer.read()
        seconds = time.perf_counter() - begin
        if answer.status != 200:
            raise RuntimeError(f"{method}: {answer.status} {text[:500].decode()}")
        return seconds

    def install(self) -> float:
        self.objects = service_objects(self.services)
        return self.call("PUT", json.dumps(self.document(self.objects), separators=(",", ":")).encode())

    def change(self, number: int) -> float:
        return self.call("PATCH", json.dumps({"kind": "Delta", "upsert": [self.slice(number)]}).encode())

    def slice(self, number: int) -> Json:
        item = self.objects[2 * number + 1]
        return item | {"endpoints": [*item["endpoints"], {"addresses": [NEW_ENDPOINT]}]}


class Kernel(Between):
    """After kube-proxy: everything in one input at first, then of a change only what is about its service."""

    program: tuple[str, ...]

    def wire(self) -> None:
        for name, host, address in (("left", self.client, ROUTER_LEFT), ("right", self.server, ROUTER_RIGHT)):
            self.lab.link(self.router, name, host, "eth0")
            self.router.ip(f"addr add {address}/24 dev {name}")
        self.router.sysctl(**{"net.ipv4.ip_forward": 1})
        self.router.ip(f"route add {PODS} via {CLIENT}", f"route add {ENDPOINTS} via {SERVER}")

    def run(self, text: str, *words: str) -> float:
        """Seconds that the program takes for its input."""
        path = self.lab.directory / "rules"
        path.write_text(text + "\n")
        begin = time.perf_counter()
        self.router.run(*self.program, *words, str(path), timeout=1800)
        return time.perf_counter() - begin


class Iptables(Kernel):
    name = "linux-iptables"
    program = ("iptables-legacy-restore",)

    def install(self) -> float:
        return self.run("\n".join(kube_proxy.iptables_rules(self.services)))

    def change(self, number: int) -> float:
        """As with minimised iptables-restore input (Kubernetes 1.27): the chains of one service, nothing is flushed."""
        return self.run("\n".join(kube_proxy.iptables_change(self.services, number, NEW_ENDPOINT)), "--noflush")


class Nftables(Kernel):
    name = "linux-nftables"
    program = ("nft", "-f")

    def install(self) -> float:
        return sum(self.run(transaction) for transaction in kube_proxy.nftables_transactions(self.services))

    def change(self, number: int) -> float:
        return self.run(kube_proxy.nftables_change(self.services, number, NEW_ENDPOINT))


def close_namespaces(between: Between) -> None:
    for process in list(between.lab.processes):
        process.stop()
        between.lab.processes.remove(process)
    for namespace in list(between.lab.namespaces.values()):
        subprocess.run(["ip", "netns", "delete", namespace.full_name], capture_output=True, check=False)
        del between.lab.namespaces[namespace.name]
