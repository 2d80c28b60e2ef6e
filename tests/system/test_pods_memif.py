"""Pods on memif: attached and detached through the API while others talk, with DPDK's driver and a client of our own at
the other end, ended in every way there is."""

from __future__ import annotations

import array
import contextlib
import json
import os
import pwd
import random
import re
import shlex
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, IPv6, ICMPv6NDOptSrcLLAddr

import pods
import trafgen
from frames import ARP, ICMP, IP, UDP, Ether, Packet, Raw
from memif import Memif, Refused
from netns import Lab, Process, execute, wait_until
from probes import ping, ping_loss, ping_says
from router import PROJECT, SLUICECTL, Json, Options, Reply

ROUNDS = 20
DEATHS = 5
ECHO_PORT = 7007


class MemifPod:
    def __init__(self, node: pods.PodNode, name: str, arguments: str = ""):
        number = len(node.pods) + 2
        node.pods.append(self)
        self.node = node
        self.name = name
        self.device = f"memif,socket={name}"
        self.arguments = arguments
        self.address = f"10.244.{node.index}.{number}"
        self.address6 = f"fd00:244:0:{node.index}::{number:x}"
        self.mac = f"02:00:00:00:{node.index:02x}:{number:02x}"
        self.folder = node.lab.directory / "pods" / name
        self.socket = self.folder / "memif.sock"
        self.path = f"/v1/WorkloadEndpoint/default/{name}"
        self.port = f"default/{name}"

    def endpoint(self) -> Json:
        return {"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint",
                "metadata": {"namespace": "default", "name": self.name,
                             "annotations": {"sluice.dev/device": self.device + self.arguments}},
                "spec": {"node": self.node.name, "pod": self.name, "mac": self.mac,
                         "ipNetworks": [f"{self.address}/32", f"{self.address6}/128"]}}

    def put(self) -> Reply:
        reply = self.node.router.request("PUT", self.path, json.dumps(self.endpoint()))
        assert reply.status == 200, reply.text
        return reply

    def attach(self) -> "MemifPod":
        self.put()
        wait_until(self.socket.exists, 3, "the socket")
        return self

    def delete(self) -> None:
        reply = self.node.router.request("DELETE", self.path)
        assert reply.status == 200, reply.text

    def is_up(self) -> bool:
        entry = self.node.interface(self.port)
        return entry is not None and entry["linkUp"]

    def wait_up(self) -> None:
        wait_until(self.is_up, 8, lambda: f"the link of {self.name}: {self.node.router.status()}", 0.05)

    def wait_down(self) -> None:
        wait_until(lambda: not self.is_up(), 5, "the link to be down", 0.05)

    @contextlib.contextmanager
    def connected(self, **how: Json) -> Iterator[Memif]:
        with Memif(self.socket, **how) as peer:
            self.wait_up()
            yield peer

    def start_dpdk(self) -> Process:
        """A program of DPDK with its own driver, which sends back what it gets."""
        return self.node.lab.start(
            trafgen.command("--port", trafgen.memif(0, self.socket, "client") + f",mac={self.mac}", "--reflect", "swap",
                            "--warmup", "0", "--wait-link", "20", "--duration", "600"), f"dpdk-{self.name}")

    def to(self, address: str) -> Packet:
        gateway = Ether(src=self.mac, dst=pods.GATEWAY_MAC)
        if ":" in address:
            return gateway / IPv6(src=self.address6, dst=address)
        return gateway / IP(src=self.address, dst=address)


def memif_options(lab: Lab, workers: int = 1, *more: str) -> Options:
    return Options(workers=workers, extra=("--pod-sockets", str(lab.directory / "pods"), *more))


def admitted(pod: MemifPod) -> Memif:
    """A pod that comes behind a storm: until it is its turn there is no room at the socket."""
    def try_again() -> Memif | None:
        with contextlib.suppress(OSError, Refused):
            return Memif(pod.socket)
        return None
    peer = wait_until(try_again, 10, "a place at the socket", 0.1)
    pod.wait_up()
    return peer


