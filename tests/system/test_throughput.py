"""TCP at full speed through tunnels and services: no wrong checksum, no stall, every byte right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

import cluster as lab
from cluster import Cluster
from netns import Process, wait_until
from objects import service_with_endpoints, with_items
from pod_server import write_pattern
from probes import checksum_errors, iperf, listening

IPERF, IPERF_LOAD_BALANCER = "10.96.7.52", "203.0.113.52"


@pytest.fixture
def iperf_server(cluster: Cluster) -> Iterator[Process]:
    """An iperf3 server in web-1a, behind a service of both routers."""
    pod = lab.PODS["web-1a"]
    more = service_with_endpoints("iperf", IPERF, 5201, 5201, [(pod.address, pod.node)], IPERF_LOAD_BALANCER)
    cluster.gateway.apply(with_items(cluster.gateway_document, *more))
    cluster.second.apply(with_items(cluster.node2_document, *more))
    server = cluster.pod("web-1a").start("iperf3", "--server")
    wait_until(lambda: listening(cluster.pod("web-1a"), 5201), 5, "iperf3")
    yield server
    server.stop()


@pytest.mark.changes_config
@pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
@pytest.mark.parametrize(("source", "address"), [
    ("client", IPERF_LOAD_BALANCER), ("web-2a", IPERF), ("web-2a", lab.PODS["web-1a"].address), ("web-1b", IPERF)])
def test_CSUM4_stream_through_tunnels_and_services(cluster: Cluster, iperf_server: Process, source: str, address: str,
                                                   reverse: bool) -> None:
    namespaces = [cluster.client, cluster.node1, *cluster.pods.values()]
    errors = checksum_errors(*namespaces)
    moved = iperf(cluster.client if source == "client" else cluster.pod(source), address, reverse=reverse)
    assert moved.stalled_seconds == 0, moved
    assert moved.megabits > 20, moved
    assert checksum_errors(*namespaces) == errors


@pytest.mark.parametrize("size", [1, 1447, 1 << 20, 16 << 20])
def test_download_and_upload_are_byte_exact(cluster: Cluster, size: int) -> None:
    url = f"http://{lab.LOAD_BALANCER}"
    digest = hashlib.sha256()
    write_pattern(digest.update, size)
    done = cluster.client.run("bash", "-o", "pipefail", "-c", f"curl -sS --max-time 30 {url}/bytes/{size} | sha256sum",
                              timeout=40)
    assert done.stdout.split()[0] == digest.hexdigest()
    done = cluster.client.run("bash", "-o", "pipefail", "-c",
                              f"head -c {size} /dev/zero | curl -sS --max-time 30 --data-binary @- {url}/", timeout=40)
    assert json.loads(done.stdout)["bytes"] == size
    assert json.loads(done.stdout)["sha256"] == hashlib.sha256(bytes(size)).hexdigest()


def test_MTU6_replies_of_a_pod_with_a_large_mtu_are_told(cluster: Cluster) -> None:
    """A pod whose own MTU is too large for the tunnel learns the path's from the node, and the stream goes on."""
    pod, node = cluster.pod("web-1b"), cluster.node1
    pod.ip("link set eth0 mtu 1500")
    node.ip(f"link set {lab.PODS['web-1b'].port} mtu 1500")
    try:
        size = 1 << 20
        target = f"http://{lab.PODS['web-1b'].address}:8080/bytes/{size}"
        done = cluster.pod("web-2a").run("bash", "-c", f"curl -sS --max-time 20 {target} | wc -c", timeout=30)
        assert int(done.stdout) == size
    finally:
        node.ip(f"link set {lab.PODS['web-1b'].port} mtu {lab.VXLAN_MTU}")
        pod.ip(f"link set eth0 mtu {lab.VXLAN_MTU}")
