"""Network namespaces, the links between them and the processes inside, all of which end with the Lab that made them.

A Lab is a context manager. Whatever it makes is named after its prefix, and leaving it, by an exception or a signal
too, first ends the processes it started (by process id, never by name) and then deletes the namespaces, with which
the kernel deletes their links.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

NAMESPACES = Path("/run/netns")
NAMESPACE_FILES = Path("/etc/netns")  # of ip(8): what is in a namespace's folder is in /etc for processes started there
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
RECORD = "processes"  # file in a lab's directory: id and start time of each process it started
libc = ctypes.CDLL(None, use_errno=True)


class CommandFailed(Exception):
    """A command of the lab ended with an error; the message is the command and what it said."""


def die_with_parent() -> None:
    """Runs in a child before exec: should this process be killed outright, the child goes with it."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_until(condition: Callable[[], T], seconds: float, what: str | Callable[[], str], interval: float = 0.02) -> T:
    """The first true value of `condition`; AssertionError naming `what` (asked only then) after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain for {what if isinstance(what, str) else what()}")
        time.sleep(interval)


def execute(*command: str, timeout: float = 20, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end. Without `check` its exit code is the caller's to read."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout,
                              stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{shlex.join(command)}: no end within {timeout:g} s") from error
    if check and done.returncode != 0:
        raise CommandFailed(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done


class Process:
    """A process that runs beside the caller. Its output goes to files, so that it never blocks on a full pipe."""

    def __init__(self, command: list[str], directory: Path, name: str, outlive_parent: bool = False):
        self.command = command
        self.name = name
        self.stdout_path = directory / f"{name}.out"
        self.stderr_path = directory / f"{name}.err"
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            # A session of its own: an interrupt typed at the terminal is for the caller, which ends us in order.
            self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                          start_new_session=True,
                                          preexec_fn=None if outlive_parent else die_with_parent)
        self.pid = self.popen.pid

    def running(self) -> bool:
        return self.popen.poll() is None

    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    def signal(self, number: int) -> None:
        if self.running():
            self.popen.send_signal(number)

    def wait(self, seconds: float) -> int:
        """The exit code; negative: the signal that ended it."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {seconds:g} s") from None

    def stop(self, seconds: float = 3) -> int:
        """SIGTERM, and SIGKILL for a process that does not listen."""
        self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait(10)


