"""A cluster by BGP: pods everywhere, addresses of services that come, go and move, and a node that is lost and back."""

from __future__ import annotations

import os
import time

import pytest
from bgp_cluster import LINUX_POD, BgpCluster
from gateways import CLIENT, Connection
from netns import Lab, Namespace, wait_until
from test_host import answers

LOCAL, SHARED, DIRECT, MASQUERADED = (f"203.0.113.{number}" for number in (1, 2, 3, 4))
CONNECTIONS = 100
ROUNDS = int(os.environ.get("SLUICE_BGP_ROUNDS", "1"))
pytestmark = pytest.mark.parametrize("number", range(ROUNDS), ids=lambda number: f"round{number + 1}")


def reaches(namespace: Namespace, address: str) -> None:
    wait_until(lambda: answers(namespace, address), 5, f"{address} to answer {namespace.name}")


def test_BGP8_pods_everywhere_and_a_node_lost_and_back(lab: Lab, number: int) -> None:
    cluster = BgpCluster(lab).start()
    pods = {name: cluster.pod(name) for name in cluster.gateways}
    everywhere = {LINUX_POD: cluster.linux_pod, **{pod.address: pod.namespace for pod in pods.values()}}
    for namespace in (cluster.client, *everywhere.values()):
        for address in (*everywhere, CLIENT):
            if namespace is not everywhere.get(address) and not (address == CLIENT and namespace is cluster.client):
                reaches(namespace, address)

    # BGP-4: an address with policy Local is where its endpoint is.
    cluster.balance("local", 1, LOCAL, [(pods["gw1"].address, "gw1")], policy="Local")
    cluster.wait_for_ways(LOCAL, "gw1")
    assert cluster.answering(LOCAL) == "gw1-pod"
    cluster.balance("local", 1, LOCAL, [(pods["gw2"].address, "gw2")], policy="Local")
    cluster.wait_for_ways(LOCAL, "gw2")
    assert cluster.answering(LOCAL) == "gw2-pod"
    cluster.balance("local", 1, LOCAL, [(LINUX_POD, "linux")], policy="Local")
    cluster.wait_for_ways(LOCAL)

    # With policy Cluster it is at both, also for an endpoint of the node without sluice.
    cluster.balance("shared", 2, SHARED, [(LINUX_POD, "linux")])
    cluster.wait_for_ways(SHARED, "gw1", "gw2")
    assert {cluster.answering(SHARED) for _ in range(8)} == {"linux-pod"}

    # A node is lost: its block, its address.
    lost = cluster.gateways["gw1"]
    cluster.net.ip("link set dev to-gw1 down")
    cluster.wait_for_ways(SHARED, "gw2")
    wait_until(lambda: lost.block not in cluster.upstream_bird.routes() | cluster.linux_bird.routes(), 20, cluster.report)
    assert cluster.answering(SHARED) == "linux-pod"
    reaches(pods["gw2"].namespace, LINUX_POD)
    # And back.
    cluster.net.ip("link set dev to-gw1 up")
    wait_until(cluster.settled, 60, cluster.report)
    cluster.wait_for_ways(SHARED, "gw1", "gw2")
    reaches(cluster.client, pods["gw1"].address)
    reaches(pods["gw1"].namespace, LINUX_POD)


def test_BGP11_CT7_connections_survive_the_death_of_a_gateway(lab: Lab, number: int, record_property) -> None:
    cluster = BgpCluster(lab).start()
    first, second = cluster.gateways.values()
    endpoint = [(cluster.pod("gw2").address, "gw2")]
    cluster.balance("direct", 3, DIRECT, endpoint, forwarding="dsr")
    cluster.balance("masqueraded", 4, MASQUERADED, endpoint)
    for address in (DIRECT, MASQUERADED):
        cluster.wait_for_ways(address, "gw1", "gw2")
    connections = {address: [Connection(cluster.client, address) for _ in range(CONNECTIONS)]
                   for address in (DIRECT, MASQUERADED)}
    shares = {address: len(first.router.flows(dst=address)) for address in connections}
    assert all(CONNECTIONS // 5 < share < CONNECTIONS * 4 // 5 for share in shares.values()), shares

    # BFD notices; until then what went by gw1 waits for its retransmissions.
    first.router.process.signal(9)
    began = time.monotonic()
    first.router.process.wait(5)
    cluster.wait_for_ways(DIRECT, "gw2")
    noticed = time.monotonic() - began
    alive = {address: sum(connection.alive() for connection in some) for address, some in connections.items()
             if address == DIRECT}
    assert alive[DIRECT] == CONNECTIONS, "none that needs no masquerade may break"
    for connection in connections[MASQUERADED]:
        connection.socket.settimeout(1)
    lost = CONNECTIONS - sum(connection.alive() for connection in connections[MASQUERADED])
    # Policy Cluster with the endpoint on gw2: what gw2 has itself is not masqueraded towards another node.
    assert lost <= shares[MASQUERADED], shares
    told = (f"noticed after {noticed:.1f} s; of {CONNECTIONS} each, direct server return lost "
            f"{CONNECTIONS - alive[DIRECT]}, masqueraded {lost} ({shares[MASQUERADED]} went by the dead gateway)")
    record_property("connections", told)
    print(told)

    # Its pod's interface is as it was; the gateway takes its share over again.
    first.router.start()
    cluster.wait_for_ways(DIRECT, "gw1", "gw2", seconds=60)
    assert all(connection.alive() for connection in connections[DIRECT])
    assert second.router.alive()
