"""sluiced, configured with a document of Kubernetes objects."""

from __future__ import annotations

import http.client
import json

from machine import resident_bytes
from network import (ENDPOINTS, LENGTH4, LENGTH6, LINKS, MTU, NODE_PORT, PODS, REMOTE_VTEP_MAC, SERVICE_PORT,
                      SERVICES, TARGET_PORT, TUNNEL_PODS, VTEP_MAC, Tunnel)
from netns import Process, wait_until
from router import SLUICED, UnixConnection
from scenario import Json, Scenario, Services, Work
from system import Bench, Counters, System, Unsupported, end

API = {"apiVersion": "v1"}


class Sluice(System):
    name = "sluice"

    def __init__(self, bench: Bench):
        super().__init__(bench)
        self.process: Process | None = None
        self.api = bench.directory / "sluice-api.sock"

    def start(self, scenario: Scenario) -> None:
        work, cpus = scenario.work, self.bench.cpus
        workers = [cpus.system]
        if work.workers == 2:
            if cpus.second_worker is None:
                raise Unsupported("two workers and the generator need three CPUs")
            workers.append(cpus.second_worker)
        self.remove_sockets()
        path = self.bench.directory / "sluice.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": self.objects(work)}))
        self.process = self.bench.lab.start(
            [str(SLUICED), "--config", str(path), "--socket", str(self.api), "--state-dir", "",
             "--workers", str(len(workers)), "--worker-cpus", ",".join(map(str, workers)),
             "--control-cpu", str(cpus.control), "--memory", "512", "--hugepages",
             "require" if self.bench.hugepages else "never", "--poll", "busy"], "sluiced")

        def ready() -> bool:
            if not self.process.running():
                raise AssertionError(f"sluiced ended with code {self.process.wait(1)}: {self.process.stderr()[-3000:]}")
            try:
                return self.ask("/readyz")[0] == 200
            except (OSError, http.client.HTTPException):
                return False
        wait_until(ready, 120, lambda: f"sluiced to be ready: {self.process.stderr()[-3000:]}")

    def stop(self) -> None:
        end(self.bench, self.process)
        self.process = None
        self.remove_sockets()

    def ask(self, path: str) -> tuple[int, str]:
        connection = UnixConnection(self.api, 30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def counters(self) -> Counters:
        workers = self.workers()
        # A packet that was handed over was counted by both workers.
        return Counters(sum(worker["busyCycles"] for worker in workers),
                        sum(worker["packets"] - worker["receivedOver"] for worker in workers))

    def flows(self) -> int:
        return sum(worker["flowsV4"] + worker["flowsV6"] for worker in self.workers())

    def flows_of(self, worker: int) -> list[tuple[str, str, int, int]]:
        status, text = self.ask("/v1/conntrack?limit=1000000")
        if status != 200:
            raise AssertionError(f"sluiced does not list its flows: {text[:500]}")
        return [(flow["original"]["src"], flow["original"]["dst"], flow["original"]["sport"], flow["original"]["dport"])
                for flow in json.loads(text)["flows"] if flow["worker"] == worker]

    def handed_over(self) -> int:
        return sum(worker["handedOver"] for worker in self.workers()) + self.drops().get("handoff_full", 0)

    def workers(self) -> list[Json]:
        return json.loads(self.ask("/v1/status")[1])["workers"]

    def drops(self) -> dict[str, int]:
        return {name: count for name, count in json.loads(self.ask("/v1/counters")[1])["drops"].items() if count}

    def memory(self) -> int:
        return resident_bytes(self.process.pid)

    # ---- the document ----

    def objects(self, work: Work) -> list[Json]:
        made = [{"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "bench"},
                 "spec": self.specification(work)}]
        if work.services:
            made += service_objects(work.services)
        return made

    def specification(self, work: Work) -> Json:
        interfaces = [{"name": link.name, "device": self.device(link), "mac": link.router_mac, "mtu": MTU,
                       "addresses": [f"{link.router4}/{LENGTH4}", f"{link.router6}/{LENGTH6}"]} for link in LINKS]
        tunnels: dict[Tunnel, str] = {}
        routes, neighbors = [], [neighbor(link.name, address, link.peer_mac)
                                 for link in LINKS for address in (link.peer4, link.peer6)]
        for route in work.routes:
            if route.tunnel is None:
                routes.append({"destination": route.destination, "via": route.link.peer(work.family)})
                continue
            name = tunnels.setdefault(route.tunnel, f"{route.tunnel.kind}-{route.link.name}")
            routes.append({"destination": route.destination, "tunnel": name})
        for tunnel in tunnels:
            neighbors.append(neighbor(tunnel.link.name, tunnel.remote, tunnel.link.peer_mac))
        return {
            "nodeName": "bench", "interfaces": interfaces, "routes": routes, "neighbors": neighbors,
            "tunnels": [tunnel_object(name, tunnel) for tunnel, name in tunnels.items()],
            "overlay": {"vtepMac": VTEP_MAC},
            "cluster": {"clusterCIDRs": [PODS, ENDPOINTS, *TUNNEL_PODS.values()], "serviceCIDRs": [SERVICES]},
            "proxy": {"allowExternalClusterIP": True},
            "conntrack": {"max": max(1024, work.connections + work.connections // 4),
                          "timeouts": {"udp": f"{work.udp_timeout}s", "tcpTimeWait": f"{work.tcp_time_wait}s"}},
        }


def neighbor(interface: str, address: str, mac: str) -> Json:
    return {"interface": interface, "address": address, "mac": mac}


def tunnel_object(name: str, tunnel: Tunnel) -> Json:
    made = {"name": name, "type": tunnel.kind, "remote": tunnel.remote, "local": tunnel.link.router4}
    return made | {"vni": tunnel.vni, "remoteMAC": REMOTE_VTEP_MAC} if tunnel.kind == "vxlan" else made


def service_objects(services: Services) -> list[Json]:
    protocol = services.protocol.upper()
    made = []
    for number in range(services.count):
        name, port = f"s{number}", {"name": "p", "protocol": protocol, "port": SERVICE_PORT, "targetPort": TARGET_PORT}
        if services.node_port and number == 0:
            port["nodePort"] = NODE_PORT
        spec = {"type": "NodePort" if "nodePort" in port else "ClusterIP", "clusterIP": services.frontend(number),
                "clusterIPs": [services.frontend(number)], "ports": [port]}
        made.append(API | {"kind": "Service", "metadata": {"name": name}, "spec": spec})
        made.append({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                     "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                     "ports": [{"name": "p", "protocol": protocol, "port": TARGET_PORT}],
                     "endpoints": [{"addresses": [address]} for address in services.backends(number)]})
    return made
