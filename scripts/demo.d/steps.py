"""What the demo shows. Each step sends real packets with curl, ping and tracepath, tells what became of them, and
raises AssertionError unless everything it says was seen."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable

import cluster as lab
from cluster import Cluster
from netns import wait_until
from pod_server import write_pattern
from probes import Answer, ask_udp, curl, expect, ping, tracepath
from report import Report
from router import Flow, Router

REQUESTS = 40


class Demo:
    def __init__(self, cluster: Cluster, report: Report):
        self.cluster = cluster
        self.report = report
        self.spread: dict[str, Counter[str]] = {}

    def run(self) -> None:
        for step in STEPS:
            self.report.step((step.__doc__ or "").strip())
            try:
                self.report.passed(step(self))
            except Exception as error:  # whatever it was: the step is not verified, and the next may be
                self.report.failed(str(error) or type(error).__name__)

    # ---- steps: the docstring is the title, the value what was verified ----

    def load_balancer(self) -> str:
        """Outside client to a LoadBalancer address, pods on both nodes"""
        return self.outside_service(lab.LOAD_BALANCER, 80, "LoadBalancer")

    def node_port(self) -> str:
        """Outside client to a NodePort of the gateway"""
        return self.outside_service(lab.GATEWAY, lab.NODE_PORT, "NodePort")

    def pod_to_pod(self) -> str:
        """Pod to pod on the other node: in by one tunnel, out by the other"""
        for here, there in (("web-1a", "web-2a"), ("web-2a", "web-1a")):
            target = lab.PODS[there].address
            answer = self.one(curl(self.cluster.pod(here), f"http://{target}:8080/"))
            self.report.packet(here, f"{answer.local} → {target}:8080")
            self.report.packet("gw", tunnels(here, there))
            self.report.packet(there, f"sees {answer.client}")
            expect(answer.client == answer.local, f"{there} sees {answer.client}, not {answer.local}")
            ping(self.cluster.pod(here), target)
        return "answered both ways, and no address was translated"

    def cluster_ip(self) -> str:
        """Pod to a ClusterIP: node2's router serves its own pods, the gateway those of plain Linux"""
        for pod, router in (("web-1a", self.cluster.gateway), ("web-2a", self.cluster.second)):
            answers = curl(self.cluster.pod(pod), f"http://{lab.WEB}/[1-{REQUESTS}]")
            self.show_translation(pod, router, answers[0], f"{lab.WEB}:80")
            self.count(f"ClusterIP, from {pod}", answers, REQUESTS)
        return f"{2 * REQUESTS} requests answered, all four pods touched from both nodes"

    def hairpin(self) -> str:
        """A pod reaches itself through a service"""
        for pod, address, router in (("web-1a", lab.MIRROR1, self.cluster.gateway),
                                     ("web-2a", lab.MIRROR2, self.cluster.second)):
            answer = self.one(curl(self.cluster.pod(pod), f"http://{address}/"))
            self.show_translation(pod, router, answer, f"{address}:80")
            expect(answer.pod == pod, f"{answer.pod} answered")
            own = lab.PODS[pod].address
            expect(not answer.client.startswith(own + ":"), f"{pod} saw its own address {own} as the client")
        return "both pods answered themselves, and saw the router as their client"

    def udp(self) -> str:
        """UDP through the same services: a datagram socket outside, one in a pod"""
        for name, namespace, address, port in (
                ("client", self.cluster.client, lab.LOAD_BALANCER, lab.ECHO_PORT),
                ("client", self.cluster.client, lab.GATEWAY, lab.ECHO_NODE_PORT),
                ("web-1b", self.cluster.pod("web-1b"), lab.ECHO, lab.ECHO_PORT),
                ("web-2b", self.cluster.pod("web-2b"), lab.ECHO, lab.ECHO_PORT)):
            reply = ask_udp(namespace, address, port)
            self.report.packet(name, f"UDP → {address}:{port}, answered by {reply['pod']}, who sees {reply['client']}")
        return "every datagram was answered from the address it was sent to"

    def no_endpoint(self) -> str:
        """A service without endpoints refuses at once"""
        for name, namespace, address, port in (
                ("client", self.cluster.client, lab.EMPTY_LOAD_BALANCER, 80),
                ("client", self.cluster.client, lab.GATEWAY, lab.EMPTY_NODE_PORT),
                ("web-1a", self.cluster.pod("web-1a"), lab.EMPTY, 80),
                ("web-2a", self.cluster.pod("web-2a"), lab.EMPTY, 80)):
            began = time.monotonic()
            done = namespace.run("curl", "-sv", "--max-time", "5", f"http://{address}:{port}/", check=False)
            milliseconds = (time.monotonic() - began) * 1000
            said = re.search(r"^\* (?:connect to .* failed|Immediate connect fail for .*?): (.*)", done.stderr, re.M)
            reason = said[1] if said else f"curl ended with {done.returncode}"
            self.report.packet(name, f"→ {address}:{port}  {reason}")
            expect(reason == "Connection refused", reason)
            expect(milliseconds < 1000, f"the refusal took {milliseconds:.0f} ms")
        return "connection refused within a second, everywhere (ICMP port unreachable from the service's address)"

    def nat_outgoing(self) -> str:
        """Pod to the world outside: behind the gateway's address"""
        for pod in ("web-1b", "web-2b"):
            answer = self.one(curl(self.cluster.pod(pod), f"http://{lab.CLIENT}:8080/"))
            self.show_translation(pod, self.cluster.gateway, answer, f"{lab.CLIENT}:8080")
            expect(answer.client.startswith(lab.GATEWAY + ":"), f"the outside sees {answer.client}")
        return f"the outside sees {lab.GATEWAY}"

    def path_mtu(self) -> str:
        """Path MTU through a tunnel"""
        for name, namespace, pod, mtu in (("client", self.cluster.client, "web-1a", lab.VXLAN_MTU),
                                          ("client", self.cluster.client, "web-2a", lab.IPIP_MTU),
                                          ("web-2b", self.cluster.pod("web-2b"), "web-1b", lab.VXLAN_MTU)):
            target = lab.PODS[pod].address
            namespace.forget_path_mtus()
            largest = 1500 if name == "client" else lab.IPIP_MTU
            said = namespace.run("ping", "-M", "do", "-s", str(largest - 28), "-c", "1", "-W", "2", target,
                                 check=False).stdout
            error = re.search(r"^From.*", said, re.M)
            expect(error is not None, f"no answer to a packet of {largest} bytes to {pod}:\n{said}")
            self.report.packet(name, f"ping of {largest} bytes to {pod}: {error[0]}")
            expect(f"mtu = {mtu}" in error[0].replace("mtu=", "mtu = "), f"expected mtu = {mtu}")
            ping(namespace, target, "-M", "do", "-s", str(mtu - 28))
            namespace.forget_path_mtus()
            found = tracepath(namespace, target)
            self.report.packet(name, f"tracepath to {pod}: {found.resume}")
            expect(found.mtu == mtu, f"tracepath found {found.mtu}, not {mtu}")
        return "ping and tracepath find 1450 behind VXLAN and 1480 behind IPIP"

    def hops(self) -> str:
        """Every router on the way is seen, and counts once"""
        for name, namespace, pod, hops in (("client", self.cluster.client, "web-1a", 3),
                                           ("client", self.cluster.client, "web-2a", 3),
                                           ("web-2a", self.cluster.pod("web-2a"), "web-1a", 4)):
            found = tracepath(namespace, lab.PODS[pod].address)
            self.report.packet(name, " → ".join(found.hops))
            expect(len(found.hops) == hops, f"{len(found.hops)} hops, not {hops}")
            expect(found.hops[-1] == lab.PODS[pod].address, f"the last hop is {found.hops[-1]}")
        said = self.cluster.client.run("ping", "-t", "1", "-c", "1", "-W", "2", lab.PODS["web-1a"].address,
                                       check=False).stdout
        expect(f"From {lab.GATEWAY}" in said and "Time to live exceeded" in said,
               f"a packet with TTL 1 was not answered by {lab.GATEWAY}:\n{said}")
        return "gateway, node and pod answer in turn"

    def download(self) -> str:
        """A big download and a big upload through the load balancer"""
        size = 32 << 20
        url = f"http://{lab.LOAD_BALANCER}"
        digest = hashlib.sha256()
        write_pattern(digest.update, size)
        began = time.monotonic()
        body = self.cluster.client.run("bash", "-c", f"curl -sS --max-time 30 {url}/bytes/{size} | sha256sum",
                                       timeout=40).stdout.split()[0]
        down = time.monotonic() - began
        expect(body == digest.hexdigest(), f"{size} bytes came with sha256 {body}, not {digest.hexdigest()}")
        began = time.monotonic()
        up = json.loads(self.cluster.client.run(
            "bash", "-c", f"head -c {size} /dev/zero | curl -sS --max-time 30 --data-binary @- {url}/",
            timeout=40).stdout)
        seconds = time.monotonic() - began
        expect(up["bytes"] == size and up["sha256"] == hashlib.sha256(bytes(size)).hexdigest(),
               f"{up['pod']} received {up['bytes']} of {size} bytes")
        return (f"{size >> 20} MiB down in {down:.1f} s and up in {seconds:.1f} s, "
                f"{2 * size * 8 / (down + seconds) / 1e6:.0f} Mbit/s, every byte right")

    # ---- what steps share ----

    def outside_service(self, address: str, port: int, kind: str) -> str:
        answers = curl(self.cluster.client, f"http://{address}:{port}/[1-{REQUESTS}]")
        for node, tunnel in (("node1", lab.GATEWAY_VXLAN), ("node2", lab.GATEWAY_IPIP)):
            answer = next((answer for answer in answers if lab.PODS[answer.pod].node == node), None)
            expect(answer is not None, f"no pod of {node} was asked")
            self.show_translation("client", self.cluster.gateway, answer, f"{address}:{port}")
            expect(answer.client.startswith(tunnel + ":"), f"{answer.pod} sees {answer.client}, not {tunnel}")
        self.count(kind, answers, REQUESTS)
        return f"{REQUESTS} requests answered by all four pods, which see the gateway's tunnel addresses"

    def show_translation(self, sender: str, router: Router, answer: Answer, destination: str) -> Flow:
        """Tells how `router` translated the exchange and checks that its flow says what both ends saw."""
        self.report.packet(sender, f"{answer.local} → {destination}")
        flow = self.find_flow(router, answer.local, destination)
        path = tunnel_to(router.name, answer.server)
        self.report.packet(router.name, f"{flow.reply_destination} → {flow.reply_source}{path}")
        self.report.packet(answer.pod, f"sees {answer.client}")
        if router is self.cluster.second and lab.PODS[answer.pod].node == "node1":
            expect(answer.client == answer.local, "a pod's address must stay as it is on the way to another pod")
        expect(flow.reply_source == answer.server, f"the flow's backend is {flow.reply_source}, not {answer.server}")
        expect(flow.reply_destination == answer.client,
               f"the flow's source is {flow.reply_destination}, but {answer.pod} sees {answer.client}")
        return flow

    @staticmethod
    def find_flow(router: Router, source: str, destination: str) -> Flow:
        def find() -> Flow | None:
            flows = router.flows(limit=5000)
            return next((flow for flow in flows if (flow.source, flow.destination) == (source, destination)), None)
        return wait_until(find, 2, f"{router.name} to show the flow {source} → {destination}")

    @staticmethod
    def one(answers: list[Answer]) -> Answer:
        expect(len(answers) == 1, f"{len(answers)} answers instead of one")
        return answers[0]

    def count(self, kind: str, answers: list[Answer], wanted: int) -> None:
        pods = Counter(answer.pod for answer in answers)
        self.spread[kind] = pods
        self.report.detail("  ".join(f"{pod} {pods[pod]}" for pod in lab.PODS))
        expect(len(answers) == wanted, f"{len(answers)} of {wanted} requests were answered")
        expect(set(pods) == set(lab.PODS), f"only {', '.join(sorted(pods))} answered")

    # ---- the end: tables ----

    def show_tables(self) -> None:
        self.report.heading("Requests per pod")
        self.report.table([["service", *lab.PODS],
                           *([kind, *(str(pods[pod]) for pod in lab.PODS)] for kind, pods in self.spread.items())])
        for router in self.cluster.routers:
            self.report.heading(f"{router.name}: sluicectl get flows (the first of many)")
            self.excerpt(router, "flows", 12)
            self.report.heading(f"{router.name}: sluicectl get counters")
            self.excerpt(router, "counters", 40)

    def excerpt(self, router: Router, what: str, lines: int) -> None:
        said = router.control("get", what, check=False)
        rows = (said.stdout or said.stderr).splitlines()
        for row in rows[:lines]:
            self.report.line(f"    {row}")
        if len(rows) > lines:
            self.report.aside(f"… and {len(rows) - lines} more lines")


STEPS: tuple[Callable[[Demo], str], ...] = (
    Demo.load_balancer, Demo.node_port, Demo.pod_to_pod, Demo.cluster_ip, Demo.hairpin, Demo.udp, Demo.no_endpoint,
    Demo.nat_outgoing, Demo.path_mtu, Demo.hops, Demo.download)


def tunnels(here: str, there: str) -> str:
    names = {"node1": "VXLAN", "node2": "IPIP"}
    return f"{names[lab.PODS[here].node]} off, {names[lab.PODS[there].node]} on"


def tunnel_to(router: str, server: str) -> str:
    """How the router sends to a server's address."""
    if router == "node2":
        local = server.split(":")[0] in (pod.address for pod in Cluster.pods_of("node2"))
        return "" if local else f", IPIP to {lab.GATEWAY_UNDERLAY}"
    if server.startswith("10.244."):
        return f", VXLAN {lab.VNI} to {lab.NODE1}"
    if server.startswith("10.245."):
        return f", IPIP to {lab.NODE2}"
    return ""
