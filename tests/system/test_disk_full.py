"""A state folder that cannot be written: changes serve all the same, and are kept as soon as there is room again."""

from __future__ import annotations

import errno
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns import Lab, execute, wait_until
from objects import service, service_port
from probes import ping
from router import Json, Reply, Router
from two_hosts import RIGHT, TwoHosts

FAILING_SYNC = """
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int descriptor) {
  if (access("FLAG", F_OK) == 0) return errno = EIO, -1;
  return syscall(SYS_fdatasync, descriptor);
}
"""


@pytest.fixture
def hosts(lab: Lab) -> TwoHosts:
    return TwoHosts(lab, ipv6=False)


@pytest.fixture
def small_disk(hosts: TwoHosts) -> Iterator[Path]:
    folder = hosts.router.state
    folder.mkdir()
    execute("mount", "-t", "tmpfs", "-o", "size=2m", "sluice-test", str(folder))
    try:
        yield folder
    finally:
        execute("umount", "--lazy", str(folder))


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as out:
        for size in (65536, 4096, 1):
            try:
                while True:
                    out.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return ballast


def reasons(router: Router) -> list[str]:
    return [event["reason"] for event in router.get("/v1/events?after=0&follow=false")["events"]]


def patch(router: Router, *items: Json) -> Reply:
    return router.request("PATCH", "/v1/config", json.dumps({"kind": "Delta", "upsert": list(items)}))


def load_balancer(name: str, address: str) -> Json:
    return service(name, address, [service_port(80, 8080)], type="LoadBalancer")


def addresses_of(router: Router, name: str) -> list[str]:
    services = router.get("/v1/load-balancers")["loadBalancers"]
    return next(one["addresses"] for one in services if one["service"] == f"default/{name}")


def test_a_full_disk_is_a_warning_and_its_end_needs_no_change(hosts: TwoHosts, small_disk: Path) -> None:
    pool = {"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": "public", "namespace": "metallb-system"}, "spec": {"addresses": ["192.0.2.100/28"]}}
    router = hosts.router.start(hosts.document(items=[pool]))
    ballast = fill(small_disk)
    many = [service(f"svc-{number}", f"10.96.1.{number + 1}", [service_port(80, 8080)]) for number in range(100)]
    reply = patch(router, *many, load_balancer("public", "10.96.2.1"))
    assert reply.status == 200, reply.text
    assert "not kept for the next start" in reply.text and "services that have no address yet wait" in reply.text
    assert addresses_of(router, "public") == []
    wait_until(lambda: "StateNotKept" in reasons(router), 5, "the event")
    ping(hosts.left, RIGHT)
    reply = patch(router, service("last", "10.96.2.2", [service_port(80, 8080)]))
    assert reply.status == 200 and "not kept for the next start" in reply.text
    served = router.get("/v1/config")["items"]

    ballast.unlink()
    wait_until(lambda: "StateKept" in reasons(router), 20, "the state to be kept again")
    given = wait_until(lambda: addresses_of(router, "public"), 20, "the service to get its address")
    assert reasons(router).index("StateNotKept") < reasons(router).index("StateKept")
    router.process.signal(9)
    router.process.wait(5)
    router.start()
    assert router.get("/v1/config")["items"] == served
    assert addresses_of(router, "public") == given
    assert not list(small_disk.glob("*.damaged")), "nothing was wrong with what was kept"
    ping(hosts.left, RIGHT)


def test_a_disk_that_fails_behind_the_answer_is_noticed(hosts: TwoHosts) -> None:
    source, library, flag = (hosts.lab.directory / name for name in ("sync.c", "sync.so", "sync.fails"))
    source.write_text(FAILING_SYNC.replace("FLAG", str(flag)))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=60)
    router = hosts.router
    plain = router.command
    router.command = lambda *words: ["env", f"LD_PRELOAD={library}", *plain(*words)]
    router.start(hosts.document())
    flag.touch()
    reply = patch(router, service("one", "10.96.2.1", [service_port(80, 8080)]))
    assert reply.status == 200 and "not kept" not in reply.text, "the answer does not wait for the disk"
    wait_until(lambda: "StateNotKept" in reasons(router), 5, "the failure to be told")
    flag.unlink()
    wait_until(lambda: "StateKept" in reasons(router), 20, "the state to be kept again")
    served = router.get("/v1/config")["items"]
    router.process.signal(9)
    router.process.wait(5)
    router.start()
    assert router.get("/v1/config")["items"] == served
