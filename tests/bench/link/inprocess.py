"""The router alone, without a link: build/tests/bench/pipeline_bench, a Google Benchmark program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from router import BUILD
from scenario import Json
from tables import markdown

PROGRAM = BUILD / "tests" / "bench" / "pipeline_bench"
BOOKKEEPING = {"name", "family_index", "per_family_instance_index", "run_name", "run_type", "repetitions",
               "repetition_index", "threads", "iterations", "aggregate_name", "aggregate_unit", "label", "real_time",
               "cpu_time", "time_unit", "error_occurred", "error_message"}


def measure(say: Callable[[str], None]) -> Json:
    """Its benchmarks as Google Benchmark writes them, medians of five; None if it is not built."""
    if not PROGRAM.exists():
        say(f"in-process: {PROGRAM.name} is not built, left out")
        return None
    say("in-process: pipeline_bench")
    done = subprocess.run([str(PROGRAM), "--benchmark_format=json", "--benchmark_repetitions=5",
                           "--benchmark_enable_random_interleaving=true", "--benchmark_report_aggregates_only=true"],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=3600)
    if done.returncode != 0:
        raise RuntimeError(f"{PROGRAM.name} ended with code {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def section(measured: Json) -> str:
    """A table of the counters of every benchmark; the time where one has none."""
    benchmarks = [each for each in (measured or {}).get("benchmarks", [])
                  if each.get("aggregate_name", "median") == "median" and not each.get("error_occurred")]
    if not benchmarks:
        return ""
    counters = list(dict.fromkeys(name for each in benchmarks for name in each if name not in BOOKKEEPING))
    rows = [[f"`{each.get('run_name', each['name'])}`",
             *(f"{each[name]:.1f}" if name in each else "–" for name in counters),
             f"{each['cpu_time']:.0f} {each['time_unit']}"] for each in benchmarks]
    return markdown(["benchmark", *counters, "time per iteration"], rows)
