"""sluice-trafgen as the tests run it: a profile, flags, and the result it writes."""

from __future__ import annotations

import json
from pathlib import Path

from netns import Lab, Process, execute, processors, wait_until
from router import BUILD, Json

TRAFGEN = BUILD / "tools" / "sluice-trafgen"
# Small enough to run beside routers; ordinary pages, so that nobody has to leave hugepages for it.
SMALL = ("--no-huge", "--memory", "64", "--mbufs", "8192", "--no-live")


def memif(number: int, socket: Path, role: str) -> str:
    return f"net_memif{number},role={role},id=0,socket={socket},socket-abstract=no"


def command(*flags: str) -> list[str]:
    return [str(TRAFGEN), *SMALL, "--lcores", str(processors()[0]), *flags]


def write_profile(lab: Lab, profile: Json) -> Path:
    path = lab.directory / "profile.json"
    path.write_text(json.dumps(profile))
    return path


def run(lab: Lab, profile: Json | None, *flags: str, timeout: float = 60) -> tuple[int, Json]:
    """Runs it to its end: exit code and result."""
    result = lab.directory / "result.json"
    result.unlink(missing_ok=True)
    if profile is not None:
        flags = ("--profile", str(write_profile(lab, profile)), *flags)
    done = execute(*command("--json", str(result), *flags), timeout=timeout, check=False)
    assert result.exists(), f"no result, exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.returncode, json.loads(result.read_text())


def refused(*flags: str) -> str:
    """What it says about a command line or profile that is wrong."""
    done = execute(str(TRAFGEN), "--check", *flags, check=False)
    assert done.returncode == 1, f"exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stderr


def start_reflector(lab: Lab, socket: Path, *flags: str) -> Process:
    """A peer that sends back what comes to its memif port, until it is stopped."""
    reflector = lab.start(command("--port", memif(0, socket, "server"), "--reflect", "swap", "--warmup", "0",
                                  "--wait-link", "60", "--duration", "600", *flags), "reflector")
    wait_until(socket.exists, 20, lambda: f"the reflector's socket:\n{reflector.stderr()}")
    return reflector
