#!/usr/bin/env python3
"""The control plane at the size of a large cluster: what a full document costs, what one change costs.

Starts build/control/sluiced on a null device, puts the same document as a List, as lines and compressed, and then lets
clients change one EndpointSlice per request, at a rate and for a time. Prints a table, with --json a file as well.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cluster import Cluster, delta  # noqa: E402

PROJECT = HERE.parents[2]
SLUICED = PROJECT / os.environ.get("SLUICE_BUILD", "build") / "control" / "sluiced"


class Client(http.client.HTTPConnection):
    def __init__(self, path: Path):
        super().__init__("localhost", timeout=120)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))

    def call(self, method: str, target: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        self.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = self.getresponse()
        return answer.status, answer.read()


@dataclass
class Measured:
    what: str
    seconds: float
    note: str = ""


class Router:
    def __init__(self, arguments: argparse.Namespace):
        self.directory = Path(tempfile.mkdtemp(prefix="sluice-control-", dir=arguments.directory))
        self.socket = self.directory / "sluiced.sock"
        cpus = sorted(os.sched_getaffinity(0))
        self.log = open(self.directory / "log", "wb")
        self.process = subprocess.Popen(
            [SLUICED, "--socket", self.socket, "--state-dir", self.directory / "state", "--workers", "1",
             "--worker-cpus", str(cpus[0]), "--control-cpu", str(cpus[-1]), "--memory", str(arguments.memory),
             "--mbufs", "8192", "--poll", "adaptive", "--no-huge"], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"sluiced does not start: {(self.directory / 'log').read_text()}")
            time.sleep(0.02)

    def client(self) -> Client:
        return Client(self.socket)

    def memory(self) -> tuple[int, int]:
        """Resident MiB now and at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        figures = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Vm")}
        return int(figures["VmRSS"]) // 1024, int(figures["VmHWM"]) // 1024

    def cpu(self) -> float:
        """Seconds of processor time of all threads but the workers: on a busy machine it says more than the clock."""
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            if "worker" in (task / "comm").read_text():
                continue
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def put(client: Client, what: str, body: bytes, **headers: str) -> Measured:
    begin = time.monotonic()
    status, text = client.call("PUT", "/v1/config", body, **headers)
    seconds = time.monotonic() - begin
    if status != 200:
        raise SystemExit(f"{what}: {status} {text[:600].decode()}")
    reply = json.loads(text)
    applied = "applied" if reply.get("applied") else "unchanged"
    return Measured(what, seconds, f"generation {reply['generation']}, {applied}, {len(body) / 1e6:.1f} MB, "
                                   f"router {reply.get('applyMillis', 0):.0f} ms")


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Changes:
    """Clients that each change one slice per request, together at a rate."""

    def __init__(self, router: Router, cluster: Cluster, arguments: argparse.Namespace):
        self.router, self.cluster, self.arguments = router, cluster, arguments
        self.seconds: list[float] = []
        self.late = 0
        self.failures: list[str] = []

    def run(self) -> Measured:
        count = int(self.arguments.rate * self.arguments.seconds)
        spread = [index * 7919 % self.cluster.services for index in range(count)]
        seen: dict[int, int] = {}
        bodies = []
        for index in spread:
            seen[index] = seen.get(index, 0) + 1
            bodies.append(delta(self.cluster.slice(index, version=seen[index])))
        begin = time.monotonic() + 0.1
        threads = [threading.Thread(target=self.work, args=(bodies, worker, begin))
                   for worker in range(self.arguments.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - begin
        if self.failures:
            raise SystemExit(f"changes: {len(self.failures)} failed: {self.failures[0]}")
        times = self.seconds
        return Measured(f"{count} changes of one slice, {self.arguments.clients} clients", statistics.median(times),
                        f"p50 {quantile(times, .5) * 1e3:.2f} p90 {quantile(times, .9) * 1e3:.2f} p99 "
                        f"{quantile(times, .99) * 1e3:.2f} max {max(times) * 1e3:.2f} ms, "
                        f"{count / took:.0f}/s, {self.late} sent late")

    def work(self, bodies: list[bytes], worker: int, begin: float) -> None:
        client = self.router.client()
        for number in range(worker, len(bodies), self.arguments.clients):
            due = begin + number / self.arguments.rate
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            elif wait < -0.01:
                self.late += 1
            sent = time.monotonic()
            status, text = client.call("PATCH", "/v1/config", bodies[number])
            if status != 200:
                self.failures.append(f"{status} {text[:300].decode()}")
                return
            self.seconds.append(time.monotonic() - sent)


def measure(arguments: argparse.Namespace) -> list[Measured]:
    cluster = Cluster(arguments.services, arguments.endpoints, arguments.nodes)
    text, lines = cluster.as_list(), cluster.as_lines()
    packed = gzip.compress(text, 1)
    router = Router(arguments)
    results: list[Measured] = []
    used = router.cpu()

    def note(measured: Measured) -> None:
        nonlocal used
        now, most = router.memory()
        before, used = used, router.cpu()
        measured.note += f"; CPU {used - before:.2f} s; {now} MiB, at most {most}"
        results.append(measured)
        print(f"{measured.what:44} {measured.seconds * 1e3:9.2f} ms  {measured.note}", flush=True)

    try:
        now, _ = router.memory()
        print(f"{cluster.services} services of {cluster.endpoints} endpoints, {cluster.nodes} nodes; {now} MiB empty")
        client = router.client()
        note(put(client, "full document, first", text))
        note(put(client, "the same again", text))
        if not arguments.without_forms:
            note(put(client, "the same as lines", lines, Content_Type="application/x-ndjson"))
            note(put(client, "the same, gzip", packed, Content_Encoding="gzip"))
        note(Changes(router, cluster, arguments).run())
        note(put(client, "full document after the changes", text))
    finally:
        router.stop()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=25, help="of each service")
    parser.add_argument("--nodes", type=int, default=5_000, help="each with two blocks, hence two routes")
    parser.add_argument("--rate", type=float, default=1000, help="changes a second, of all clients")
    parser.add_argument("--seconds", type=float, default=60, help="of changes")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--memory", type=int, default=512, help="MiB for packet buffers and tables")
    parser.add_argument("--directory", default=None, help="where the state is kept (default: the temporary directory)")
    parser.add_argument("--without-forms", action="store_true", help="neither lines nor gzip")
    parser.add_argument("--json", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    results = measure(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(each) for each in results], indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
