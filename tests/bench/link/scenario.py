"""What a measurement is made of: the work a system is set up for, the traffic it gets, what is read off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

from network import ENDPOINTS, Link, Tunnel, nth, service_address, span

Json = Any
# Their latencies are compared, so both are also measured at half of the lower of their loss-free rates.
LATENCY_PAIR = ("sluice", "testpmd-macswap")


@dataclass(frozen=True)
class Route:
    destination: str
    link: Link
    tunnel: Tunnel | None = None  # on that link


@dataclass(frozen=True)
class Services:
    """`count` services with consecutive addresses; service k has the k-th block of `endpoints` addresses."""

    count: int = 10
    endpoints: int = 4
    pool: str = ENDPOINTS
    node_port: bool = False  # the first service has one, and its clients are outside of the cluster
    protocol: str = "udp"

    def frontend(self, number: int) -> str:
        return service_address(number)

    def backends(self, number: int) -> list[str]:
        return [nth(self.pool, 1 + number * self.endpoints + k) for k in range(self.endpoints)]

    def all_backends(self) -> str:
        return span(nth(self.pool, 1), self.count * self.endpoints)


@dataclass(frozen=True)
class Work:
    """What every system is configured to do, in its own language."""

    routes: tuple[Route, ...]
    family: int = 4
    services: Services | None = None
    connections: int = 0  # most that are open at a time
    udp_timeout: int = 120  # seconds
    tcp_time_wait: int = 120  # seconds that a closed connection is remembered
    workers: int = 1


@dataclass(frozen=True)
class Traffic:
    """Streams for the generator, and how long they run. `streams` makes the profile's list; see trafgen.md."""

    streams: Callable[[], list[Json]]
    fill: float = 0.0  # seconds until every flow is open, or as many go as come; never shortened
    warmup: float = 1.0  # seconds after that, before the measured ones
    duration: float = 3.0
    shortest: float = 0.0  # seconds that are measured at the least, whatever the speed


@dataclass(frozen=True)
class Scenario:
    name: str
    group: str  # scenarios of a group share a table
    title: str
    x: float  # place in the plot
    work: Work
    traffic: Traffic
    systems: tuple[str, ...]
    measure: str = "throughput"  # or "opened" (new flows), "connections", "latency", "memory"
    label: str = ""  # of its row; empty: the title
    owner: int | None = None  # only flows that this worker owns are measured; all are opened before
    quick: bool = False  # part of `scripts/bench quick`
    set: str = ""  # those that can be left out together, whatever their group: --only '!frames'

    @property
    def row(self) -> str:
        return self.label or self.title
