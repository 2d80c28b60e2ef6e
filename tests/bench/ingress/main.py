#!/usr/bin/env python3
"""Ingress beside Debian's nginx and HAProxy as reverse proxies: the same host rules in the same place.

Every round starts each system once, asks for all rules and reads each answer, then measures: requests on kept-alive
connections, requests on new ones, large bodies, latency at a low rate; what the system takes of its processor for each.
After the rounds, without a link: what content rules cost (pipeline_bench, content_bench).

  --systems LIST   of {systems}
                   (default: all but sluice-busy; quick: sluice)
  --only NAME      a scenario of {scenarios}, or content; may be given several times;
                   content alone is added to the results that --json has
  --connections N  of the scenario kept (default 64); leaves docs/performance.md alone
  --repeat N       rounds (default 5, quick 1)
  --content N      repetitions of the content programs (default 9)
  --seconds S      of each measurement (default 3)
  --json DIR       where ingress.json goes (default build/bench-results)
  --no-document    leave docs/performance.md alone; --only and --systems do so, too
  --quick          only whether all answers are right, of sluice
  --report         docs/performance.md once more from the results of --json

Needs root and two processors. All traffic is between network namespaces of its own.
Exit code 0 only if every request was answered, and by a right endpoint.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "link"), str(PROJECT / "tests" / "system")]

import content  # noqa: E402
import load  # noqa: E402
import machine  # noqa: E402
import page  # noqa: E402
from between import SYSTEMS  # noqa: E402
from figures import FILE, Results, make_run  # noqa: E402
from netns import Lab, delete_namespace, end_recorded, namespaces_named, raise_on_signals  # noqa: E402
from router import BUILD  # noqa: E402
from usage import Meter  # noqa: E402

PREFIX, DIRECTORY = "sluice-ingress-", Path("/run/sluice-ingress-bench")
LOCK = Path("/run/sluice-bench.lock")  # of all benchmarks of a link
PROGRAMS = {"wrk": "wrk", "nginx": "nginx-light", "h2load": "nghttp2-client", "haproxy": "haproxy"}


def say(text: str) -> None:
    print(text, flush=True)


def parse_arguments(words: list[str]) -> argparse.Namespace:
    text = __doc__.format(systems=", ".join(SYSTEMS), scenarios=", ".join(each.name for each in load.SCENARIOS))
    parser = argparse.ArgumentParser(prog="bench ingress", usage="scripts/bench ingress [OPTION...]\n\n" + text,
                                     allow_abbrev=False)
    parser.add_argument("--systems", default="")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--connections", type=int)
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--content", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", type=Path, default=BUILD / "bench-results")
    parser.add_argument("--no-document", dest="document", action="store_false")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args(words)
    unknown = [name for name in filter(None, arguments.systems.split(",")) if name not in SYSTEMS]
    if unknown:
        parser.error(f"there is no system '{unknown[0]}'; there are {', '.join(SYSTEMS)}")
    known = [each.name for each in load.SCENARIOS] + ["content"]
    unknown = [name for name in arguments.only if name not in known]
    if unknown:
        parser.error(f"there is no scenario '{unknown[0]}'; there are {', '.join(known)}")
    if arguments.connections is not None and not 1 <= arguments.connections <= 10000:
        parser.error("--connections wants a number from 1 to 10000")
    if not 1 <= arguments.seconds <= 600:
        parser.error("--seconds wants a number from 1 to 600")
    return arguments


def main(words: list[str]) -> int:
    arguments = parse_arguments(words)
    if arguments.report:
        page.refresh(PROJECT, Results.load(arguments.json))
        return 0
    wanted = ("wrk", "nginx") if arguments.quick else tuple(PROGRAMS)
    missing = [package for program, package in PROGRAMS.items() if program in wanted and not shutil.which(program)]
    if missing:
        raise RuntimeError(f"{', '.join(missing)}: not there, run scripts/setup --for bench")
    raise_on_signals()
    with open(LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError("another benchmark is running on this machine: wait for its end") from None
        clean()
        try:
            return measure(arguments)
        finally:
            clean()


def clean() -> None:
    """Removes what a bench that was killed outright has left behind."""
    end_recorded(DIRECTORY)
    for name in namespaces_named(PREFIX):
        delete_namespace(name)
    shutil.rmtree(DIRECTORY, ignore_errors=True)


def measure(arguments: argparse.Namespace) -> int:
    names = [name for name in arguments.systems.split(",") if name]
    names = names or (["sluice"] if arguments.quick else [name for name in SYSTEMS if name != "sluice-busy"])
    facts = machine.describe(PROJECT)
    facts = {name: facts[name] for name in ("processor", "memory", "system", "commit", "DPDK")}
    facts |= {name: machine.package_version(name) for name in ("nginx-light", "haproxy", "wrk")}
    results = Results.begin(facts, ["scripts/bench", "ingress",
                                    *(word.replace(f"{PROJECT}/", "") for word in sys.argv[1:])])
    if arguments.only == ["content"] and (arguments.json / FILE).exists():
        results = Results.load(arguments.json)  # which get these figures as well
    scenarios = [] if arguments.quick else [load.with_connections(each, arguments.connections)
                                            for each in load.SCENARIOS
                                            if not arguments.only or each.name in arguments.only]
    rounds = arguments.repeat or (1 if arguments.quick else 5)
    if not scenarios and not arguments.quick:
        rounds = 0
    for number in range(rounds):
        for name in names:
            measure_system(name, number, scenarios, arguments.seconds, results)
            if not arguments.quick:
                results.write(arguments.json)
    if not arguments.quick:
        if arguments.content and (not arguments.only or "content" in arguments.only):
            results.content = content.measure(arguments.content, say)
        results.write(arguments.json)
        say("\n" + page.text(results))
        if arguments.document and not (arguments.only or arguments.systems or arguments.connections):
            page.refresh(PROJECT, results)
    failed = [run for run in results.runs if run.error]
    say(f"bench ingress: {len(results.runs) - len(failed)} runs right, {len(failed)} failed")
    return 1 if failed else 0


def measure_system(name: str, number: int, scenarios: list[load.Scenario], seconds: float, results: Results) -> None:
    """Each scenario once, after all rules were asked for."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with Lab(PREFIX, DIRECTORY) as lab:
        between = SYSTEMS[name](lab, machine.assign_cpus())
        between.begin()
        for place, scenario in enumerate((load.CHECK, load.CHECK_NEW, *scenarios)):
            checks = bool(scenario.words) and "check" in scenario.words
            with Meter(between) as meter:
                answered = load.run(between, scenario, number * 101 + place, scenario.seconds if checks else seconds)
            made = make_run(scenario, name, number, answered, meter.used, machine.tsc_hz())
            if checks and not made.error and answered.checked == 0:
                made.error = "no answer was read"
            results.runs.append(made)
            say(line(made))


def line(run) -> str:
    unit = "MB/s" if run.scenario == "bulk" else "requests/s"
    return (f"{run.round + 1}  {run.system:17} {run.scenario:9} {run.rate:8.0f} {unit:10}  work {run.micros:8.1f} us each, "
            f"thread {run.cpu_micros:8.1f}  p50 {run.answered.p50 / 1000:8.2f} ms  p99 {run.answered.p99 / 1000:8.2f} ms  "
            f"load {run.load:4.1f}  {'FAILED: ' + run.error if run.error else ''}").rstrip()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except RuntimeError as refusal:
        print(f"bench: {refusal}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nbench: interrupted; everything it started is gone", file=sys.stderr)
        sys.exit(130)
