"""The program behind scripts/bench; its command line is described there."""

from __future__ import annotations

import argparse
import fcntl
import fnmatch
import functools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(PROJECT / "tests" / "system")]

import compare  # noqa: E402
import document  # noqa: E402
import inprocess  # noqa: E402
import machine  # noqa: E402
import results  # noqa: E402
from catalogue import catalogue  # noqa: E402
from linux import Linux  # noqa: E402
from netns import Lab, delete_namespace, end_recorded, namespaces_named, raise_on_signals  # noqa: E402
from ovs import OpenVSwitch  # noqa: E402
from router import BUILD, SLUICED  # noqa: E402
from runner import HUGEPAGES_MIB, Look, Plan, Run, Runner  # noqa: E402
from scenario import Scenario  # noqa: E402
from sluice import Sluice  # noqa: E402
from system import Bench, System  # noqa: E402
from testpmd import Testpmd  # noqa: E402
from trafgen import PROGRAM as TRAFGEN  # noqa: E402

PREFIX = "sluice-bench-"
DIRECTORY = Path("/run/sluice-bench")
LOCK = Path("/run/sluice-bench.lock")

SYSTEMS: dict[str, Callable[[Bench], System]] = {
    "sluice": Sluice,
    "testpmd-io": lambda bench: Testpmd(bench, "io"),
    "testpmd-macswap": lambda bench: Testpmd(bench, "macswap"),
    "ovs-dpdk": OpenVSwitch,
    "linux-nftables": lambda bench: Linux(bench, "nftables"),
    "linux-iptables": lambda bench: Linux(bench, "iptables"),
}
QUICK_SYSTEMS = ("sluice", "testpmd-macswap")


class Refusal(Exception):
    """The bench cannot run; the message says why and what to do."""


def say(text: str) -> None:
    print(text, flush=True)


def parse_arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", allow_abbrev=False, add_help=False)
    parser.add_argument("what", nargs="?", choices=("full", "quick", "list", "report", "compare"), default="full")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--systems", default="")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--json", type=Path, action="append", default=[])
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--no-document", dest="document", action="store_false")
    parser.add_argument("--no-inprocess", dest="inprocess", action="store_false")
    arguments = parser.parse_args(words)
    if arguments.repeat is not None and arguments.repeat < 1:
        parser.error("--repeat wants a number from 1")
    if not 0.05 <= arguments.speed <= 100:
        parser.error("--speed wants a factor from 0.05 to 100")
    unknown = [name for name in filter(None, arguments.systems.split(",")) if name not in SYSTEMS]
    if unknown:
        parser.error(f"there is no system '{unknown[0]}'; there are {', '.join(SYSTEMS)}")
    return arguments


def chosen_scenarios(arguments: argparse.Namespace) -> list[Scenario]:
    made = catalogue()
    if arguments.what == "quick":
        made = [scenario for scenario in made if scenario.quick]
    for pattern in arguments.only:
        if not any(matches(scenario, pattern.removeprefix("!")) for scenario in made):
            raise Refusal(f"no scenario is called '{pattern.removeprefix('!')}' (scripts/bench list shows all)")
    wanted = [pattern for pattern in arguments.only if not pattern.startswith("!")] or ["*"]
    left_out = [pattern[1:] for pattern in arguments.only if pattern.startswith("!")]
    return [scenario for scenario in made if any(matches(scenario, pattern) for pattern in wanted)
            and not any(matches(scenario, pattern) for pattern in left_out)]


def matches(scenario: Scenario, pattern: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for name in (scenario.name, scenario.group, scenario.set))


