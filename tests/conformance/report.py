#!/usr/bin/python3
"""docs/conformance.md: every requirement, the tests that name it, and how they ended.

Usage: report.py [--write FILE] RESULTS     RESULTS: a folder of JUnit XML as scripts/test leaves it

Exit code 1 if a requirement has neither a test nor a reason, or a test of it failed.
"""

from __future__ import annotations

import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
ID = re.compile(r"(?<![A-Za-z])(PIPE|SVC|MASQ|CT|ICMP|MTU|FRAG|TTL|ECN|CSUM|IPIP|VXL|ENC|SCALE|LB|L2|BGP|IPAM|SPL|ING|CNT|ARP|SPOOF)[_-]?(\d+)(?!\d)", re.I)
ID_IN_CAMEL_CASE = re.compile(r"(Pipe|Svc|Masq|Ct|Icmp|Mtu|Frag|Ttl|Ecn|Csum|Ipip|Vxl|Enc|Scale|Bgp)(\d+)(?!\d)")
# SVC_3_16_TruthTable: of the specification, not a requirement's number.
SECTION = re.compile(r"(?<![A-Za-z])[A-Z]+_\d+_\d+(?=_)")


@dataclass(frozen=True)
class Requirement:
    name: str
    words: str
    reason: str


def read_requirements(text: str) -> list[str | Requirement]:
    """Headings and requirements, in order."""
    made: list[str | Requirement] = []
    for line in text.splitlines():
        if line.startswith("="):
            made.append(line[1:].strip())
        elif line and not line.startswith("#"):
            name, words, *reason = (part.strip() for part in line.split(" | "))
            made.append(Requirement(name, words, reason[0] if reason else ""))
    return made


def ids_in(test: str) -> set[str]:
    test = SECTION.sub("", test)
    return {f"{kind.upper()}-{number}" for pattern in (ID, ID_IN_CAMEL_CASE) for kind, number in pattern.findall(test)}


def plain_name(suite: str, case: str) -> str:
    """Without what a parametrised test's instances add."""
    suite = re.sub(r"^[A-Za-z]+/(?=[A-Z])|/\d+$", "", suite.split(".")[-1])
    return f"{suite}.{re.sub(r'[/[].*', '', case)}"


def read_results(folder: Path) -> dict[str, bool]:
    """Of each test whether all of its instances passed. Skipped ones say nothing."""
    passed: dict[str, bool] = {}
    for path in sorted(folder.glob("*.xml")):
        for case in ElementTree.parse(path).iter("testcase"):
            if case.get("status") == "notrun" or case.find("skipped") is not None:
                continue
            name = plain_name(case.get("classname", ""), case.get("name", ""))
            ok = case.find("failure") is None and case.find("error") is None
            passed[name] = passed.get(name, True) and ok
    return passed


def document(entries: list[str | Requirement], results: dict[str, bool]) -> tuple[str, list[str]]:
    """The text, and what is wrong."""
    tests: dict[str, list[str]] = defaultdict(list)
    for test in sorted(results):
        for name in ids_in(test):
            tests[name].append(test)
    wrong: list[str] = []
    lines: list[str] = []
    counts = {"pass": 0, "fail": 0, "missing": 0, "no test": 0}
    for entry in entries:
        if isinstance(entry, str):
            lines += ["", f"## {entry}", "", "| id | requirement | tests | |", "|---|---|---|---|"]
            continue
        covering = tests.get(entry.name, [])
        failed = [test for test in covering if not results[test]]
        verdict = "fail" if failed else "pass" if covering else "no test" if entry.reason else "missing"
        counts[verdict] += 1
        if failed:
            wrong.append(f"{entry.name}: failed: {', '.join(failed)}")
        elif verdict == "missing":
            wrong.append(f"{entry.name}: no test names it, and no reason is given ({entry.words})")
        shown = ", ".join(f"`{test}`" for test in covering[:4])
        if len(covering) > 4:
            shown += f" and {len(covering) - 4} more"
        lines.append(f"| {entry.name} | {entry.words} | {shown or entry.reason or '-'} | {verdict} |")
    head = ["# Conformance", "",
            "Written by `tests/conformance/report.py` from the results of `scripts/test`: each requirement, the tests",
            "that name it (unit, packet and system tests; at most four are shown) and how they ended. \"no test\": the",
            "third column says why.", "",
            ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)]
    return "\n".join(head + lines) + "\n", wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path)
    parser.add_argument("results", type=Path)
    arguments = parser.parse_args()
    entries = read_requirements(REQUIREMENTS.read_text())
    text, wrong = document(entries, read_results(arguments.results))
    if arguments.write:
        arguments.write.write_text(text)
    for fault in wrong:
        print(fault)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