class Namespace:
    def __init__(self, lab: "Lab", name: str, full_name: str):
        self.lab = lab
        self.name = name
        self.full_name = full_name

    def ip(self, *lines: str) -> None:
        """Commands of ip(8) in one run of it: ip("link set lo up", "addr add …")."""
        done = subprocess.run(["ip", "-netns", self.full_name, "-batch", "-"], input="\n".join(lines) + "\n",
                              capture_output=True, text=True, timeout=20)
        if done.returncode != 0:
            raise CommandFailed(f"ip in {self.full_name}: {done.stderr.strip()}\n" + "\n".join(lines))

    def forget_path_mtus(self) -> None:
        """And whatever else the kernel has learned about routes."""
        for family in ("-4", "-6"):
            execute("ip", "-netns", self.full_name, family, "route", "flush", "cache")

    def bridge(self, *words: str) -> None:
        execute("bridge", "-netns", self.full_name, *words)

    def run(self, *command: str, timeout: float = 20, check: bool = True) -> subprocess.CompletedProcess[str]:
        return execute("ip", "netns", "exec", self.full_name, *command, timeout=timeout, check=check)

    def start(self, *command: str, name: str = "") -> Process:
        return self.lab.start(["ip", "netns", "exec", self.full_name, *command],
                              f"{self.name}-{name or Path(command[0]).name}")

    def sysctl(self, **values: Any) -> None:
        """Sets what this kernel has: sysctl(**{"net.ipv4.ip_forward": 1}); a missing key is no error."""
        with self.entered():
            for key, value in values.items():
                # Interface names may have dots in them: "net/ipv4/conf/eth0.1/…" is written with slashes by the caller.
                path = Path("/proc/sys") / (key if "/" in key else key.replace(".", "/"))
                if path.exists():
                    path.write_text(str(value))

    def offload(self, interface: str, **states: str) -> None:
        """offload("eth0", tx="off")"""
        self.run("ethtool", "-K", interface, *(word for pair in states.items() for word in pair))

    def mac(self, interface: str) -> str:
        words = execute("ip", "-netns", self.full_name, "-brief", "link", "show", "dev", interface).stdout.split()
        return words[2]

    def snmp(self) -> dict[str, int]:
        """The kernel's protocol counters of this namespace: {"TcpInCsumErrors": 0, …}."""
        counters: dict[str, int] = {}
        for file in ("snmp", "netstat"):
            with self.entered():
                text = Path(f"/proc/thread-self/net/{file}").read_text()
            rows = [line.split() for line in text.splitlines()]
            for names, values in zip(rows[::2], rows[1::2]):
                group = names[0].rstrip(":")
                counters.update({group + key: int(value) for key, value in zip(names[1:], values[1:])})
        return counters

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the namespace; a socket made here stays in it."""
        with open("/proc/thread-self/ns/net") as home, open(NAMESPACES / self.full_name) as there:
            set_namespace(there.fileno())
            try:
                yield
            finally:
                set_namespace(home.fileno())

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        with self.entered():
            return socket.socket(family, kind, protocol)


def set_namespace(descriptor: int) -> None:
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Lab:
    """Namespaces and processes under one prefix. `directory` holds their files and goes with the lab."""

    def __init__(self, prefix: str, directory: Path | None = None, outlive_parent: bool = False):
        self.prefix = prefix
        self.own_directory = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix=prefix)) if directory is None else directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.outlive_parent = outlive_parent
        self.namespaces: dict[str, Namespace] = {}
        self.processes: list[Process] = []

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def namespace(self, name: str) -> Namespace:
        full_name = self.prefix + name
        namespace = Namespace(self, name, full_name)
        self.namespaces[name] = namespace  # before it exists: an interrupt in between must not forget it
        execute("ip", "netns", "add", full_name)
        namespace.ip("link set lo up")
        # Quiet where nobody asked for IPv6: no router solicitations and multicast reports among the test's frames.
        namespace.sysctl(**{"net.ipv6.conf.all.disable_ipv6": 1, "net.ipv6.conf.default.disable_ipv6": 1,
                            "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0,
                            "net.ipv4.ip_forward": 0, "net.ipv4.ping_group_range": "0 2147483647",
                            # Linux's own limits on ICMP errors would make hops and refusals come and go.
                            "net.ipv4.icmp_ratelimit": 0, "net.ipv4.icmp_msgs_per_sec": 100000,
                            "net.ipv4.icmp_msgs_burst": 100000})
        return namespace

    def link(self, left: Namespace, left_name: str, right: Namespace, right_name: str, mtu: int = 1500,
             left_mac: str = "", right_mac: str = "") -> None:
        """A veth pair between two namespaces, both ends up."""
        left.ip(f"link add name {left_name} mtu {mtu} {'address ' + left_mac if left_mac else ''} type veth "
                f"peer name {right_name} mtu {mtu} {'address ' + right_mac if right_mac else ''} "
                f"netns {right.full_name}",
                f"link set dev {left_name} up")
        right.ip(f"link set dev {right_name} up")

    def router_link(self, router: Namespace, router_name: str, peer: Namespace, peer_name: str,
                    mtu: int = 1500) -> None:
        """A link whose one end a router in user space reads and writes with a packet socket.

        The kernel beside the router must not answer on that end: it has no address there, and no ARP, no IPv6.
        What is read there must be finished frames no larger than the MTU: docs/demo.md says which offloads spoil that.
        """
        self.link(router, router_name, peer, peer_name, mtu)
        router.ip(f"link set dev {router_name} arp off")
        peer.offload(peer_name, tx="off")
        router.offload(router_name, gro="off")

    def start(self, command: list[str], name: str) -> Process:
        count = sum(process.name.split("#")[0] == name for process in self.processes)
        process = Process(command, self.directory, f"{name}#{count}" if count else name, self.outlive_parent)
        self.processes.append(process)
        with open(self.directory / RECORD, "a") as record:
            record.write(f"{process.pid} {start_time(process.pid)}\n")
        return process

    def close(self) -> None:
        """Ends processes, newest first, then deletes the namespaces. Safe to call again."""
        with signals_held():
            while self.processes:
                self.processes.pop().stop()
            while self.namespaces:
                _, namespace = self.namespaces.popitem()
                delete_namespace(namespace.full_name)
            if self.own_directory and self.directory.exists():
                for path in sorted(self.directory.rglob("*"), reverse=True):
                    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
                self.directory.rmdir()


def start_time(pid: int) -> str:
    """When the process began, in the kernel's ticks; with its id it names a process for ever. Empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def end_recorded(directory: Path, seconds: float = 5) -> int:
    """Ends what a lab that is no more has left running, by its record of process ids. Returns how many there were."""
    record = directory / RECORD
    lines = record.read_text().splitlines() if record.exists() else []
    alive = [(int(pid), began) for pid, began in map(str.split, lines) if start_time(int(pid)) == began]
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [pid for pid, began in alive if start_time(pid) == began]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: all(start_time(pid) != began for pid, began in alive), seconds, "processes to end")
    record.unlink(missing_ok=True)
    return len(alive)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Impatience must not stop a clean-up half way: interrupts wait until it is done."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def delete_namespace(full_name: str) -> None:
    if (NAMESPACE_FILES / full_name).exists():
        shutil.rmtree(NAMESPACE_FILES / full_name)
        with contextlib.suppress(OSError):
            NAMESPACE_FILES.rmdir()  # unless others have something there
    if (NAMESPACES / full_name).exists():
        execute("ip", "netns", "delete", full_name, check=False)


def namespaces_named(prefix: str) -> list[str]:
    return sorted(path.name for path in NAMESPACES.glob(prefix + "*")) if NAMESPACES.is_dir() else []


def delete_orphans(pattern: str = r"slt-(\d+)-.*") -> None:
    """Deletes namespaces of labs whose process, named by its id in the pattern's group, is gone."""
    for name in namespaces_named(""):
        owner = re.fullmatch(pattern, name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            delete_namespace(name)


def raise_on_signals() -> None:
    """SIGTERM and SIGHUP unwind the program like an interrupt, so that every Lab on the way closes."""
    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


def processors() -> list[int]:
    return sorted(os.sched_getaffinity(0))
