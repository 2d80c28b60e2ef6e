"""What all system tests share: one cluster and one pair of hosts per number of workers, limits, reports of failures."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster import Cluster  # noqa: E402
from netns import Lab, delete_orphans, raise_on_signals, wait_until  # noqa: E402
from probes import ping  # noqa: E402
from router import SLUICECTL, SLUICED, Options, Router  # noqa: E402
from trafgen import TRAFGEN  # noqa: E402
from two_hosts import RIGHT, TwoHosts  # noqa: E402

TEST_SECONDS = 90  # what no single test needs


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "changes_config: the test leaves another configuration behind; it is put back")


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    if os.geteuid() != 0:
        pytest.exit("system tests make network namespaces, which needs root", 1)
    for program in (SLUICED, SLUICECTL, TRAFGEN):
        if not program.exists():
            pytest.exit(f"{program} is not there: run scripts/build (SLUICE_BUILD names another build folder)", 1)
    raise_on_signals()
    delete_orphans()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """A failed test shows what the routers said, counted and kept."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and call.excinfo is not None:
        for router in Router.running:
            if not router.lab.namespaces:
                continue  # of an earlier test
            report.sections.append((f"sluiced {router.name}", router.report()))


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """No wait is for ever, whatever a test forgot."""
    def give_up(*_: object) -> None:
        raise AssertionError(f"the test took more than {TEST_SECONDS} s")
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)


def lab_prefix() -> str:
    return f"slt-{os.getpid()}-"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Namespaces for one test alone."""
    with Lab(lab_prefix() + "own-") as made:
        yield made


@pytest.fixture(scope="session", params=[1, 2], ids=["1worker", "2workers"])
def workers(request: pytest.FixtureRequest) -> int:
    return request.param


# ---- one cluster and one pair of hosts for all tests with one number of workers ----

@pytest.fixture(scope="session")
def shared_cluster(workers: int) -> Iterator[Cluster]:
    with Lab(f"{lab_prefix()}c{workers}-") as lab:
        cluster = Cluster(lab, Options(workers=workers))
        cluster.start_servers()
        cluster.start_routers()
        yield cluster
        for router in cluster.routers:
            if router.process.running():
                assert router.stop() == 0, f"sluiced {router.name} did not end cleanly:\n{router.log()}"


@pytest.fixture(scope="session")
def shared_two_hosts(workers: int) -> Iterator[TwoHosts]:
    with Lab(f"{lab_prefix()}h{workers}-") as lab:
        two_hosts = TwoHosts(lab, Options(workers=workers), right_mtu=1400).start()
        yield two_hosts
        if two_hosts.router.process.running():
            assert two_hosts.router.stop() == 0, f"sluiced did not end cleanly:\n{two_hosts.router.log()}"


@pytest.fixture(scope="session")
def shared_tap_hosts(workers: int) -> Iterator[TwoHosts]:
    with Lab(f"{lab_prefix()}t{workers}-") as lab:
        tap_hosts = TwoHosts(lab, Options(workers=workers), right_mtu=1400, driver="net_tap").start()
        ping(tap_hosts.left, RIGHT)
        tap_hosts.router.idle_buffers = tap_hosts.router.mbufs_in_use()  # a tap keeps a ring full of them
        yield tap_hosts
        if tap_hosts.router.process.running():
            assert tap_hosts.router.stop() == 0, f"sluiced did not end cleanly:\n{tap_hosts.router.log()}"


@pytest.fixture
def cluster(shared_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    documents = {shared_cluster.gateway: shared_cluster.gateway_document,
                 shared_cluster.second: shared_cluster.node2_document}
    with contextlib.ExitStack() as stack:
        for router, document in documents.items():
            stack.enter_context(unharmed(router, document, request))
        yield shared_cluster


@pytest.fixture
def two_hosts(shared_two_hosts: TwoHosts, request: pytest.FixtureRequest) -> Iterator[TwoHosts]:
    with unharmed(shared_two_hosts.router, shared_two_hosts.document(), request):
        yield shared_two_hosts


@pytest.fixture
def tap_hosts(shared_tap_hosts: TwoHosts, request: pytest.FixtureRequest) -> Iterator[TwoHosts]:
    with unharmed(shared_tap_hosts.router, shared_tap_hosts.document(), request):
        yield shared_tap_hosts


@contextlib.contextmanager
def unharmed(router: Router, document: dict, request: pytest.FixtureRequest) -> Iterator[None]:
    """A shared router outlives the test: it runs, has given back every packet buffer, has its configuration again.

    One that an earlier test broke is started anew, so that one failure stays one failure.
    """
    if not router.process.running():
        router.start(document)
    before = router.process.pid
    yield
    assert router.process.running(), f"sluiced {router.name} ended with {router.process.wait(1)}:\n{router.log()}"
    if request.node.get_closest_marker("changes_config"):
        router.apply(document)
    if router.process.pid == before:
        wait_until(lambda: router.mbufs_in_use() <= router.idle_buffers, 6,
                   lambda: f"{router.name} to give back its packet buffers: {router.mbufs_in_use()} in use, "
                           f"{router.idle_buffers} after its start")
