"""What `all` measured, as the tables of docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

Json = Any


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *[list(row) for row in rows]]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.2f} ms"


def pushes(rows: list[Json]) -> str:
    return table(("", "by the clock, median", ""), ((row["what"], milliseconds(row["seconds"]), row["note"]) for row in rows))


def traffic(rows: list[Json]) -> str:
    lines = []
    for row in rows:
        beside = f"{row['packetsPerSecond']:,.0f} packets a second in {row['flows']:,} flows"
        lines.append((f"{row['what']} beside {beside}", row["note"]))
        for stream in row["streams"]:
            lines.append((f"{stream['stream']}: {stream['sent']:,} packets, {stream['answered']:,} answers",
                          str(stream["faults"] or "none lost, none misrouted")))
    return table(("", ""), lines)


def peers(rows: list[Json]) -> str:
    return table(("services", "", "all in place", "one change, median", "opening a connection, median"),
                 ((f"{row['services']:,}", row["system"], milliseconds(row["install"]),
                   milliseconds(statistics.median(row["changes"])), milliseconds(statistics.median(row["connects"])))
                  for row in rows))


def idle(rows: list[Json]) -> str:
    return table(("`--poll`", "devices", "of a processor", "opening a connection after a pause, median"),
                 ((row["poll"], row["device"], f"{row['cpu'] * 100:.1f} %", milliseconds(statistics.median(row["connects"])))
                  for row in rows))


def restart(rows: list[Json]) -> str:
    lines = []
    for device in dict.fromkeys(row["device"] for row in rows):
        for words, name in (("ready", "ready"), ("a connection to a service opens", "connected")):
            times = [row[name] for row in rows if row["device"] == device]
            lines.append((words, f"`{device}`", milliseconds(statistics.median(times)), milliseconds(max(times))))
    return table(("start after kill -9", "devices", "median", "longest"), lines)


def document(results: dict[str, list[Json]]) -> str:
    """A section for each of what was measured."""
    writers = {"push": pushes, "traffic": traffic, "peers": peers, "idle": idle, "restart": restart}
    return "\n\n".join(f"### {name}\n\n{writers[name](rows)}" for name, rows in results.items())
