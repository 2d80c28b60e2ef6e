"""The rule sets that kube-proxy writes for services, in its nftables and its iptables mode.

After kube-proxy of Kubernetes 1.31: chain names, marks, order and shape of the rules are its own; what does not touch
these packets (health checks, source ranges, no endpoints) is left out. In iptables mode services are a list that a new
flow walks; in nftables mode they are a verdict map. Established flows meet neither: connection tracking remembers.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Iterator

from network import NODE_PORT, PODS, SERVICE_PORT, TARGET_PORT
from scenario import Services

MASQUERADE_MARK = "0x4000"


def digest(*words: object) -> str:
    """kube-proxy names chains after the first 16 characters of a hash."""
    return b32encode(hashlib.sha256("".join(map(str, words)).encode()).digest()).decode()[:16]


def service_name(number: int) -> str:
    return f"default/s{number}:p"


# ---- iptables ----

def iptables_rules(services: Services) -> Iterator[str]:
    """Input of iptables-restore."""
    yield from ("*filter", ":KUBE-FORWARD - [0:0]", "-A FORWARD -m comment --comment \"kubernetes forwarding rules\" "
                "-j KUBE-FORWARD", "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
                f"-A KUBE-FORWARD -m mark --mark {MASQUERADE_MARK}/{MASQUERADE_MARK} -j ACCEPT",
                "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "COMMIT")
    yield from ("*nat", ":KUBE-SERVICES - [0:0]", ":KUBE-NODEPORTS - [0:0]", ":KUBE-POSTROUTING - [0:0]",
                ":KUBE-MARK-MASQ - [0:0]")
    protocol = services.protocol
    for number in range(services.count):
        yield f":{service_chain(services, number)} - [0:0]"
        for address in services.backends(number):
            yield f":{endpoint_chain(services, number, address)} - [0:0]"
        if services.node_port and number == 0:
            yield f":{external_chain(services, number)} - [0:0]"
    yield "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES"
    yield "-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES"
    yield "-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING"
    yield f"-A KUBE-MARK-MASQ -j MARK --or-mark {MASQUERADE_MARK}"
    yield f"-A KUBE-POSTROUTING -m mark ! --mark {MASQUERADE_MARK}/{MASQUERADE_MARK} -j RETURN"
    yield f"-A KUBE-POSTROUTING -j MARK --xor-mark {MASQUERADE_MARK}"
    yield "-A KUBE-POSTROUTING -j MASQUERADE --random-fully"
    for number in range(services.count):
        name, chain, backends = service_name(number), service_chain(services, number), services.backends(number)
        address = services.frontend(number)
        yield (f"-A KUBE-SERVICES -d {address}/32 -p {protocol} -m comment --comment \"{name} cluster IP\" "
               f"-m {protocol} --dport {SERVICE_PORT} -j {chain}")
        if services.node_port and number == 0:
            external = external_chain(services, number)
            yield (f"-A KUBE-NODEPORTS -p {protocol} -m comment --comment \"{name}\" -m {protocol} "
                   f"--dport {NODE_PORT} -j {external}")
            yield f"-A {external} -m comment --comment \"masquerade traffic for {name} external destinations\" " \
                  f"-j KUBE-MARK-MASQ"
            yield f"-A {external} -j {chain}"
        yield from iptables_endpoints(services, number, backends)
    yield ("-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in "
           "this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")
    yield "COMMIT"


def iptables_endpoints(services: Services, number: int, backends: list[str]) -> Iterator[str]:
    """The chain of a service and those of its endpoints."""
    name, chain, protocol = service_name(number), service_chain(services, number), services.protocol
    yield (f"-A {chain} ! -s {PODS} -d {services.frontend(number)}/32 -p {protocol} -m comment "
           f"--comment \"{name} cluster IP\" -m {protocol} --dport {SERVICE_PORT} -j KUBE-MARK-MASQ")
    for k, backend in enumerate(backends):
        left, target = len(backends) - k, endpoint_chain(services, number, backend)
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        yield f"-A {chain} -m comment --comment \"{name} -> {backend}:{TARGET_PORT}\" {chance}-j {target}"
        yield f"-A {target} -s {backend}/32 -m comment --comment \"{name}\" -j KUBE-MARK-MASQ"
        yield (f"-A {target} -p {protocol} -m comment --comment \"{name}\" -m {protocol} "
               f"-j DNAT --to-destination {backend}:{TARGET_PORT}")


def iptables_change(services: Services, number: int, added: str) -> Iterator[str]:
    """Input of iptables-restore --noflush when a service gets an endpoint: its chains anew, no other."""
    backends = [*services.backends(number), added]
    yield "*nat"
    yield f":{service_chain(services, number)} - [0:0]"
    for address in backends:
        yield f":{endpoint_chain(services, number, address)} - [0:0]"
    yield from iptables_endpoints(services, number, backends)
    yield "COMMIT"


def service_chain(services: Services, number: int) -> str:
    return "KUBE-SVC-" + digest(service_name(number), services.protocol)


def external_chain(services: Services, number: int) -> str:
    return "KUBE-EXT-" + digest(service_name(number), services.protocol)


def endpoint_chain(services: Services, number: int, address: str) -> str:
    return "KUBE-SEP-" + digest(service_name(number), services.protocol, address)


# ---- nftables ----

# What the kernel takes for the chains of one transaction grows with their square; elements are cheap.
CHAINS_OF_SERVICES_PER_TRANSACTION = 2000
SERVICES_PER_TRANSACTION = 20_000


def nftables_transactions(services: Services) -> Iterator[str]:
    """Inputs of nft -f, in this order. The hooks come last: what nothing leads to yet is not validated every time."""
    node_port = f"{services.protocol} . {NODE_PORT} : goto external-{nft_name(services, 0)}"
    yield "\n".join([
        "table ip kube-proxy {",
        "  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }",
        "  map service-nodeports { type inet_proto . inet_service : verdict; }",
        "  chain mark-for-masquerade { meta mark set meta mark or 0x4000; }",
        "  chain masquerading { meta mark and 0x4000 == 0 return; meta mark set meta mark xor 0x4000; "
        "masquerade fully-random; }",
        "  chain nodeports { fib daddr type local meta l4proto . th dport vmap @service-nodeports; }",
        "  chain services { ip daddr . meta l4proto . th dport vmap @service-ips; jump nodeports; }",
        "}"])
    for numbers in parts(services.count, CHAINS_OF_SERVICES_PER_TRANSACTION):
        yield "\n".join(["table ip kube-proxy {",
                         *(line for number in numbers for line in nft_chains(services, number)), "}"])
    for numbers in parts(services.count, SERVICES_PER_TRANSACTION):
        elements = ", ".join(f"{services.frontend(number)} . {services.protocol} . {SERVICE_PORT} : "
                             f"goto {nft_chain(services, number)}" for number in numbers)
        yield f"add element ip kube-proxy service-ips {{ {elements} }}"
    if services.node_port:
        yield f"add element ip kube-proxy service-nodeports {{ {node_port} }}"
    yield "\n".join([
        "table ip kube-proxy {",
        "  chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; jump services; }",
        "  chain nat-output { type nat hook output priority -100; policy accept; jump services; }",
        "  chain nat-postrouting { type nat hook postrouting priority srcnat; policy accept; jump masquerading; }",
        "}"])


def parts(count: int, size: int) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def nft_chains(services: Services, number: int) -> Iterator[str]:
    name, backends = nft_name(services, number), services.backends(number)
    for backend in backends:
        yield nft_endpoint(services, number, backend)
    yield nft_service(services, number, backends)
    if services.node_port and number == 0:
        yield f"  chain external-{name} {{ jump mark-for-masquerade; goto {nft_chain(services, number)}; }}"


def nft_endpoint(services: Services, number: int, backend: str) -> str:
    return (f"  chain {nft_endpoint_chain(services, number, backend)} {{ ip saddr {backend} jump mark-for-masquerade; "
            f"meta l4proto {services.protocol} dnat to {backend}:{TARGET_PORT}; }}")


def nft_service(services: Services, number: int, backends: list[str]) -> str:
    verdicts = ", ".join(f"{k} : goto {nft_endpoint_chain(services, number, backend)}"
                         for k, backend in enumerate(backends))
    return (f"  chain {nft_chain(services, number)} {{ ip daddr {services.frontend(number)} {services.protocol} dport "
            f"{SERVICE_PORT} ip saddr != {PODS} jump mark-for-masquerade; "
            f"numgen random mod {len(backends)} vmap {{ {verdicts} }}; }}")


def nftables_change(services: Services, number: int, added: str) -> str:
    """Input of nft -f when a service gets an endpoint: a chain more, and the chain of the service anew."""
    return "\n".join(["table ip kube-proxy {", nft_endpoint(services, number, added), "}",
                      f"flush chain ip kube-proxy {nft_chain(services, number)}",
                      "table ip kube-proxy {",
                      nft_service(services, number, [*services.backends(number), added]), "}"])


def nft_endpoint_chain(services: Services, number: int, backend: str) -> str:
    return f"endpoint-{nft_name(services, number)}__{backend}/{TARGET_PORT}"


def nft_name(services: Services, number: int) -> str:
    return f"{digest(service_name(number))[:8]}-default/s{number}/{services.protocol}/p"


def nft_chain(services: Services, number: int) -> str:
    return f"service-{nft_name(services, number)}"
