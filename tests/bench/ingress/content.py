"""Without a link: what Ingress costs the router alone, what connections cost whose first bytes were looked into, and what
looking costs beside Hyperscan alone. Google Benchmark programs, in turns; each repetition is one process, so that pairs are of one moment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from results import Value, value
from router import BUILD, Json

FOLDER = BUILD / "tests" / "bench"
BEHIND = "service/tcp/behind/flows:1000/burst:64/patterns:{}"
PATTERNS = (0, 1000)
ROUTER = {"kept": "cycles", "new": "cycles", "bulk": "per_megabyte"}  # case of ingress_bench, and its counter
SCANS = {"inspector": "inspector/patterns:1000", "hyperscan": "hyperscan/patterns:1000"}


def benchmark(program: str, pattern: str) -> dict[str, Json]:
    """By name, of one repetition."""
    done = subprocess.run([str(FOLDER / program), f"--benchmark_filter=^({pattern})", "--benchmark_format=json",
                           "--benchmark_min_time=0.1"], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{program} ended with code {done.returncode}: {done.stderr[-1000:]}")
    found = {each["name"].removesuffix("/manual_time").removesuffix("/real_time"): each
             for each in json.loads(done.stdout)["benchmarks"]}
    faults = [each["error_message"] for each in found.values() if each.get("error_occurred")]
    if faults or not found:
        raise RuntimeError(f"{program} {pattern}: {faults or 'there is no such benchmark'}")
    return found


def measure(repeat: int, say: Callable[[str], None]) -> Json:
    """Lists of figures, one for each repetition: cycles per packet by number of patterns, bytes per second of a scan,
    cycles per request or megabyte of Ingress."""
    made: Json = {"behind": {str(count): [] for count in PATTERNS}, "behind-fastest": {str(count): [] for count in PATTERNS},
                  "scan": {name: [] for name in SCANS}, "router": {name: [] for name in ROUTER}}
    for number in range(repeat):
        order = PATTERNS if number % 2 == 0 else PATTERNS[::-1]
        for count in order:
            each = next(iter(benchmark("pipeline_bench", BEHIND.format(count)).values()))
            made["behind"][str(count)].append(each["cycles"])
            made["behind-fastest"][str(count)].append(each["fastest"])
        found = benchmark("content_bench", ".*/patterns:1000")
        for name, full in SCANS.items():
            made["scan"][name].append(found[full]["bytes_per_second"])
        for name, counter in ROUTER.items():
            made["router"][name].append(next(iter(benchmark("ingress_bench", name).values()))[counter])
        say(f"content, round {number + 1}: " + ", ".join(
            f"{count} patterns {figures[-1]:.1f} cycles" for count, figures in made["behind"].items())
            + ", " + ", ".join(f"{name} {figures[-1] / 1e6:.0f} MB/s" for name, figures in made["scan"].items())
            + ", " + ", ".join(f"{name} {figures[-1]:.0f} cycles" for name, figures in made["router"].items()))
    return made


def pairs(first: list[float], second: list[float]) -> Value | None:
    return value([one / other for one, other in zip(first, second)])
