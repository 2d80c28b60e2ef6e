"""Containers of podman and runc with sluice-cni as their network; the root file system is the machine's own /usr."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from cni import PLUGINS, SLUICE_CNI
from netns import NAMESPACES, wait_until
from router import Router

NETWORK = "sluice-test"
CACHE = Path("/var/lib/cni/results")  # where libcni keeps what ADD answered


class Podman:
    """One of its own in the lab's directory, on the node of a router."""

    def __init__(self, router: Router, mtu: int):
        self.router = router
        self.plugin = {"type": "sluice-cni", "socket": str(router.socket), "mtu": mtu}
        self.directory = router.lab.directory / f"{router.name}-podman"
        self.rootfs = self.directory / "rootfs"
        self.created: list[str] = []
        for name in ("usr", "etc", "proc", "sys", "dev", "tmp", "run", "var"):
            (self.rootfs / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.rootfs / name).symlink_to(f"usr/{name}")
        (self.directory / "plugins").mkdir()
        (self.directory / "plugins" / "sluice-cni").symlink_to(SLUICE_CNI)
        (self.directory / "networks").mkdir()
        (self.directory / "networks" / f"{NETWORK}.conflist").write_text(json.dumps(
            {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [self.plugin]}))
        (self.directory / "containers.conf").write_text(f"""
[network]
network_backend = "cni"
cni_plugin_dirs = ["{self.directory}/plugins", "{PLUGINS}"]
network_config_dir = "{self.directory}/networks"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
""")

    def run(self, *words: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        command = ["nsenter", f"--net={NAMESPACES / self.router.namespace.full_name}", "podman",
                   "--root", f"{self.directory}/storage", "--runroot", f"{self.directory}/run",
                   "--tmpdir", f"{self.directory}/tmp", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
                   "--runtime", "/usr/sbin/runc", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                              env={**os.environ, "CONTAINERS_CONF": str(self.directory / "containers.conf")})
        assert not check or done.returncode == 0, f"podman {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def start(self, name: str, *command: str) -> None:
        self.created.append(name)
        self.run("run", "--detach", "--name", name, "--network", NETWORK, "--volume", "/usr:/usr:ro",
                 "--rootfs", str(self.rootfs), *command)

    def inside(self, name: str, *command: str) -> str:
        return self.run("exec", name, *command).stdout

    def inspect(self, name: str) -> Json:
        return json.loads(self.run("inspect", name).stdout)[0]

    def check(self, name: str) -> subprocess.CompletedProcess[str]:
        """CNI's CHECK, with what libcni remembers of ADD; podman itself never asks."""
        container = self.inspect(name)
        cached = json.loads((CACHE / f"{NETWORK}-{container['Id']}-eth0").read_text())
        configuration = {**self.plugin, "cniVersion": "1.0.0", "name": NETWORK, "prevResult": cached["result"]}
        environment = {"CNI_COMMAND": "CHECK", "CNI_CONTAINERID": container["Id"], "CNI_IFNAME": "eth0",
                       "CNI_NETNS": container["NetworkSettings"]["SandboxKey"], "CNI_PATH": PLUGINS,
                       "CNI_ARGS": ";".join("=".join(pair) for pair in cached["cniArgs"]),
                       "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(["nsenter", f"--net={NAMESPACES / self.router.namespace.full_name}", str(SLUICE_CNI)],
                              input=json.dumps(configuration), capture_output=True, text=True, timeout=30,
                              env=environment)

    def remove(self, name: str) -> None:
        self.run("rm", "--force", "--time", "0", name)
        self.created.remove(name)

    def close(self) -> None:
        for name in list(self.created):
            self.run("rm", "--force", "--time", "0", "--ignore", name, check=False)
        wait_until(lambda: not self.processes(), 20, lambda: f"podman's own to end: {self.processes()}")
        shutil.rmtree(self.directory)

    def processes(self) -> list[str]:
        """What watches a container and cleans up after it goes on for a moment when podman has ended."""
        commands = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                commands.append(path.read_text().replace("\0", " "))
        return [command for command in commands if f"{self.directory}/" in command]
