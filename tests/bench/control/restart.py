"""How long a router that is killed does not serve: a large cluster, changes since its document was written, kill -9, and
the time from the start of the process until it says that it is ready and until a connection to a service opens."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import select
import signal
import socket
import statistics
import threading
import time

from wiring import CLIENT_POD, SERVICE_PORT, Services, Sluice, close_namespaces

from netns import Lab, raise_on_signals

LONGEST = 60.0  # seconds until a start has failed
INTERVAL = 0.002  # seconds between two attempts to connect
MOST_ATTEMPTS = 200  # at one time


def first_connection(between: Sluice, begin: float) -> float:
    """Seconds since `begin` until the first of many attempts to connect succeeds. Each attempt is one SYN: none waits
    for the next of its own."""
    attempts: list[socket.socket] = []
    number = 0
    try:
        while time.perf_counter() - begin < LONGEST:
            made = between.client.socket(socket.AF_INET, socket.SOCK_STREAM)
            made.setblocking(False)
            made.bind((CLIENT_POD, 0))
            made.connect_ex((between.services.frontend(number % between.services.count), SERVICE_PORT))
            number += 1
            attempts.append(made)
            for done in select.select([], attempts, [], INTERVAL)[1]:
                if done.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    return time.perf_counter() - begin
                attempts.remove(done)
                done.close()
            while len(attempts) > MOST_ATTEMPTS:
                attempts.pop(0).close()
    finally:
        for each in attempts:
            each.close()
    raise RuntimeError("no connection was opened after the start")


def until_ready(between: Sluice, begin: float) -> float:
    while time.perf_counter() - begin < LONGEST:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if between.sluiced.request("GET", "/readyz", timeout=2).status == 200:
                return time.perf_counter() - begin
        if not between.sluiced.process.running():
            raise RuntimeError(f"sluiced ended: {between.sluiced.log()[-2000:]}")
        time.sleep(INTERVAL)
    raise RuntimeError("sluiced is not ready after the start")


def restart(between: Sluice) -> dict[str, float]:
    between.connection.close()
    between.sluiced.process.signal(signal.SIGKILL)
    between.sluiced.process.wait(10)
    connected: list[float] = []
    begin = time.perf_counter()
    between.sluiced.launch()
    asking = threading.Thread(target=lambda: connected.append(first_connection(between, begin)))
    asking.start()
    ready = until_ready(between, begin)
    asking.join()
    if not connected:
        raise RuntimeError("no connection was opened after the start")
    return {"ready": ready, "connected": connected[0]}


class Packet(Sluice):
    """The router's own packet socket. DPDK's waits for the kernel four times for each device that it opens."""
    devices = ("packet", "packet")


def measure(arguments: argparse.Namespace) -> list[dict]:
    raise_on_signals()
    return [row for kind in (Packet, Sluice) for row in restarts(kind, arguments)]


def restarts(kind: type[Sluice], arguments: argparse.Namespace) -> list[dict]:
    device = kind.devices[0].rstrip("0")
    with Lab(f"sluice-bench-{os.getpid()}-r{device[:1]}-") as lab:
        between = kind(lab, Services(arguments.services, arguments.endpoints, protocol="tcp"))
        try:
            between.install()
            for number in range(arguments.changes):
                between.change(number * 7919 % arguments.services)
            generation = between.sluiced.generation()
            rows = [{"device": device, **restart(between)} for _ in range(arguments.repeat)]
            if between.sluiced.generation() != generation:
                raise RuntimeError("another state serves than the one that was acknowledged last")
        finally:
            close_namespaces(between)
    text = "; ".join(f"{words} {statistics.median(row[name] for row in rows):.2f} s ("
                     + ", ".join(f"{row[name]:.2f}" for row in rows) + ")"
                     for words, name in (("ready", "ready"), ("a connection opens", "connected")))
    print(f"start after kill -9 with {arguments.services} services of {arguments.endpoints} endpoints and "
          f"{arguments.changes} changes, devices {device}, median of {len(rows)}: {text}", flush=True)
    return rows