def echoes(source: pods.Pod, target: MemifPod, count: int) -> int:
    """Datagrams that come back, each asked for once."""
    got = 0
    with source.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.bind(("", 0))
        asker.settimeout(1)
        for index in range(count):
            asker.sendto(b"%d" % index, (target.address, ECHO_PORT))
            with contextlib.suppress(TimeoutError):
                got += asker.recv(100) == b"%d" % index
    return got


def reasons(node: pods.PodNode, name: str) -> list[str]:
    events = node.router.get("/v1/events?follow=false&types=link")["events"]
    return [event["reason"] for event in events if event["object"] == name]


def descriptors(node: pods.PodNode) -> int:
    return len(list(Path(f"/proc/{router_pid(node)}/fd").iterdir()))


def router_pid(node: pods.PodNode) -> int:
    """Of sluiced itself: `ip netns exec` becomes it."""
    return node.router.process.pid


@pytest.mark.parametrize("workers", [1, 2])
def test_ARP1_ARP3_SPOOF1_a_pod_on_memif_and_one_at_a_veth_pair(lab: Lab, workers: int) -> None:
    node = pods.one_node(lab, memif_options(lab, workers))
    other = node.pod("other")
    pod = MemifPod(node, "shared", ",id=3,mtu=1400,secret=sesame").attach()
    entry = node.interface(pod.port)
    assert entry["waitingForDevice"] and not entry["linkUp"] and entry["mtu"] == 1400
    assert entry["device"] == "memif,socket=shared" and "sesame" not in json.dumps(node.router.status())
    with pod.connected(interface=3, secret="sesame") as peer:
        assert not node.interface(pod.port).get("waitingForDevice")
        answer = peer.ask(Ether(src=pod.mac, dst="ff:ff:ff:ff:ff:ff")
                          / ARP(hwsrc=pod.mac, psrc=pod.address, pdst=pods.GATEWAY), lambda frame: ARP in frame)
        assert (answer[ARP].op, answer[ARP].hwsrc) == (2, pods.GATEWAY_MAC)
        asked = (Ether(src=pod.mac, dst="33:33:ff:ee:ee:ee") / IPv6(src="fe80::1", dst="ff02::1:ffee:eeee", hlim=255)
                 / ICMPv6ND_NS(tgt=pods.GATEWAY6) / ICMPv6NDOptSrcLLAddr(lladdr=pod.mac))
        answer = peer.ask(asked, lambda frame: ICMPv6ND_NA in frame)
        assert answer[ICMPv6ND_NA].tgt == pods.GATEWAY6 and answer.src == pods.GATEWAY_MAC
        for _ in range(3):
            peer.ask(pod.to(other.address) / ICMP(id=77) / Raw(b"x" * 900))
            peer.ask(pod.to(other.address6) / ICMPv6EchoRequest(id=78), lambda frame: ICMPv6EchoReply in frame)

        # The other way: the veth pod asks, and what it asked is answered here.
        asker = other.namespace.start("ping", "-n", "-c", "1", "-W", "5", pod.address)

        def request() -> Packet | None:
            frame = peer.receive()
            return frame if frame is not None and ICMP in frame and frame[ICMP].type == 8 else None

        came = wait_until(request, 5, "the other pod's ping")
        assert came.src == pods.GATEWAY_MAC and came.dst == pod.mac and came[IP].ttl == 63
        back = came[IP].copy()
        peer.send(Ether(src=pod.mac, dst=pods.GATEWAY_MAC)
                  / IP(src=pod.address, dst=other.address) / ICMP(type=0, id=back[ICMP].id, seq=back[ICMP].seq)
                  / bytes(back[ICMP].payload))
        assert asker.wait(8) == 0, asker.stdout()

        before = node.router.drops()["spoofed_source"]
        for source in ("10.244.1.77", other.address, "169.254.9.9"):
            peer.send(Ether(src=pod.mac, dst=pods.GATEWAY_MAC) / IP(src=source, dst=other.address) / UDP(dport=9))
        wait_until(lambda: node.router.drops()["spoofed_source"] == before + 3, 3, "foreign sources to be dropped")

        told = ping_says(other.namespace, pod.address, "-M", "do", "-s", "1380", "-W", "1")
        assert re.search(r"mtu ?= ?1400", told), told
        entry = node.interface(pod.port)
        assert entry["rxPackets"] >= 10 and entry["txPackets"] >= 8
        assert f'"{pod.port}"' in node.router.request("GET", "/metrics").text
        explained = node.router.control("explain", "--from", pod.address, "--to", f"{other.address}:80").stdout
        assert "forwarded" in explained and pod.port in explained, explained
        trace = lab.start([str(SLUICECTL), "--socket", str(node.router.socket), "trace", "-c", "1", "--seconds", "5",
                           f"src host {pod.address}"], "trace")

        def traced() -> bool:
            peer.send(pod.to(other.address) / UDP(sport=5, dport=9))
            return not trace.running()

        wait_until(traced, 8, "a traced packet", 0.1)
        assert pod.port in trace.stdout(), trace.stdout() + trace.stderr()
    pod.wait_down()
    assert node.interface(pod.port)["waitingForDevice"]
    wait_until(lambda: reasons(node, pod.port)[-2:] == ["LinkUp", "LinkDown"], 3, lambda: str(reasons(node, pod.port)))
    with pytest.raises(Refused, match="another secret"):
        Memif(pod.socket, interface=3, secret="wrong").close()
    wait_until(lambda: reasons(node, pod.port)[-1] == "AttachFailed", 3, lambda: str(reasons(node, pod.port)))
    with pod.connected(interface=3, secret="sesame") as peer:
        peer.ask(pod.to(other.address) / ICMP(id=79))
    pod.delete()
    wait_until(lambda: not pod.folder.exists(), 3, "the pod's folder to go")
    ping(other.namespace, "192.168.0.100")
    assert node.router.stop() == 0


