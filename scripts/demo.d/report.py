"""How the demo speaks: numbered steps, what happened to the packets, a mark for each, tables."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Report:
    def __init__(self, stream=sys.stdout):
        self.stream = stream
        self.colours = stream.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ
        self.steps = 0
        self.verified = 0
        self.failures: list[str] = []
        self.began = time.monotonic()

    def style(self, text: str, *names: str) -> str:
        if not self.colours:
            return text
        return f"\x1b[{';'.join(STYLES[name] for name in names)}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        print(text, file=self.stream, flush=True)

    def heading(self, text: str) -> None:
        self.line("\n" + self.style(text, "bold"))

    def step(self, title: str) -> None:
        self.steps += 1
        self.line(f"\n{self.style(f'{self.steps:2}  {title}', 'bold')}")

    def detail(self, text: str) -> None:
        self.line(f"      {text}")

    def aside(self, text: str) -> None:
        self.detail(self.style(text, "dim"))

    def packet(self, where: str, text: str) -> None:
        """One sight of a packet: who saw it, and its addresses."""
        self.line(f"      {self.style(f'{where:<9}', 'cyan')} {text}")

    def passed(self, text: str) -> None:
        self.verified += 1
        self.line(f"    {self.style('✓', 'green', 'bold')} {text}")

    def failed(self, text: str) -> None:
        self.failures.append(f"step {self.steps}: {text}")
        first, *rest = text.splitlines() or [""]
        self.line(f"    {self.style('✗', 'red', 'bold')} {first}")
        for line in rest:
            self.detail(line)

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """The first row is the heading. Columns of numbers stand on the right."""
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        numeric = [all(re.fullmatch(r"[\d.]+", row[column]) for row in rows[1:]) for column in range(len(rows[0]))]
        for index, row in enumerate(rows):
            cells = [cell.rjust(width) if right else cell.ljust(width)
                     for cell, width, right in zip(row, widths, numeric)]
            text = "    " + "  ".join(cells).rstrip()
            self.line(self.style(text, "dim") if index == 0 else text)

    def summary(self) -> bool:
        seconds = time.monotonic() - self.began
        good = self.steps > 0 and self.verified == self.steps
        text = f"{self.verified} of {self.steps} steps verified in {seconds:.0f} s"
        self.line("\n" + self.style(text, "green" if good else "red", "bold"))
        for failure in self.failures:
            self.line(f"  {failure.splitlines()[0]}")
        return good
