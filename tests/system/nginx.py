"""nginx as a pod runs it: one process in a namespace, its configuration written by the test."""

from __future__ import annotations

from pathlib import Path

from cluster import listens
from netns import Namespace, Process, wait_until

TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def main_configuration(folder: Path, http: str) -> str:
    """What is around `http`: nothing is read or written outside of `folder`."""
    temporary = "\n".join(f"  {name}_temp_path {folder}/{name};" for name in TEMPORARY)
    return f"""daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log {folder}/access.log;
{temporary}
{http}
}}
"""


class Nginx:
    def __init__(self, namespace: Namespace, name: str, http: str, port: int):
        """Returns when it listens on `port`. `http` is what stands in the block of that name, {folder} in it this
        one's folder."""
        self.folder = namespace.lab.directory / name
        self.folder.mkdir()
        path = self.folder / "nginx.conf"
        path.write_text(main_configuration(self.folder, http.replace("{folder}", str(self.folder))))
        self.process: Process = namespace.start("nginx", "-e", str(self.folder / "error.log"), "-c", str(path),
                                                name=name)
        wait_until(lambda: listens(namespace, port), 10, lambda: f"nginx to listen on {port}: {self.complaints()}")

    def complaints(self) -> str:
        log = self.folder / "error.log"
        return self.process.stderr() + (log.read_text() if log.exists() else "")

    def requests(self) -> list[str]:
        """The lines of its access log."""
        return (self.folder / "access.log").read_text().splitlines()
