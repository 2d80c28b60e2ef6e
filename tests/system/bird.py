"""BIRD, the real one, in a namespace: its own configuration, its own control socket, a process of the lab."""

from __future__ import annotations

import re
from pathlib import Path

from netns import Namespace, Process, execute, wait_until

BIRD = "/usr/sbin/bird"

ROUTER = """
router id {address};
timeformat protocol iso long;
protocol device {{ scan time 1; }}
protocol direct {{ ipv4; interface "lo"; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; scan time 1; }}
protocol bfd {{ interface "*" {{ min rx interval 100 ms; min tx interval 100 ms; }};
               multihop {{ min rx interval 100 ms; min tx interval 100 ms; }}; }}
{sessions}
"""

SESSION = """
protocol bgp {name} {{
  local {address} as {local_as};
  neighbor {peer} as {peer_as};
  {options}
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  graceful restart on;
  ipv4 {{ import all; export where source = RTS_DEVICE; {channel} }};
}}
"""


class BirdDaemon:
    """One BIRD. `text`: its configuration; empty: somebody else writes the file."""

    def __init__(self, namespace: Namespace, text: str = "", folder: Path | None = None, arguments: tuple[str, ...] = ()):
        self.namespace = namespace
        self.folder = folder or namespace.lab.directory / f"bird-{namespace.name}"
        self.folder.mkdir(exist_ok=True)
        self.config = self.folder / "bird.conf"
        self.socket = self.folder / "bird.ctl"
        self.arguments = arguments
        self.process: Process | None = None
        if text:
            self.config.write_text(text)

    @staticmethod
    def options(folder: Path) -> tuple[str, ...]:
        """What tells sluiced where this daemon is."""
        return "--bird-config", str(folder / "bird.conf"), "--bird-socket", str(folder / "bird.ctl")

    def start(self) -> "BirdDaemon":
        if not self.config.exists():
            self.config.write_text("protocol device {}\n")
        self.process = self.namespace.start(BIRD, "-f", "-c", str(self.config), "-s", str(self.socket), *self.arguments,
                                            name="bird")
        wait_until(lambda: "ready" in self.ask("show status"), 10, lambda: f"BIRD: {self.process.stderr()}")
        return self

    def stop(self) -> None:
        self.process.stop(5)

    def ask(self, command: str) -> str:
        return execute("/usr/sbin/birdc", "-s", str(self.socket), *command.split(), check=False).stdout

    def established(self, protocol: str) -> bool:
        return "Established" in self.ask(f"show protocols {protocol}")

    def since(self, protocol: str) -> str:
        """When the protocol's state began."""
        found = re.search(rf"^{re.escape(protocol)} .*?(\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d)", self.ask("show protocols"), re.M)
        return found[1] if found else ""

    def routes(self, *words: str) -> set[str]:
        """Prefixes that BIRD has learned by BGP."""
        said = self.ask(" ".join(("show route where source = RTS_BGP", *words)))
        return set(re.findall(r"^(\S+/\d+)\s", said, re.M))
