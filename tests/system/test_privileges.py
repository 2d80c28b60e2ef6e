"""--user: what sluiced keeps of root's powers once its ports are open, and who may use its socket."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import subprocess
from pathlib import Path

import pytest

from netns import Lab
from probes import ping
from router import SLUICED, Options, Router
from threads import told_of_threads
from two_hosts import RIGHT, TwoHosts

NOBODY = pwd.getpwnam("nobody")
CAP_NET_ADMIN, CAP_NET_RAW = 12, 13  # capabilities(7)


@pytest.fixture
def hosts(lab: Lab) -> TwoHosts:
    lab.directory.chmod(0o711)
    for parent in lab.directory.parents:
        if parent.stat().st_mode & 1 == 0:
            parent.chmod(parent.stat().st_mode | 0o111)
    return TwoHosts(lab, ipv6=False, options=Options(extra=("--user", "nobody")))


def threads(router: Router) -> list[dict[str, str]]:
    """Of each thread, what /proc says of it."""
    return [dict(re.findall(r"^(\w+):\t(.*)$", status, re.M))
            for status in told_of_threads(router.process.pid, "status").values()]


def test_runs_as_another_user(hosts: TwoHosts) -> None:
    router = hosts.start().router
    ping(hosts.left, RIGHT)
    workers = control = 0
    for thread in threads(router):
        assert thread["Uid"].split() == [str(NOBODY.pw_uid)] * 4, thread
        assert thread["Gid"].split() == [str(NOBODY.pw_gid)] * 4, thread
        assert thread["Groups"].split() in ([], [str(NOBODY.pw_gid)]), thread
        capabilities = int(thread["CapPrm"], 16)
        assert int(thread["CapEff"], 16) == capabilities
        if capabilities == 0:
            workers += 1
        else:
            assert capabilities == 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW, thread
            assert thread["NoNewPrivs"] == "1"
            control += 1
    assert control >= 1 and workers >= 1
    assert "running as nobody" in router.log()


def test_takes_changes_and_remembers_them(hosts: TwoHosts) -> None:
    router = hosts.start().router
    router.apply(hosts.document(routes=[{"destination": "198.51.100.0/24", "type": "blackhole"}]))
    assert router.stop() == 0, router.log()
    assert {path.stat().st_uid for path in [router.state, *router.state.iterdir()]} == {NOBODY.pw_uid}
    router.start()
    assert "198.51.100.0/24" in {route["destination"] for route in router.routes()}
    ping(hosts.left, RIGHT)


def test_opens_further_ports(hosts: TwoHosts) -> None:
    router = hosts.start().router
    hosts.middle.ip("link add later type veth peer name later-peer", "link set dev later up",
                    "link set dev later-peer up")
    changed = hosts.document()
    changed["items"][0]["spec"]["interfaces"] += [
        {"name": "later0", "device": "net_af_packet7,iface=later", "role": "uplink", "addresses": ["192.0.2.1/24"]},
        {"name": "tap0", "device": "net_tap7,iface=s-tap7", "role": "uplink", "addresses": ["192.0.2.129/25"]}]
    changed["items"][0]["spec"]["interfaces"][-2]["addresses"] = ["192.0.2.1/25"]
    router.apply(changed)
    assert "s-tap7" in hosts.middle.run("ip", "link", "show").stdout
    ping(hosts.left, RIGHT)


def test_socket_is_of_the_group_that_was_named(lab: Lab) -> None:
    group = grp.getgrnam("daemon")
    hosts = TwoHosts(lab, ipv6=False, options=Options(extra=("--socket-group", "daemon", "--socket-mode", "0620")))
    router = hosts.start().router
    file = router.socket.stat()
    assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)) == (os.geteuid(), group.gr_gid, 0o620)


@pytest.mark.parametrize("options, words", [
    (["--user", "nobody-of-that-name"], 'there is no user "nobody-of-that-name"'),
    (["--user", "nobody:no-such-group"], 'there is no group "no-such-group"'),
    (["--socket-group", "no-such-group"], '--socket-group: there is no group "no-such-group"'),
    (["--socket-mode", "0666"], "the API is not open to everyone"),
    (["--socket-mode", "rw"], "--socket-mode wants an octal mode"),
])
def test_mistakes_are_told_before_anything_starts(tmp_path: Path, options: list[str], words: str) -> None:
    ended = subprocess.run([SLUICED, "--socket", tmp_path / "s", "--state-dir", "", *options], timeout=20, text=True,
                           capture_output=True, check=False)
    assert ended.returncode == 3
    assert words in ended.stderr
    assert not (tmp_path / "s").exists()


def test_who_is_not_root_cannot_become_somebody_else(tmp_path: Path) -> None:
    ended = subprocess.run([SLUICED, "--socket", tmp_path / "s", "--state-dir", "", "--user", "daemon"], timeout=20,
                           text=True, capture_output=True, check=False, user="nobody", extra_groups=[])
    assert ended.returncode == 3
    assert "only root" in ended.stderr and "daemon" in ended.stderr
