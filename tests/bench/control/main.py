#!/usr/bin/env python3
"""The control plane at the size of a large cluster.

  push     what a full document costs, as a List, as lines, compressed and once more; then changes of one EndpointSlice
           per request, at a rate and for a time
  traffic  such changes beside established UDP and TCP flows, of which no packet may be lost
  peers    the same services for Linux with the rule sets of kube-proxy (iptables, nftables): time until they are in
           place, until one change is, to open a connection
  idle     what an idle worker takes, and what it costs the first packet
  restart  how long a router that was killed does not serve: with the cluster and changes since, until it is ready and
           until a connection opens
  all      these, one after the other, and at the end the tables of docs/performance.md

Without a name: push. Prints figures, with --json a file as well. All but push need root.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "link"), str(HERE.parents[1] / "system")]

from cluster import Cluster, delta  # noqa: E402
from pushes import Changes, Measured, Router, put, quantile  # noqa: E402


MEASUREMENTS = ("push", "traffic", "peers", "idle", "restart")


def slice_changes(cluster: Cluster, count: int) -> list[bytes]:
    """Each gives a service another pod for its last one, or takes that back."""
    seen: dict[int, int] = {}
    bodies = []
    for index in (number * 7919 % cluster.services for number in range(count)):
        seen[index] = seen.get(index, 0) + 1
        bodies.append(delta(cluster.slice(index, version=seen[index])))
    return bodies


def service_changes(cluster: Cluster, router: Router, count: int) -> list[Measured]:
    """One service more, then that one less, one request after the other."""
    client = router.client()
    times: dict[str, list[float]] = {"PATCH": [], "DELETE": []}
    for number in range(count):
        more = cluster.service(cluster.services + number % 200)
        for method, target, body in (("PATCH", "/v1/config", delta(more)),
                                     ("DELETE", f"/v1/services/{more['metadata']['namespace']}/{more['metadata']['name']}", None)):
            begin = time.monotonic()
            status, text = client.call(method, target, body)
            times[method].append(time.monotonic() - begin)
            if status != 200:
                raise SystemExit(f"{method} {target}: {status} {text[:600].decode()}")
    return [Measured(f"one service {what}, {count} times", quantile(times[method], 0.5),
                     f"p50 {quantile(times[method], 0.5) * 1e3:.2f} p99 {quantile(times[method], 0.99) * 1e3:.2f} ms")
            for what, method in (("more", "PATCH"), ("less", "DELETE"))]


def measure_pushes(arguments: argparse.Namespace) -> list[Measured]:
    cluster = Cluster(arguments.services, arguments.endpoints, arguments.nodes, arguments.device)
    text, lines = cluster.as_list(), cluster.as_lines()
    packed = gzip.compress(text, 1)
    cpus = sorted(os.sched_getaffinity(0))
    options = ("--helper-cpus", arguments.helper_cpus) if arguments.helper_cpus else ()
    router = Router(arguments, cpus[0], cpus[-1], *options)
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
        if count := int(arguments.rate * arguments.seconds):
            note(Changes(router, slice_changes(cluster, count), arguments).run())
            client = router.client()  # the router has closed the one that said nothing meanwhile
            note(put(client, "full document after the changes", text))
        for measured in service_changes(cluster, router, 100):
            note(measured)
    finally:
        router.stop()
    return results


def measure(name: str, arguments: argparse.Namespace) -> list[Any]:
    if name == "push":
        return [vars(each) for each in measure_pushes(arguments)]
    return importlib.import_module(name).measure(arguments)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench control", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=(*MEASUREMENTS, "all"), default="push")
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=25, help="of each service")
    parser.add_argument("--nodes", type=int, default=5_000, help="each with two blocks, hence two routes")
    parser.add_argument("--rate", type=float, default=1000, help="changes a second, of all clients")
    parser.add_argument("--seconds", type=float, default=60, help="of changes")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--memory", type=int, default=512, help="MiB for packet buffers and tables")
    parser.add_argument("--helper-cpus", default="", help="as of sluiced")
    parser.add_argument("--directory", default=None, help="where the state is kept (default: the temporary directory)")
    parser.add_argument("--device", default="net_null0",
                        help="push: the router's port; its worker has always something to do with net_null0, and sleeps "
                             "with net_null0,no-rx=1")
    parser.add_argument("--without-forms", action="store_true", help="push: neither lines nor gzip")
    parser.add_argument("--packets", type=float, default=50_000, help="traffic: packets a second")
    parser.add_argument("--flows", type=int, default=2_000, help="traffic: flows of each protocol")
    parser.add_argument("--counts", type=lambda words: [int(word) for word in words.split(",")],
                        default=[10, 1_000, 10_000], help="peers: numbers of services")
    parser.add_argument("--peer-endpoints", type=int, default=5, help="peers: of each service")
    parser.add_argument("--plots", type=Path, help="peers: the folder for plots, docs/plots for the document")
    parser.add_argument("--changes", type=int, default=1_000, help="restart: before the kill")
    parser.add_argument("--repeat", type=int, default=5, help="restart: kills")
    parser.add_argument("--json", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)
    chosen = MEASUREMENTS if arguments.what == "all" else (arguments.what,)
    results: dict[str, list[Any]] = {}
    for name in chosen:
        if len(chosen) > 1:
            print(f"\n---- {name} ----", flush=True)
        results[name] = measure(name, arguments)
        if arguments.json:  # what there is, also if the next one fails
            arguments.json.write_text(json.dumps(results if len(chosen) > 1 else results[name], indent=1) + "\n")
    if len(chosen) > 1:
        import control_tables
        print("\n" + control_tables.document(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