def main(words: list[str]) -> int:
    arguments = parse_arguments(words)
    if arguments.what == "list":
        for scenario in catalogue():
            say(f"{scenario.name:24} {scenario.title}" + ("  (quick)" if scenario.quick else "")
                + (f"  (set: {scenario.set})" if scenario.set else ""))
        return 0
    folders = arguments.json or [BUILD / "bench-results"]
    if arguments.what == "report":
        document.refresh(PROJECT, results.load(*folders))
        return 0
    if arguments.what == "compare":
        if len(folders) != 2:
            raise Refusal("two runs are compared: --json FIRST --json SECOND")
        say(compare.report(*(results.load(folder) for folder in folders), chosen_scenarios(arguments)))
        return 0
    scenarios = chosen_scenarios(arguments)
    require_everything(scenarios)
    raise_on_signals()
    with open(LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal("another benchmark is running on this machine: wait for its end") from None
        clean()
        try:
            return measure(arguments, scenarios, folders[-1])
        finally:
            clean()


def require_everything(scenarios: list[Scenario]) -> None:
    if os.geteuid() != 0:
        raise Refusal("hugepages and network namespaces need root: run sudo scripts/bench")
    for program in (SLUICED, TRAFGEN):
        if not program.exists():
            raise Refusal(f"{program} is not there: run scripts/build")
    if shutil.which("dpdk-testpmd") is None:
        raise Refusal("dpdk-testpmd is not there: run scripts/setup --for bench")


def clean() -> None:
    """Removes what a bench that was killed outright has left behind."""
    end_recorded(DIRECTORY)
    for name in namespaces_named(PREFIX):
        delete_namespace(name)
    shutil.rmtree(DIRECTORY, ignore_errors=True)


def measure(arguments: argparse.Namespace, scenarios: list[Scenario], folder: Path) -> int:
    quick = arguments.what == "quick"
    names = [name for name in arguments.systems.split(",") if name] or list(QUICK_SYSTEMS if quick else SYSTEMS)
    plan = Plan(scenarios, arguments.repeat or (1 if quick else 5), arguments.speed * (0.25 if quick else 1.0))
    with machine.KernelSettings() as settings, Lab(PREFIX, DIRECTORY) as lab:
        bench = Bench(lab, machine.assign_cpus(), settings)
        bench.tsc_hz = machine.tsc_hz()
        if quick:
            bench.hugepages = hugepages_or_not()
        facts = machine.describe(PROJECT) | {"time stamp counter": f"{bench.tsc_hz / 1e9:.3f} GHz"}
        command = ["scripts/bench", *(word.replace(f"{PROJECT}/", "") for word in sys.argv[1:])]
        record = results.Record(folder, facts, command)
        systems = {name: SYSTEMS[name](bench) for name in names}
        # What is only to be right need not be repeated.
        runner = Runner(bench, systems, plan, say, record.add, None if quick else line_exchange(bench.cpus))
        try:
            runs = runner.run()
        finally:
            for system in systems.values():
                system.stop()
            record.unsupported = {f"{scenario} {system}": why for (scenario, system), why in runner.unsupported.items()}
            record.write()
    if arguments.inprocess and not quick and all(pattern.startswith("!") for pattern in arguments.only):
        record.inprocess = inprocess.measure(say, bench.tsc_hz, max(plan.rounds, inprocess.REPETITIONS))
        record.write()
    if not quick:
        say("")
        say(document.text(results.load(folder)))
        if arguments.document and not arguments.only and not arguments.systems:
            document.refresh(PROJECT, results.load(folder))
    return verdict(runs)


def line_exchange(cpus: machine.Cpus) -> Look | None:
    program = BUILD / "tests" / "bench" / "line_exchange"
    if program.exists():
        return functools.partial(machine.line_exchange, program, cpus)
    say(f"{program.name} is not built: rounds are not asked whether all systems met the same state of the machine")
    return None


def hugepages_or_not() -> bool:
    """What is only to be right can do without."""
    try:
        machine.reserve_hugepages(HUGEPAGES_MIB)
    except (RuntimeError, OSError) as reason:
        say(f"without hugepages: {reason}")
        return False
    return True


def verdict(runs: list[Run]) -> int:
    failed = [run for run in runs if run.error]
    for run in failed:
        say(f"bench: {run.scenario}, {run.system}, round {run.round + 1}: {run.brief_error}")
    say(f"bench: {len(runs) - len(failed)} runs right, {len(failed)} failed")
    return 1 if failed or not runs else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Refusal, RuntimeError) as refusal:
        print(f"bench: {refusal}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nbench: interrupted; everything it started is gone", file=sys.stderr)
        sys.exit(130)
