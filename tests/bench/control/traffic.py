"""Changes of slices beside traffic: established UDP and TCP flows to services, some of whose slices change as well, and
a generator that knows every packet by its signature. What it does not get back is lost.

The generator and the control thread share a processor, the worker has the other, so the rate is far below what the
router forwards: the question is what a change does to packets, not how many there can be (link/ measures that).
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from cluster import SLICE_LIMIT, Cluster, delta
from pushes import PROJECT, Changes, Router, put

Json = Any

TRAFGEN = PROJECT / os.environ.get("SLUICE_BUILD", "build") / "tools" / "sluice-trafgen"
SERVICES = 20  # that have traffic
ENDPOINTS = 25  # of each
EVERY = 10  # one change in so many is of such a service
CLIENT_MAC, SERVER_MAC = "02:00:00:00:01:02", "02:00:00:00:02:02"
LEFT_MAC, RIGHT_MAC = "02:00:00:00:01:01", "02:00:00:00:02:01"
CLIENT, SERVER = "10.1.0.2", "172.16.0.3"
WARMUP = 3.0  # seconds in which all flows are opened
SLACK = 3.0  # seconds of traffic after the last change


@dataclass(frozen=True)
class BusyCluster(Cluster):
    """A cluster with two links and services that traffic goes to, whose flows stay with the endpoints they have."""

    links: tuple[str, str] = ("", "")  # devices

    def gateway(self) -> Json:
        made = super().gateway()
        spec = made["spec"]
        spec["interfaces"] = [
            {"name": "left0", "device": self.links[0], "role": "uplink", "mac": LEFT_MAC, "addresses": ["10.1.0.1/24"]},
            {"name": "uplink0", "device": self.links[1], "role": "uplink", "mac": RIGHT_MAC,
             "addresses": ["172.16.0.2/12"]}]
        spec["routes"] = [{"destination": "10.64.0.0/16", "via": CLIENT},
                          {"destination": "10.16.0.0/12", "via": SERVER}]
        spec["neighbors"] = [{"interface": "left0", "address": CLIENT, "mac": CLIENT_MAC},
                             {"interface": "uplink0", "address": SERVER, "mac": SERVER_MAC}]
        spec["cluster"]["clusterCIDRs"] += ["10.64.0.0/16", "10.16.0.0/12"]
        spec["conntrack"] = {"max": 65536}
        return made

    def objects(self) -> Any:
        yield from super().objects()
        for index in range(SERVICES):
            yield self.busy_service(index)
            yield self.busy_slice(index)

    @staticmethod
    def ports(field: str, number: int) -> Json:
        return [{"name": name, "protocol": protocol, "port": number, **({"targetPort": 8080} if field else {})}
                for name, protocol in (("u", "UDP"), ("t", "TCP"))]

    def busy_service(self, index: int) -> Json:
        address = f"10.97.0.{index + 1}"
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "busy", "name": f"busy-{index}"},
                "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
                         "ports": self.ports("targetPort", 80)}}

    def busy_slice(self, index: int, version: int = 0) -> Json:
        """Of an odd version with one endpoint more, which no flow has."""
        first = ipaddress.IPv4Address("10.16.0.1") + index * ENDPOINTS
        addresses = [str(first + each) for each in range(ENDPOINTS)] + [f"10.31.0.{index + 1}"] * (version % 2)
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"namespace": "busy", "name": f"busy-{index}",
                             "labels": {"kubernetes.io/service-name": f"busy-{index}"}},
                "ports": self.ports("", 8080),
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]}

    def changes(self, count: int) -> list[bytes]:
        seen: dict[tuple[bool, int], int] = {}
        bodies = []
        for number in range(count):
            busy = number % EVERY == 0
            index = number // EVERY % SERVICES if busy else number * 7919 % self.services
            version = seen[busy, index] = seen.get((busy, index), 0) + 1
            bodies.append(delta(self.busy_slice(index, version) if busy else self.slice(index, version=version)))
        return bodies


def profile(arguments: argparse.Namespace, sockets: tuple[str, str]) -> Json:
    def stream(protocol: str, first_port: int) -> Json:
        last = ipaddress.IPv4Address("10.16.0.1") + SERVICES * ENDPOINTS - 1
        return {"name": protocol, "send": "left", "receive": ["right"], "mode": "rate", "rate": arguments.packets / 2,
                "frame": 128, "protocol": protocol, "ethernet": {"dst": LEFT_MAC},
                "flows": {"count": arguments.flows, "src": "10.64.0.1-10.64.0.250",
                          "dst": {"first": "10.97.0.1", "count": SERVICES},
                          "srcPort": f"{first_port}-{first_port + 9999}", "dstPort": 80},
                "expect": {"dst": [f"10.16.0.1-{last}"], "dstPort": [8080], "perDestination": ENDPOINTS,
                           "affinity": True},
                "answer": {"every": 1}}
    ports = [{"name": name, "device": f"net_memif{index},role=client,id={index},socket={sockets[index]},"
                                      f"socket-abstract=no,mac={mac}", "mac": mac, "addresses": [address]}
             for index, (name, mac, address) in enumerate((("left", CLIENT_MAC, f"{CLIENT}/24"),
                                                           ("right", SERVER_MAC, f"{SERVER}/12")))]
    return {"ports": ports, "streams": [stream("udp", 10_000), stream("tcp", 30_000)]}


def start_generator(router: Router, arguments: argparse.Namespace, sockets: tuple[str, str], cpu: int) -> Any:
    path = router.directory / "profile.json"
    path.write_text(json.dumps(profile(arguments, sockets)))
    # Whoever is late is the generator: control thread and clients are on its processor.
    return subprocess.Popen(
        ["nice", "-n", "10", str(TRAFGEN), "--profile", str(path), "--warmup", f"{WARMUP:g}", "--duration",
         f"{arguments.seconds + 2 * SLACK:g}", "--lcores", str(cpu), "--json", str(router.directory / "result.json"),
         "--no-live", "--no-huge", "--memory", "256", "--file-prefix", f"sluice-traffic-{os.getpid()}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_flows(router: Router, wanted: int) -> None:
    client = router.client()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        workers = json.loads(client.call("GET", "/v1/status")[1])["workers"]
        if sum(worker["flowsV4"] for worker in workers) >= wanted:
            return
        time.sleep(0.1)
    raise SystemExit("the flows were not opened")


def drops_of(router: Router) -> dict[str, int]:
    return dict(json.loads(router.client().call("GET", "/v1/counters")[1])["drops"])


def difference(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in now.items() if count > before.get(name, 0)}


def measure(arguments: argparse.Namespace) -> list[Json]:
    assert SLICE_LIMIT >= arguments.endpoints
    cpus = sorted(os.sched_getaffinity(0))
    router = Router(arguments, cpus[0], cpus[-1], "--poll", "busy")
    generator = None
    try:
        sockets = tuple(str(router.directory / f"{name}.memif") for name in ("left", "right"))
        devices = tuple(f"net_memif{index},role=server,id={index},socket={socket},socket-abstract=no,mac={mac}"
                        for index, (socket, mac) in enumerate(zip(sockets, (LEFT_MAC, RIGHT_MAC))))
        cluster = BusyCluster(arguments.services, arguments.endpoints, arguments.nodes, links=devices)
        loaded = put(router.client(), "full document", cluster.as_list())
        print(f"{loaded.what}: {loaded.seconds:.2f} s, {loaded.note}", flush=True)
        changes = Changes(router, cluster.changes(int(arguments.rate * arguments.seconds)), arguments)
        generator = start_generator(router, arguments, sockets, cpus[-1])
        wait_for_flows(router, 2 * arguments.flows)
        time.sleep(WARMUP)
        drops = drops_of(router)
        used = router.cpu()
        made = changes.run()
        used = router.cpu() - used
        # Before, and after the generator's last packet, nobody counts what is lost: links come up and go down.
        drops = difference(drops_of(router), drops)
        _, errors = generator.communicate(timeout=arguments.seconds + 120)
        path = router.directory / "result.json"
        if not path.exists():
            raise SystemExit(f"the generator has no result: {errors.decode()[-1000:]}")
        result = json.loads(path.read_text())
    finally:
        if generator is not None and generator.poll() is None:
            generator.kill()
        router.stop()
    print(f"beside {arguments.packets:,.0f} packets a second, half of them UDP and half TCP, in {2 * arguments.flows} flows")
    print(f"{made.what}: {made.note}; CPU {used / len(changes.bodies) * 1e3:.2f} ms each")
    rows = []
    for each in result["streams"]:
        ways = {"forward": each["forward"], "answers": each["answers"]}
        faults = {f"{way} {kind}": counts[kind] for way, counts in ways.items()
                  for kind in ("lost", "misrouted", "corrupted", "duplicated") if counts[kind]}
        rows.append({"stream": each["name"], "sent": each["sent"], "answered": each["answers"]["sent"],
                     "faults": faults, "stalled": result["generator"]["stalledShare"]})
        print(f"{each['name']}: {each['sent']} packets of {each['flows']} flows and {each['answers']['sent']} answers; "
              f"{faults or 'none lost, none misrouted'}")
    if drops:
        print(f"drops of the router during the changes: {drops}")
    return [vars(made) | {"cpu": used, "packetsPerSecond": arguments.packets, "flows": 2 * arguments.flows,
                          "streams": rows, "drops": drops}]
