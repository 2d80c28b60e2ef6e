"""Two gateways with the same services behind an ECMP route: what becomes of connections when one of them dies."""

from __future__ import annotations

from collections import Counter

import pytest

from gateways import DIRECT, GATEWAYS, MASQUERADED, PORT, Connection, Gateways
from netns import Lab, wait_until
from router import Options, Router

CONNECTIONS = 100


@pytest.fixture
def gateways(lab: Lab, workers: int) -> Gateways:
    return Gateways(lab, Options(workers=workers)).start()


def flows_to(router: Router, address: str) -> int:
    return len(router.flows(dst=address, dport=PORT))


def alive(connections: list[Connection]) -> int:
    return sum(connection.alive() for connection in connections)


def test_SVC21_BGP11_CT7_connections_survive_the_death_of_a_gateway(gateways: Gateways,
                                                                    record_property: pytest.FixtureRequest) -> None:
    first, second = (gateways.routers[name] for name in GATEWAYS)
    direct = gateways.connect(DIRECT, CONNECTIONS)
    other = gateways.connect(MASQUERADED, CONNECTIONS)
    assert len(Counter(connection.server for connection in direct)) == 3, "every pod has some"
    shares = {address: [flows_to(router, address) for router in (first, second)] for address in (DIRECT, MASQUERADED)}
    for share in shares.values():
        assert sum(share) == CONNECTIONS and min(share) > CONNECTIONS // 5, shares
    assert alive(direct) == alive(other) == CONNECTIONS

    first.process.signal(9)
    first.process.wait(5)
    gateways.route_by("gw2")
    assert alive(direct) == CONNECTIONS, "none that needs no masquerade may break"
    for connection in other:
        connection.socket.settimeout(1)
    lost = CONNECTIONS - alive(other)
    record_property("masqueraded_lost", f"{lost} of {CONNECTIONS}, of which {shares[MASQUERADED][0]} went by the dead one")
    assert lost == shares[MASQUERADED][0], "those of the other gateway do not notice"
    assert flows_to(second, DIRECT) == CONNECTIONS

    # It comes back from what it has kept, and takes its share over again.
    first.start()
    gateways.route_by(*GATEWAYS)
    assert alive(direct) == CONNECTIONS
    wait_until(lambda: flows_to(first, DIRECT) == shares[DIRECT][0], 5, "the connections to be back where they were")
    assert first.counters()["masqueraded"] == 0


def test_SVC21_both_choose_the_same_endpoint(gateways: Gateways) -> None:
    """The same client port by one gateway and by the other."""
    def server_by(gateway: str, port: int) -> str:
        gateways.route_by(gateway)
        connection = Connection(gateways.client, DIRECT, port)
        connection.reset()
        return connection.server

    for port in range(20000, 20020):
        assert server_by("gw1", port) == server_by("gw2", port)
