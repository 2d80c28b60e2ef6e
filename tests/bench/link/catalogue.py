"""All scenarios, as data. A scenario's name is its group and what distinguishes it: `clusterip-100k`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from network import (ENDPOINTS, IPIP_RIGHT, LEFT, NODE_PORT, OUTSIDE, PODS, REMOTE_VTEP_MAC, RIGHT, SERVICE_PORT,
                     TARGET_PORT, TUNNEL_PODS, VTEP_MAC, VXLAN_LEFT, VXLAN_RIGHT, Link, Tunnel, nth, routed_host,
                     routed_prefix, service_address)
from scenario import Json, Route, Scenario, Services, Traffic, Work

LIMITS = ("testpmd-io", "testpmd-macswap")
KERNEL = ("linux-nftables", "linux-iptables")
EVERYONE = ("sluice", *LIMITS, "ovs-dpdk", *KERNEL)
FRAMES = {"64": 64, "imix": "imix", "1500": 1500}
# With a tunnel around them the largest still fit the link.
INNER_FRAMES = {"64": 64, "imix": [64] * 7 + [594] * 4 + [1450], "1500": 1450}


def short(number: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size and number % size == 0:
            return f"{number // size}{letter}"
    return str(number)


def written(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def stream(name: str, sender: Link, receiver: Link, flows: Json, frame: Json = 64, expect: Json = "same",
           **more: Json) -> Json:
    """One direction; `expect` is what a router makes of it."""
    return {"name": name, "send": sender.name, "receive": [receiver.name], "mode": "flood", "frame": frame,
            "ethernet": {"src": sender.peer_mac, "dst": sender.router_mac}, "protocol": "udp", "flows": flows,
            "expect": expect, **more}


# ---- forwarding ----

@functools.cache
def forwarding_routes(count: int, family: int) -> tuple[Route, ...]:
    each = max(count // 2, 1)
    return tuple(Route(routed_prefix(link, number, family), link) for link in (LEFT, RIGHT) for number in range(each))


def forwarding_flows(count: int, family: int, towards: Link) -> Json:
    """A flow to each of the prefixes, 1 000 at least."""
    away = LEFT if towards is RIGHT else RIGHT
    each = max(count // 2, 1)
    source = routed_host(away, 0, family)
    if family == 4:
        return {"count": max(each, 1000), "order": "random", "src": source,
                "dst": {"first": routed_host(towards, 0, 4), "count": each, "step": 256},
                "srcPort": "1024-2023", "dstPort": 9}
    if each == 1:
        return {"count": 1000, "order": "random", "src": source, "dst": routed_host(towards, 0, 6),
                "srcPort": "1024-2023", "dstPort": 9}
    # Steps between IPv6 prefixes are larger than the generator's ranges can say: a file lists the flows.
    return {"order": "random", "tuples": [(source, routed_host(towards, number, 6), 1024 + number % 1000, 9)
                                          for number in range(each)]}


def forwarding(family: int, routes: int, frame: str) -> Scenario:
    def streams() -> list[Json]:
        return [stream("right", LEFT, RIGHT, forwarding_flows(routes, family, RIGHT), FRAMES[frame]),
                stream("left", RIGHT, LEFT, forwarding_flows(routes, family, LEFT), FRAMES[frame])]
    many = routes > 1
    systems = EVERYONE[:-1] if not many else ("sluice", *LIMITS[1:], "ovs-dpdk", "linux-nftables")
    what = f"{written(routes)} routes" if many else "1 route each way"
    return Scenario(f"forward{family}-{short(routes)}-{frame}", f"forward-{frame}",
                    f"IPv{family} forwarding, {what}, {frame_words(frame)}", routes,
                    Work(forwarding_routes(routes, family), family), Traffic(streams), systems,
                    label=f"IPv{family}, {what}", quick=frame == "64" and not many)


def frame_words(frame: str) -> str:
    return "IMIX" if frame == "imix" else f"{frame}-byte frames"


def inner_frame_words(frame: str) -> str:
    return {"64": "64-byte frames inside", "imix": "IMIX inside, 1450 bytes at most",
            "1500": "1450-byte frames inside"}[frame]


# ---- tunnels ----

def outer(tunnel: Tunnel, towards_router: bool) -> Json:
    ends = {"src": tunnel.remote, "dst": tunnel.link.router4}
    if not towards_router:
        ends = {"src": ends["dst"], "dst": ends["src"]}
    header = {"kind": tunnel.kind, **ends}
    if tunnel.kind == "vxlan":
        header["vni"] = tunnel.vni
        if towards_router:
            header |= {"innerSrc": REMOTE_VTEP_MAC, "innerDst": VTEP_MAC}
    return header


def tunnelling(tunnel: Tunnel, direction: str, frame: str) -> Scenario:
    here, there = nth(PODS, 2), TUNNEL_PODS[tunnel.kind]

    def streams() -> list[Json]:
        if direction == "encap":
            flows = {"count": 1000, "order": "random", "src": here, "dst": nth(there, 5), "srcPort": "1024-2023",
                     "dstPort": 9}
            return [stream("into", LEFT, RIGHT, flows, INNER_FRAMES[frame], {"tunnel": outer(tunnel, False)})]
        flows = {"count": 1000, "order": "random", "src": nth(there, 5), "dst": here, "srcPort": "1024-2023",
                 "dstPort": 9}
        return [stream("out-of", RIGHT, LEFT, flows, INNER_FRAMES[frame], tunnel=outer(tunnel, True))]
    verb = "into" if direction == "encap" else "out of"
    name = tunnel.kind.upper()
    systems = ("sluice", "testpmd-macswap", "ovs-dpdk", "linux-nftables")
    return Scenario(f"{tunnel.kind}-{direction}-{frame}", f"tunnel-{frame}",
                    f"route {verb} {name}, {inner_frame_words(frame)}", 0,
                    Work((Route(there, RIGHT, tunnel), Route(PODS, LEFT))), Traffic(streams), systems,
                    label=f"{verb} {name}", quick=frame == "64")


# ---- services ----

def service_routes(pool: str = ENDPOINTS) -> tuple[Route, ...]:
    return Route(PODS, LEFT), Route(OUTSIDE, LEFT), Route(pool, RIGHT)


def fill_time(flows: int) -> float:
    """Until every flow was seen at least once, by a system that opens 200 000 per second, and is two seconds old: a
    younger UDP flow is not taken for a stream yet, by Linux and by sluice."""
    return flows / 200_000 + 2.5


def service_flows(services: Services, flows: int, clients: str = PODS) -> Json:
    return {"count": flows, "order": "random", "src": {"first": nth(clients, 2), "count": 65536},
            "dst": {"first": service_address(0), "count": services.count}, "srcPort": "1024-2047",
            "dstPort": SERVICE_PORT}


def service_expectation(services: Services, **more: Json) -> Json:
    return {"dst": [services.all_backends()], "dstPort": [TARGET_PORT], "perDestination": services.endpoints, **more}


def cluster_ip(flows: int, frame: str = "64", group: str = "clusterip") -> Scenario:
    services = Services()

    def streams() -> list[Json]:
        return [stream("service", LEFT, RIGHT, service_flows(services, flows), FRAMES[frame],
                       service_expectation(services), answer={"every": 1})]
    systems = ("sluice", "testpmd-macswap", "ovs-dpdk", "linux-nftables")
    return Scenario(f"{group}-{short(flows)}{suffix(frame)}", sized(group, frame),
                    f"ClusterIP, {short(flows)} established flows, both directions, {frame_words(frame)}", flows,
                    Work(service_routes(), services=services, connections=flows),
                    Traffic(streams, fill=fill_time(flows)), systems,
                    label=flows_label(flows, frame), quick=flows == 1000 and frame == "64")


def node_port(flows: int, frame: str = "64") -> Scenario:
    services = Services(count=1, endpoints=16, node_port=True)

    def streams() -> list[Json]:
        flow = {"count": flows, "order": "random", "src": {"first": nth(OUTSIDE, 2), "count": 65536},
                "dst": LEFT.router4, "srcPort": "1024-2047", "dstPort": NODE_PORT}
        return [stream("nodeport", LEFT, RIGHT, flow, FRAMES[frame],
                       {"src": [RIGHT.router4], "srcPort": ["1-65535"], "dst": [services.all_backends()],
                        "dstPort": [TARGET_PORT]}, answer={"every": 1})]
    systems = ("sluice", "testpmd-macswap", "ovs-dpdk", *KERNEL)
    return Scenario(f"nodeport-{short(flows)}{suffix(frame)}", sized("nodeport", frame),
                    f"NodePort, DNAT and SNAT, {short(flows)} established flows, both directions, {frame_words(frame)}",
                    flows, Work(service_routes(), services=services, connections=flows),
                    Traffic(streams, fill=fill_time(flows)), systems, label=flows_label(flows, frame),
                    quick=flows == 1000 and frame == "64")


def suffix(frame: str) -> str:
    return "" if frame == "64" else f"-{frame}"


def sized(group: str, frame: str) -> str:
    """The group that a frame size is shown in."""
    return group if frame == "64" else f"{group}-frames"


def flows_label(flows: int, frame: str, words: str = "") -> str:
    return f"{written(flows)} flows" + ("" if frame == "64" else f", {words or frame_words(frame)}")


def tunnel_to_tunnel(flows: int, frame: str = "64") -> Scenario:
    services = Services(pool=TUNNEL_PODS["ipip"])

    def streams() -> list[Json]:
        return [stream("overlay", LEFT, RIGHT, service_flows(services, flows), INNER_FRAMES[frame],
                       service_expectation(services, tunnel=outer(IPIP_RIGHT, False)),
                       tunnel=outer(VXLAN_LEFT, True),
                       answer={"every": 1, "expect": {"tunnel": outer(VXLAN_LEFT, False)}})]
    return Scenario(f"vxlan-dnat-ipip-{short(flows)}{suffix(frame)}", sized("overlay-service", frame),
                    f"VXLAN in, DNAT, IPIP out, {short(flows)} established flows, both directions, "
                    f"{inner_frame_words(frame)}", flows,
                    Work((Route(PODS, LEFT, VXLAN_LEFT), Route(TUNNEL_PODS["ipip"], RIGHT, IPIP_RIGHT)),
                         services=services, connections=flows),
                    Traffic(streams, fill=fill_time(flows)),
                    ("sluice", "testpmd-macswap", "ovs-dpdk", "linux-nftables"),
                    label=flows_label(flows, frame, inner_frame_words(frame)), quick=flows == 1000 and frame == "64")


def many_services(count: int) -> Scenario:
    """Established traffic: what the number of services costs a packet."""
    services = Services(count=count, endpoints=2)
    flows = 100_000

    def streams() -> list[Json]:
        return [stream("services", LEFT, RIGHT, service_flows(services, flows), 64, service_expectation(services),
                       answer={"every": 1})]
    return Scenario(f"services-{short(count)}", "services",
                    f"{written(count)} services, {short(flows)} established flows, both directions, 64-byte frames",
                    count, Work(service_routes(), services=services, connections=flows),
                    Traffic(streams, fill=fill_time(flows)), ("sluice", "ovs-dpdk", *KERNEL),
                    label=f"{written(count)} services")


# ---- opening ----

AGING = 2  # seconds after which a flow, or a closed connection, is forgotten


def sustained(streams: Callable[[], list[Json]]) -> Traffic:
    """Measured only once as many flows go as come, and long enough that every flow of the beginning has gone. Neither
    part is shortened by --speed: a shorter run would be of a table that only grows."""
    return Traffic(streams, fill=AGING + 1.0, warmup=0.0, duration=5.0, shortest=5.0)


def new_flows(count: int, name: str, title: str, group: str, flows: Json, systems: tuple[str, ...],
              label: str) -> Scenario:
    """Every packet opens a flow; old ones age out after AGING seconds while new ones come."""
    services = Services(count=count, endpoints=2)

    def streams() -> list[Json]:
        return [stream("opening", LEFT, RIGHT, flows, 64, service_expectation(services))]
    return Scenario(name, group, title, count,
                    Work(service_routes(), services=services, connections=8_000_000, udp_timeout=AGING),
                    sustained(streams), systems, "opened", label)


def opening_flows(services: int) -> Json:
    return {"count": 16_000_000, "order": "sequential", "src": {"first": nth(PODS, 2), "count": 65536},
            "dst": {"first": service_address(0), "count": services}, "srcPort": "1024-65535",
            "dstPort": SERVICE_PORT}


def new_flows_with_services(count: int) -> Scenario:
    return new_flows(count, f"new-services-{short(count)}",
                     f"new UDP flows per second with {written(count)} services", "new-services",
                     opening_flows(count), ("sluice", "ovs-dpdk", *KERNEL), f"{written(count)} services")


def new_clients() -> Scenario:
    flows = {"count": 8_000_000, "order": "sequential", "src": {"first": nth(PODS, 2), "count": 8_000_000},
             "dst": service_address(0), "srcPort": 1024, "dstPort": SERVICE_PORT}
    return new_flows(1, "new-clients", "new UDP flows per second, each from a new client address", "opening", flows,
                     ("sluice", "ovs-dpdk", *KERNEL), "UDP, a new client each")


def tcp_connections() -> Scenario:
    services = Services(protocol="tcp")

    def streams() -> list[Json]:
        made = stream("connections", LEFT, RIGHT, opening_flows(services.count), 64, service_expectation(services))
        # Fewer than the links' rings hold, so that a burst of openings does not lose what then waits for its timeout.
        return [made | {"mode": "connections", "protocol": "tcp", "outstanding": 512}]
    return Scenario("tcp-connections", "opening", "complete TCP connections per second", 1,
                    Work(service_routes(), services=services, connections=8_000_000, tcp_time_wait=AGING),
                    sustained(streams), ("sluice", "ovs-dpdk", *KERNEL), "connections",
                    "TCP connections")


# ---- latency, memory ----

def latency(name: str, base: Scenario) -> Scenario:
    def streams() -> list[Json]:
        return [made | {"latency": True} for made in base.traffic.streams()]
    return Scenario(f"latency-{name}", "latency", f"latency: {base.title}", 0, base.work,
                    Traffic(streams, base.traffic.fill, duration=3.0, shortest=1.0), base.systems, "latency",
                    base.title)


def memory(flows: int) -> Scenario:
    base = cluster_ip(flows)
    return Scenario("memory", "memory", f"memory per flow, {short(flows)} ClusterIP flows", 0, base.work,
                    Traffic(base.traffic.streams, base.traffic.fill, duration=2.0),
                    ("sluice", "ovs-dpdk", "linux-nftables"), "memory", f"{written(flows)} flows")


def hand_over(owner: int) -> Scenario:
    """Two workers, of which the first receives everything: memif has one queue a link here. Which worker owns a flow is
    a matter of a secret hash, so all are opened, and requests of those that the second one owns are measured: every
    packet comes to the wrong one. Or of those of the first, for comparison: none does."""
    base = cluster_ip(20_000)
    work = Work(base.work.routes, services=base.work.services, connections=40_000, workers=2)
    name, words = (("two-workers", "every packet handed over") if owner == 1 else
                   ("two-workers-none", "no packet handed over"))
    return Scenario(name, "workers", f"two workers behind one receive queue, {words}, about 10k ClusterIP flows", owner,
                    work, base.traffic, ("sluice",), label=words, owner=owner)


def more_frames() -> list[Scenario]:
    """Larger frames of what has its 64-byte frames elsewhere: the set `frames`, which can be left out."""
    made = []
    for frame in ("imix", "1500"):
        made += [forwarding(6, 1, frame), forwarding(4, 100_000, frame), forwarding(6, 100_000, frame),
                 cluster_ip(1_000, frame), cluster_ip(1_000_000, frame), node_port(100_000, frame),
                 tunnel_to_tunnel(100_000, frame)]
    return [replace(scenario, set="frames") for scenario in made]


def catalogue() -> list[Scenario]:
    made = [forwarding(family, routes, "64") for family in (4, 6) for routes in (1, 100_000)]
    made += [forwarding(4, 1, frame) for frame in ("imix", "1500")]
    for frame in FRAMES:
        made += [tunnelling(tunnel, direction, frame) for tunnel in (VXLAN_RIGHT, IPIP_RIGHT)
                 for direction in ("encap", "decap")]
    made += [cluster_ip(flows) for flows in (1_000, 10_000, 100_000, 1_000_000, 4_000_000)]
    made += [cluster_ip(100_000, frame) for frame in ("imix", "1500")]
    made += [node_port(flows) for flows in (1_000, 100_000)]
    made += [tunnel_to_tunnel(flows) for flows in (1_000, 100_000)]
    made += [many_services(count) for count in (10, 1_000, 10_000, 100_000)]
    made += [new_flows_with_services(count) for count in (10, 1_000, 10_000, 100_000)]
    made += [new_clients(), tcp_connections()]
    made += [latency("forward4", forwarding(4, 1, "64")), latency("clusterip", cluster_ip(1_000))]
    made += [memory(1_000_000), hand_over(1), hand_over(0)]
    return made + more_frames()