def start_documented_testpmd(lab: Lab, driver: str, folder: str, own: Path) -> Process:
    """The command of the manual, with another folder of sockets."""
    manual = (PROJECT / "docs" / "operations.md").read_text()
    command = next(found for found in re.findall(r"^dpdk-testpmd .*?(?=^```)", manual, re.M | re.S) if driver in found)
    assert f"{folder}/" in command
    terminal = lab.directory / "terminal"  # whose input does not end
    os.mkfifo(terminal)
    return lab.start(["sh", "-c", f"exec {command.replace(folder, str(own)).strip()} <>{terminal}"], "testpmd")


@pytest.mark.skipif(shutil.which("dpdk-testpmd") is None, reason="dpdk-testpmd is not installed")
def test_testpmd_as_the_manual_has_it(lab: Lab) -> None:
    node = pods.one_node(lab, memif_options(lab))
    other = node.pod("other")
    pod = MemifPod(node, "fast").attach()
    program = start_documented_testpmd(lab, "net_memif0", "/run/sluice/pods", pod.folder.parent)
    wait_until(lambda: pod.is_up() or not program.running(), 15, "the link", 0.1)
    assert pod.is_up(), program.stdout() + program.stderr()
    ping(other.namespace, pod.address)
    assert node.router.drops()["spoofed_source"] == 0


def test_dpdk_pods_come_and_go_while_others_talk(lab: Lab) -> None:
    node = pods.one_node(lab, memif_options(lab))
    first, second = node.pod("first"), node.pod("second")
    ping(first.namespace, second.address)
    pod = MemifPod(node, "dpdk")
    opened = descriptors(node)
    buffers = node.router.mbufs_in_use()
    steady = first.namespace.start("ping", "-n", "-q", "-i", "0.005", second.address, name="steady")
    for index in range(ROUNDS):
        program = pod.attach().start_dpdk()
        pod.wait_up()
        assert echoes(second, pod, 20) == 20, f"round {index}: {program.stderr()}"
        if index % 2 == 0:
            program.signal(9)
            program.wait(5)
            pod.delete()
        else:
            pod.delete()
            program.signal(9)
            program.wait(5)
    steady.signal(2)
    assert steady.wait(5) == 0
    sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", steady.stdout()).groups())
    # One packet for each change would be several times as many; a loaded machine may lose some by itself.
    assert sent > 100 and sent - received <= 1 + sent // 1000, f"{received} of {sent}"
    assert sorted(entry["name"] for entry in node.router.status()["interfaces"]) == \
        sorted(["uplink0", first.host_side, second.host_side])
    wait_until(lambda: node.router.mbufs_in_use() <= buffers + 16, 5, "all packet buffers to come back")
    # The folder and the thread's bell stay open.
    wait_until(lambda: descriptors(node) <= opened + 2, 5, lambda: f"descriptors: {descriptors(node)}, before {opened}")
    assert node.router.stop() == 0


