"""Pods on virtio-user: DPDK's vhost-user driver at the router's end, named by hand, and its virtio-user at the pod's."""

from __future__ import annotations

import shutil

import pytest

import pods
import trafgen
from netns import Lab, Process, wait_until
from probes import ping, ping_loss
from router import Options
from test_pods_memif import MemifPod, echoes, start_documented_testpmd


class VirtioPod(MemifPod):
    def __init__(self, node: pods.PodNode, name: str, number: int):
        super().__init__(node, name)
        self.socket = node.lab.directory / "virtio" / f"{name}.sock"
        self.socket.parent.mkdir(exist_ok=True)
        self.device = f"net_vhost{number},iface={self.socket}"

    def start_dpdk(self) -> Process:
        return self.node.lab.start(
            trafgen.command("--port", f"net_virtio_user0,path={self.socket},mac={self.mac}", "--reflect", "swap",
                            "--warmup", "0", "--wait-link", "20", "--duration", "600"), f"dpdk-{self.name}")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pod_on_virtio_user_comes_and_goes_beside_others(lab: Lab, workers: int) -> None:
    node = pods.one_node(lab, Options(workers=workers))
    first, second = node.pod("first"), node.pod("second")
    ping(first.namespace, second.address)
    steady = first.namespace.start("ping", "-n", "-q", "-i", "0.01", second.address, name="steady")
    pod = VirtioPod(node, "virtio", 0).attach()
    for _ in range(3):
        program = pod.start_dpdk()
        pod.wait_up()
        wait_until(lambda: echoes(first, pod, 1) == 1, 5, program.stderr)
        assert echoes(first, pod, 20) == 20
        program.signal(9)
        program.wait(5)
        pod.wait_down()
    pod.delete()
    assert node.interface(pod.port) is None
    again = VirtioPod(node, "virtio", 0).attach()
    program = again.start_dpdk()
    again.wait_up()
    wait_until(lambda: echoes(second, again, 1) == 1, 5, program.stderr)
    assert echoes(second, again, 20) == 20
    again.delete()
    assert ping_loss(first.namespace, second.address, 3, 0.1) == 0
    program.signal(9)
    steady.signal(2)
    steady.wait(5)
    assert " 0% packet loss" in steady.stdout(), steady.stdout()
    assert node.router.stop() == 0


@pytest.mark.skipif(shutil.which("dpdk-testpmd") is None, reason="dpdk-testpmd is not installed")
def test_testpmd_as_the_manual_has_it(lab: Lab) -> None:
    node = pods.one_node(lab)
    other = node.pod("other")
    pod = VirtioPod(node, "fast", 0)
    pod.mac = "02:00:0a:f4:c8:0a"
    pod.attach()
    program = start_documented_testpmd(lab, "net_virtio_user0", "/run/sluice/virtio", pod.socket.parent)
    wait_until(lambda: pod.is_up() or not program.running(), 15, "the link", 0.1)
    assert pod.is_up(), program.stdout() + program.stderr()
    wait_until(lambda: ping_loss(other.namespace, pod.address, 1, 0.1) == 0, 10, "it forwards a while after that", 0.2)
