"""BIRD 2 in a namespace, with a configuration of the test's own."""

from __future__ import annotations

from netns import Namespace, execute, wait_until


class Bird:
    def __init__(self, namespace: Namespace, configuration: str, name: str = "bird"):
        self.namespace = namespace
        directory = namespace.lab.directory
        self.file = directory / f"{namespace.name}-{name}.conf"
        self.socket = directory / f"{namespace.name}-{name}.ctl"
        self.file.write_text(configuration)
        self.process = namespace.start("bird", "-f", "-c", str(self.file), "-s", str(self.socket), name=name)
        wait_until(self.answers, 10, lambda: f"BIRD of {namespace.name}: {self.process.stderr()}")

    def answers(self) -> bool:
        return execute("birdc", "-s", str(self.socket), "show", "status", check=False).returncode == 0

    def ask(self, *words: str) -> str:
        return execute("birdc", "-s", str(self.socket), *words).stdout

    def established(self, protocol: str) -> bool:
        return "Established" in self.ask("show", "protocols", protocol)