def test_a_pod_that_is_killed_under_a_flood_comes_back(lab: Lab) -> None:
    node = pods.one_node(lab, memif_options(lab, 2))
    other, third = node.pod("other"), node.pod("third")
    pod = MemifPod(node, "dpdk").attach()
    pid = router_pid(node)
    stop = threading.Event()

    def flood() -> None:
        with other.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            while not stop.is_set():
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        sender.sendto(b"flood" * 100, (pod.address, ECHO_PORT))
                stop.wait(0.001)

    flooder = threading.Thread(target=flood, daemon=True)
    flooder.start()
    try:
        for _ in range(DEATHS):
            program = pod.start_dpdk()
            pod.wait_up()
            answered = node.interface(pod.port)["rxPackets"]
            wait_until(lambda: node.interface(pod.port)["rxPackets"] > answered + 1000, 10, "answers", 0.1)
            program.signal(9)
            program.wait(5)
            pod.wait_down()
            assert ping_loss(third.namespace, "192.168.0.100", 3, 0.1) == 0
    finally:
        stop.set()
        flooder.join(5)
    program = pod.start_dpdk()
    pod.wait_up()
    assert echoes(third, pod, 10) == 10
    assert node.router.alive() and router_pid(node) == pid
    # Detached under a program that goes on.
    pod.delete()
    assert ping_loss(third.namespace, "192.168.0.100", 3, 0.1) == 0
    program.signal(9)
    assert node.router.stop() == 0


def test_somebody_elses_socket_is_that_pods_trouble_alone(lab: Lab) -> None:
    node = pods.one_node(lab, memif_options(lab))
    other = node.pod("other")
    pod, neighbor = MemifPod(node, "taken"), MemifPod(node, "free")
    pod.folder.mkdir(mode=0o711)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as stranger:
        stranger.bind(str(pod.socket))
        stranger.listen(1)
        pod.put()
        neighbor.attach()
        wait_until(lambda: "AttachFailed" in reasons(node, pod.port), 4, "the event")
        warnings = node.router.status()["warnings"]
        assert any("default/taken" in text and "somebody else listens" in text for text in warnings), warnings
        with neighbor.connected() as peer:
            peer.ask(neighbor.to(other.address) / ICMP(id=5))


    def served() -> bool:
        with contextlib.suppress(OSError, Refused):
            Memif(pod.socket).close()
            return True
        return False

    # Its file is still there, and nobody behind it.
    wait_until(served, 5, "the socket to be the router's", 0.1)
    wait_until(lambda: not any("taken" in text for text in node.router.status()["warnings"]), 4, "no warning any more")
    with pod.connected() as peer:
        peer.ask(pod.to(other.address) / ICMP(id=6))


def test_as_another_user_and_over_a_restart(lab: Lab) -> None:
    nobody = pwd.getpwnam("nobody")
    lab.directory.chmod(0o711)
    node = pods.one_node(lab, memif_options(lab, 1, "--user", "nobody"))
    other = node.pod("other")
    early = MemifPod(node, "early").attach()
    for pod in (early, MemifPod(node, "late").attach()):
        about = pod.folder.stat()
        assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (nobody.pw_uid, 0o711)
        with pod.connected() as peer:
            peer.ask(pod.to(other.address) / ICMP(id=7))
    sockets = early.folder.parent.stat()
    assert (sockets.st_uid, stat.S_IMODE(sockets.st_mode)) == (nobody.pw_uid, 0o700)
    # Killed and started again as root, on what it remembers: the folder that a pod may have mounted is the same one.
    before = early.folder.stat().st_ino
    late = early.folder.parent / "late"
    node.router.process.signal(9)
    node.router.process.wait(5)
    (late / "memif.sock").unlink()
    late.rmdir()
    node.router.start()
    assert early.folder.stat().st_ino == before
    wait_until((late / "memif.sock").exists, 3, "a new folder for the other pod")
    assert late.stat().st_uid == nobody.pw_uid

    def again() -> bool:
        with contextlib.suppress(OSError, Refused), Memif(early.socket):
            early.wait_up()
            return True
        return False

    wait_until(again, 8, "the pod to connect to the router that was started again", 0.2)
    early.delete()
    wait_until(lambda: not early.folder.exists(), 3, "the folder to go, as that user")
    assert node.router.stop() == 0
    assert late.is_dir()


