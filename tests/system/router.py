"""sluiced as the tests and the demo run it: a process in a namespace, its API, its figures."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from netns import Lab, Namespace, Process, execute, processors, wait_until

PROJECT = Path(__file__).resolve().parents[2]
BUILD = PROJECT / os.environ.get("SLUICE_BUILD", "build")
SLUICED = BUILD / "control" / "sluiced"
SLUICECTL = BUILD / "tools" / "sluicectl"

Json = Any


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


@dataclass
class Reply:
    status: int
    text: str

    @functools.cached_property
    def json(self) -> Json:
        return json.loads(self.text)

    def faults(self) -> list[Json]:
        return self.json.get("errors", [])


@dataclass
class Flow:
    """A connection as the router keeps it. Addresses are "10.244.34.5:8080"."""

    protocol: str
    state: str
    source: str
    destination: str
    reply_source: str
    reply_destination: str
    service: str
    packets: int
    reply_packets: int
    worker: int = 0
    raw: Json = field(default=None, repr=False)


@dataclass
class Options:
    workers: int = 1
    memory: int = 256  # MiB
    mbufs: int = 8192
    cpus: list[int] = field(default_factory=processors)
    extra: tuple[str, ...] = ()

    def worker_cpus(self) -> str:
        return ",".join(str(self.cpus[index % len(self.cpus)]) for index in range(self.workers))


class Router:
    """One sluiced. Its files (socket, state, logs) are in the lab's directory under its name."""

    running: ClassVar[list["Router"]] = []  # those whose state tells something when a test fails

    def __init__(self, namespace: Namespace, name: str = "", options: Options | None = None):
        self.namespace = namespace
        self.lab: Lab = namespace.lab
        self.name = name or namespace.name
        self.options = options or Options()
        self.socket = self.lab.directory / f"{self.name}.sock"
        self.state = self.lab.directory / f"{self.name}.state"
        self.process: Process | None = None
        self.idle_buffers = 0  # packet buffers in use after the start, without traffic

    # ---- life ----

    def command(self, *arguments: str) -> list[str]:
        """The command line; `arguments` come last, where they win."""
        # Busy workers share the first processors; the control thread takes the last, which it needs only now and then.
        return [str(SLUICED), "--socket", str(self.socket), "--state-dir", str(self.state),
                "--workers", str(self.options.workers), "--worker-cpus", self.options.worker_cpus(),
                "--control-cpu", str(self.options.cpus[-1]), "--memory", str(self.options.memory),
                "--mbufs", str(self.options.mbufs),
                *self.options.extra, *arguments]

    def launch(self, *arguments: str) -> Process:
        self.state.mkdir(exist_ok=True)
        self.process = self.namespace.start(*self.command(*arguments), name="sluiced")
        Router.running = [router for router in Router.running if router.alive() and router is not self] + [self]
        return self.process

    def alive(self) -> bool:
        return self.process is not None and self.process.running()

    def start(self, config: Json = None, *arguments: str, seconds: float = 20) -> "Router":
        """Starts with a document, or without one on what its state directory remembers, and waits until it serves."""
        if config is not None:
            arguments = ("--config", str(self.write_config(config)), *arguments)
        self.launch(*arguments)
        self.wait_ready(seconds)
        self.idle_buffers = self.mbufs_in_use()
        return self

    def write_config(self, config: Json) -> Path:
        path = self.lab.directory / f"{self.name}.json"
        path.write_text(json.dumps(config))
        return path

    def wait_ready(self, seconds: float = 20) -> None:
        def ready() -> bool:
            if not self.process.running():
                raise AssertionError(f"sluiced {self.name} ended with code {self.process.wait(1)}:\n{self.log()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.request("GET", "/readyz", timeout=2).status == 200
            return False
        wait_until(ready, seconds, lambda: f"sluiced {self.name} to be ready; its log:\n{self.log()}")

    def stop(self, seconds: float = 10) -> int:
        """SIGTERM and the exit code."""
        self.process.signal(15)
        return self.process.wait(seconds)

    def log(self) -> str:
        return self.process.stderr() if self.process else ""

    def resident_bytes(self) -> int:
        """As the kernel counts it (RSS): hugepages, reserved beforehand, are not in it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1]) * 1024

    # ---- API ----

    def connect(self, timeout: float = 10) -> UnixConnection:
        return UnixConnection(self.socket, timeout)

    def request(self, method: str, path: str, body: str | bytes | None = None, content_type: str = "application/json",
                timeout: float = 10) -> Reply:
        with contextlib.closing(self.connect(timeout)) as connection:
            headers = {"Content-Type": content_type} if body is not None else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Reply(response.status, response.read().decode(errors="replace"))

    def get(self, path: str) -> Json:
        reply = self.request("GET", path)
        assert reply.status == 200, f"GET {path}: {reply.status} {reply.text}"
        return reply.json

    def put(self, config: Json) -> Reply:
        return self.request("PUT", "/v1/config", json.dumps(config))

    def apply(self, config: Json) -> Json:
        reply = self.put(config)
        assert reply.status == 200, f"the document was refused: {reply.status} {reply.text}"
        return reply.json

    def control(self, *words: str, timeout: float = 20, check: bool = True):
        """sluicectl, as a person would run it."""
        return execute(str(SLUICECTL), "--socket", str(self.socket), *words, timeout=timeout, check=check)

    def status(self) -> Json:
        return self.get("/v1/status")

    def generation(self) -> int:
        return self.status()["generationApplied"]

    def mbufs_in_use(self) -> int:
        return self.status()["mbufsInUse"]

    def counters(self) -> dict[str, int]:
        """Drops and events by name."""
        reply = self.get("/v1/counters")
        return {**reply["drops"], **reply["events"]}

    def drops(self) -> dict[str, int]:
        return self.get("/v1/counters")["drops"]

    def neighbors(self) -> list[Json]:
        return self.get("/v1/neighbors")["neighbors"]

    def routes(self) -> list[Json]:
        return self.get("/v1/routes")["routes"]

    def flows(self, **filters: Any) -> list[Flow]:
        query = "&".join(f"{key}={value}" for key, value in filters.items())
        return [read_flow(item) for item in self.get(f"/v1/conntrack?{query}")["flows"]]

    def report(self) -> str:
        """What a person wants to see when something went wrong."""
        parts = [f"---- sluiced {self.name}: log\n{self.log()[-6000:]}"]
        for what in ("counters", "flows", "neighbors", "status") if self.alive() else ():
            with contextlib.suppress(Exception):
                parts.append(f"---- sluiced {self.name}: {what}\n{self.control('get', what, timeout=5).stdout[-6000:]}")
        return "\n".join(parts)


def endpoint(item: Json, address: str, port: str) -> str:
    return f"[{item[address]}]:{item[port]}" if ":" in item[address] else f"{item[address]}:{item[port]}"


def read_flow(item: Json) -> Flow:
    original, reply = item["original"], item["reply"]
    return Flow(protocol=item["protocol"], state=item.get("state", ""),
                source=endpoint(original, "src", "sport"), destination=endpoint(original, "dst", "dport"),
                reply_source=endpoint(reply, "src", "sport"), reply_destination=endpoint(reply, "dst", "dport"),
                service=item.get("service", ""), packets=original["packets"], reply_packets=reply["packets"],
                worker=item.get("worker", 0), raw=item)
