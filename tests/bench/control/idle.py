"""What an idle worker takes of its processor, and how much longer the first packet waits for it."""

from __future__ import annotations

import argparse
import os
import statistics
import time

from peers import quantile
from wiring import Services, Sluice, close_namespaces

from netns import Lab, raise_on_signals
from threads import processor_seconds

SECONDS = 5.0
CONNECTIONS = 200
PAUSE = 0.01  # seconds, after which an adaptive worker sleeps


class Waiting(Sluice):
    """Devices that wake a worker."""
    name = "adaptive"
    options = ("--poll", "adaptive")
    devices = ("packet", "packet")


class Napping(Sluice):
    """Devices that do not."""
    name = "adaptive"
    options = ("--poll", "adaptive")


class Busy(Sluice):
    name = "busy"
    options = ("--poll", "busy")


class BusyPacket(Busy):
    devices = ("packet", "packet")


def measure(arguments: argparse.Namespace) -> list[dict]:
    raise_on_signals()
    rows = []
    for number, kind in enumerate((Waiting, BusyPacket, Napping, Busy)):
        with Lab(f"sluice-bench-{os.getpid()}-i{number}-") as lab:
            between = kind(lab, Services(1, 1, protocol="tcp"))
            try:
                between.install()
                between.connect(20, seed=0)
                time.sleep(0.5)
                pid = between.sluiced.process.pid
                before, begin = processor_seconds(pid, workers=True), time.monotonic()
                time.sleep(SECONDS)
                share = (processor_seconds(pid, workers=True) - before) / (time.monotonic() - begin)
                connects = between.connect(CONNECTIONS, seed=1, pause=PAUSE)
            finally:
                close_namespaces(between)
        device = kind.devices[0].rstrip("0")
        rows.append({"poll": kind.name, "device": device, "cpu": share, "connects": connects})
        print(f"{kind.name:9} {device:14} {share * 100:6.2f} % of a processor when idle; opening a connection after "
              f"{PAUSE * 1e3:.0f} ms without a packet: median {statistics.median(connects) * 1e6:.0f} us, "
              f"90 % {quantile(connects, .9) * 1e6:.0f} us, 99 % {quantile(connects, .99) * 1e6:.0f} us", flush=True)
    return rows
