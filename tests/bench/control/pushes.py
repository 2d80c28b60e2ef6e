"""sluiced as this bench runs it, and those who push documents and changes to it."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from threads import processor_seconds

PROJECT = Path(__file__).resolve().parents[3]
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
    def __init__(self, arguments: argparse.Namespace, worker_cpu: int, control_cpu: int, *options: str):
        self.directory = Path(tempfile.mkdtemp(prefix="sluice-control-", dir=arguments.directory))
        self.socket = self.directory / "sluiced.sock"
        self.log = open(self.directory / "log", "wb")
        self.process = subprocess.Popen(
            [SLUICED, "--socket", self.socket, "--state-dir", self.directory / "state", "--workers", "1",
             "--worker-cpus", str(worker_cpu), "--control-cpu", str(control_cpu), "--memory", str(arguments.memory),
             "--mbufs", "8192", "--no-huge", *options], stdout=self.log, stderr=self.log)
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

    def worker_cpu(self) -> float:
        """Seconds of processor time of the worker."""
        return self.cpu_of(True)

    def cpu(self) -> float:
        """Of all threads but the workers: on a busy machine it says more than the clock."""
        return self.cpu_of(False)

    def cpu_of(self, workers: bool) -> float:
        return processor_seconds(self.process.pid, workers)

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
    """Clients that each send one change per request, together at a rate."""

    def __init__(self, router: Router, bodies: list[bytes], arguments: argparse.Namespace):
        self.router, self.bodies, self.arguments = router, bodies, arguments
        self.seconds: list[float] = []
        self.late = 0
        self.failures: list[str] = []

    def run(self) -> Measured:
        bodies, count = self.bodies, len(self.bodies)
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