def test_whoever_was_given_the_folder_may_connect_and_nobody_else(lab: Lab) -> None:
    nobody = pwd.getpwnam("nobody")
    become = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    lab.directory.chmod(0o711)
    node = pods.one_node(lab, memif_options(lab))
    other = node.pod("other")
    pod = MemifPod(node, "given").attach()
    connect = f"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect({str(pod.socket)!r})"
    tried = execute(*become, "/usr/bin/python3", "-c", connect, check=False)
    assert "PermissionError" in tried.stderr, tried
    given, own = lab.directory / "given", lab.directory / "own"
    given.mkdir()
    own.mkdir()
    os.chown(own, nobody.pw_uid, nobody.pw_gid)
    (own / "memif.sock").symlink_to(given / "memif.sock")
    program = [*become, "env", f"XDG_RUNTIME_DIR={own}",
               *trafgen.command("--port", trafgen.memif(0, own / "memif.sock", "client") + f",mac={pod.mac}",
                                "--reflect", "swap", "--warmup", "0", "--wait-link", "20", "--duration", "600")]
    started = lab.start(["unshare", "--mount", "sh", "-c",
                         f"mount --bind {pod.folder} {given} && exec {shlex.join(program)}"], "given")
    wait_until(lambda: pod.is_up() or not started.running(), 10, lambda: started.stderr(), 0.1)
    assert pod.is_up(), started.stderr()
    assert echoes(other, pod, 5) == 5
    started.signal(9)


def test_a_storm_of_pods_that_mean_no_good(lab: Lab) -> None:
    node = pods.one_node(lab, memif_options(lab))
    first, second = node.pod("first"), node.pod("second")
    ping(first.namespace, second.address)
    pod, good = MemifPod(node, "bad").attach(), MemifPod(node, "good").attach()
    opened = descriptors(node)
    steady = first.namespace.start("ping", "-n", "-q", "-i", "0.01", second.address, name="steady")
    chance = random.Random(11)
    with good.connected() as peer, open("/dev/null", "rb") as file:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()] * 4))]
        for _ in range(150):
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as storm:
                storm.setblocking(False)
                with contextlib.suppress(OSError):
                    storm.connect(str(pod.socket))
                    for _ in range(chance.randrange(4)):
                        storm.sendmsg([chance.randbytes(chance.choice([0, 1, 128, 300]))],
                                      rights if chance.random() < 0.5 else [])
            if chance.random() < 0.1:
                peer.ask(good.to(first.address) / ICMP(id=chance.randrange(65536)))
        # Memory full of nonsense, by a pod that is let in.
        for _ in range(3):
            with admitted(pod) as bad:
                bad.memory[:8192] = chance.randbytes(8192)
                pod.wait_down()
            warnings = node.router.status()["warnings"]
            assert any("default/bad" in text and "makes no sense" in text for text in warnings), warnings
        peer.ask(good.to(first.address) / ICMP(id=9))
    steady.signal(2)
    assert steady.wait(5) == 0
    sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", steady.stdout()).groups())
    assert sent > 100 and sent - received <= 1 + sent // 100, f"{received} of {sent}"
    wait_until(lambda: descriptors(node) <= opened, 5, lambda: f"descriptors: {descriptors(node)}, before {opened}")
    with admitted(pod) as fresh:
        fresh.ask(pod.to(first.address) / ICMP(id=10))
    assert node.router.stop() == 0
