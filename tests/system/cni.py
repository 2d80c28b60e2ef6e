"""sluice-cni as a container runtime runs it: containers are network namespaces, their host the router's namespace."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from netns import NAMESPACES, Namespace, execute
from router import BUILD, Json, Router

SLUICE_CNI = BUILD / "tools" / "sluice-cni"
PLUGINS = "/usr/lib/cni"  # of Debian's containernetworking-plugins


@dataclass
class Answer:
    code: int
    json: Json  # None: nothing was said

    def ok(self) -> Json:
        assert self.code == 0, self.json
        return self.json

    def error(self) -> int:
        assert self.code == 1 and "msg" in self.json, self.json
        return self.json["code"]


class Host:
    """Where the plugin runs."""

    def __init__(self, router: Router, **conf: Any):
        self.router = router
        self.conf = {"cniVersion": "1.0.0", "name": "net", "type": "sluice-cni", "socket": str(router.socket), **conf}

    def call(self, command: str, container: "Container", args: str = "", before: str = "", **conf: Any) -> Answer:
        """`before`: a command in a mount namespace of its own, in which the plugin is run then. Another `type` is one of
        Debian's plugins."""
        plugin = f"{PLUGINS}/{conf['type']}" if "type" in conf else SLUICE_CNI
        environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": container.id, "CNI_NETNS": container.path,
                       "CNI_IFNAME": "eth0", "CNI_PATH": PLUGINS, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                       "CNI_ARGS": args or container.args}
        program = ["unshare", "--mount", "sh", "-c", f"{before} && exec {plugin}"] if before else [str(plugin)]
        done = subprocess.run(["nsenter", f"--net={NAMESPACES / self.router.namespace.full_name}", *program],
                              input=json.dumps({**self.conf, **conf}), capture_output=True, text=True, timeout=60,
                              env=environment)
        return Answer(done.returncode, json.loads(done.stdout) if done.stdout.strip() else None)

    def add(self, container: "Container", **conf: Any) -> Json:
        result = self.call("ADD", container, **conf).ok()
        container.result = result
        return result

    def delete(self, container: "Container", **conf: Any) -> None:
        assert self.call("DEL", container, **conf).ok() is None

    def check(self, container: "Container", **conf: Any) -> Answer:
        return self.call("CHECK", container, prevResult=container.result, **conf)

    def links(self) -> list[str]:
        """The host's ends of the pods' interfaces."""
        out = execute("ip", "-netns", self.router.namespace.full_name, "-json", "link", "show").stdout
        return [link["ifname"] for link in json.loads(out) if link["ifname"].startswith("cali")]

    def handles(self) -> list[Json]:
        return self.router.get("/v1/ipam/handles")["handles"]

    def endpoints(self) -> list[Json]:
        return self.router.get("/v1/config?kind=WorkloadEndpoint")["items"]

    def nothing_left(self) -> None:
        assert self.links() == [] and self.handles() == [] and self.endpoints() == []


class Container:
    def __init__(self, namespace: Namespace, pod: str = ""):
        self.namespace = namespace
        self.id = f"c{namespace.name}0123456789abcdef"
        self.path = str(NAMESPACES / namespace.full_name)
        self.args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME={pod or namespace.name}"
        self.result: Json = None

    def ip(self, *words: str) -> Json:
        return json.loads(execute("ip", "-netns", self.namespace.full_name, "-json", *words).stdout or "[]")

    def addresses(self) -> list[str]:
        entries = self.ip("addr", "show", "dev", "eth0")[0]["addr_info"]
        return [f"{entry['local']}/{entry['prefixlen']}" for entry in entries if entry["scope"] == "global"]
