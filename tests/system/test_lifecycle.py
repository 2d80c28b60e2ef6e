"""Start, stop and what goes wrong at them. Each test has a router of its own."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
from pathlib import Path

import pytest

import cluster as cluster_module
from cluster import Cluster
from netns import Lab, execute, wait_until
from probes import ping
from router import SLUICED, Options, Router
from two_hosts import RIGHT, ROUTER_LEFT, TwoHosts

MIB = 1 << 20
DPDK_SAYS = r"(EAL|TELEMETRY|PMD|ETHDEV|\w+_?BUS):"


@pytest.fixture
def hosts(lab: Lab) -> TwoHosts:
    return TwoHosts(lab, ipv6=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(hosts: TwoHosts, number: int) -> None:
    router = hosts.start().router
    ping(hosts.left, RIGHT)
    router.process.signal(number)
    assert router.process.wait(10) == 0, router.log()
    assert not router.socket.exists()


def test_start_stop_start(hosts: TwoHosts) -> None:
    for _ in range(3):
        hosts.start()
        ping(hosts.left, RIGHT)
        assert hosts.router.stop() == 0, hosts.router.log()


def test_restart_loads_the_last_good_configuration(hosts: TwoHosts) -> None:
    router = hosts.start().router
    newer = hosts.document(routes=[{"destination": "198.51.100.0/24", "type": "blackhole"}])
    router.apply(newer)
    broken = hosts.document()
    broken["items"][0]["spec"]["interfaces"][0]["mtu"] = 3
    assert router.put(broken).status == 422
    assert router.stop() == 0
    router.start()
    assert "198.51.100.0/24" in {route["destination"] for route in router.routes()}
    ping(hosts.left, RIGHT)


def test_open_device_follows_the_configuration(hosts: TwoHosts) -> None:
    router = hosts.start().router
    changed = hosts.document()
    left = changed["items"][0]["spec"]["interfaces"][0]
    left["mtu"], left["mac"] = 1400, "02:00:00:00:00:77"
    router.apply(changed)
    assert " mtu 1400 " in hosts.middle.run("ip", "link", "show", "dev", "r-left").stdout
    ping(hosts.left, RIGHT)
    assert "02:00:00:00:00:77" in hosts.left.run("ip", "neigh", "show", "to", ROUTER_LEFT).stdout
    router.apply(hosts.document())
    assert " mtu 1500 " in hosts.middle.run("ip", "link", "show", "dev", "r-left").stdout
    ping(hosts.left, RIGHT)
    assert "02:00:00:00:00:77" not in hosts.left.run("ip", "neigh", "show", "to", ROUTER_LEFT).stdout


def test_refused_change_leaves_open_devices_as_they_were(hosts: TwoHosts) -> None:
    router = hosts.start().router
    broken = hosts.document()
    interfaces = broken["items"][0]["spec"]["interfaces"]
    interfaces[0]["mtu"] = 1400
    interfaces.append({"name": "other0", "device": "net_af_packet7,iface=nowhere", "role": "uplink",
                       "addresses": ["10.9.0.1/24"]})
    assert router.put(broken).status >= 400
    assert " mtu 1500 " in hosts.middle.run("ip", "link", "show", "dev", "r-left").stdout
    ping(hosts.left, RIGHT)


def test_restart_after_a_kill_loads_the_last_good_configuration(hosts: TwoHosts) -> None:
    router = hosts.start().router
    router.apply(hosts.document(routes=[{"destination": "198.51.100.0/24", "type": "blackhole"}]))
    router.process.signal(signal.SIGKILL)
    router.process.wait(5)
    router.start()
    assert "198.51.100.0/24" in {route["destination"] for route in router.routes()}
    ping(hosts.left, RIGHT)


def test_damaged_state_does_not_crash_the_start(hosts: TwoHosts) -> None:
    router = hosts.start().router
    assert router.stop() == 0
    files = [path for path in router.state.rglob("*") if path.is_file()]
    assert files, "nothing was kept in the state directory"
    for path in files:
        path.write_bytes(path.read_bytes()[:100])
    process = router.launch()
    wait_until(lambda: not process.running() or router.socket.exists(), 15, "a decision")
    if process.running():
        assert re.search(r"state|last|saved|config", router.log(), re.I), "it said nothing about the damage"
        assert router.stop() == 0
    else:
        assert_one_sentence(process.wait(1), router.log())


def assert_one_sentence(code: int, log: str) -> None:
    """The program gave up in order: an error code, no crash, and one line of its own that says why."""
    assert 0 < code < 126, f"exit code {code}\n{log}"
    assert "terminate called" not in log and "Segmentation" not in log, log
    spoken = [line for line in log.splitlines() if line.strip() and not re.match(DPDK_SAYS, line)]
    assert spoken and len(spoken[-1]) > 15, f"no reason given:\n{log}"


def missing_device(hosts: TwoHosts) -> list[str]:
    document = hosts.document()
    document["items"][0]["spec"]["interfaces"][0]["device"] = "net_af_packet0,iface=no-such-if"
    return ["--config", str(hosts.router.write_config(document))]


def unknown_driver(hosts: TwoHosts) -> list[str]:
    document = hosts.document()
    document["items"][0]["spec"]["interfaces"][0]["device"] = "net_teapot0"
    return ["--config", str(hosts.router.write_config(document))]


def faulty_config(hosts: TwoHosts) -> list[str]:
    document = hosts.document()
    document["items"][0]["spec"]["interfaces"][1]["addresses"] = ["127.0.0.1/8"]
    return ["--config", str(hosts.router.write_config(document))]


def broken_json(hosts: TwoHosts) -> list[str]:
    path = hosts.router.write_config({})
    path.write_text('{"kind": "List"')
    return ["--config", str(path)]


def no_such_file(_: TwoHosts) -> list[str]:
    return ["--config", "/no/such/file.json"]


def unknown_option(_: TwoHosts) -> list[str]:
    return ["--teapot"]


def no_workers(hosts: TwoHosts) -> list[str]:
    return ["--config", str(hosts.router.write_config(hosts.document())), "--workers", "0"]


def no_such_processor(hosts: TwoHosts) -> list[str]:
    return ["--config", str(hosts.router.write_config(hosts.document())), "--worker-cpus", "4000"]


def little_memory(hosts: TwoHosts) -> list[str]:
    return ["--config", str(hosts.router.write_config(hosts.document())), "--memory", "1"]


@pytest.mark.parametrize(("make", "word"), [
    (missing_device, "no-such-if"), (unknown_driver, "net_teapot0"), (faulty_config, "127.0.0.1"),
    (broken_json, "line 1"), (no_such_file, "/no/such/file.json"), (unknown_option, "teapot"), (no_workers, "0"),
    (no_such_processor, "4000"), (little_memory, "")], ids=lambda value: getattr(value, "__name__", None))
def test_error_at_the_start_is_told_in_a_sentence(hosts: TwoHosts, make, word: str) -> None:
    process = hosts.router.launch(*make(hosts))
    assert_one_sentence(process.wait(15), process.stderr())
    assert word in process.stderr(), process.stderr()


def test_socket_in_use_is_told(hosts: TwoHosts) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as owner:
        owner.bind(str(hosts.router.socket))
        owner.listen()
        process = hosts.router.launch("--config", str(hosts.router.write_config(hosts.document())))
        assert_one_sentence(process.wait(15), process.stderr())
        assert str(hosts.router.socket) in process.stderr()


def test_socket_left_by_a_dead_router_is_no_obstacle(hosts: TwoHosts) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as owner:
        owner.bind(str(hosts.router.socket))
    hosts.start()
    ping(hosts.left, RIGHT)


def check(path: Path) -> tuple[int, str]:
    done = execute(str(SLUICED), "--check", str(path), check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["gateway", "node2"])
def test_check_accepts_the_examples(name: str) -> None:
    code, said = check(cluster_module.EXAMPLES / f"{name}.json")
    assert code == 0, said


def test_objects_in_lines(hosts: TwoHosts, tmp_path: Path) -> None:
    path = tmp_path / "objects.ndjson"
    path.write_text("".join(json.dumps(item) + "\n" for item in hosts.document()["items"]))
    code, said = check(path)
    assert code == 0, said
    hosts.router.launch("--config", str(path))
    hosts.router.wait_ready()
    ping(hosts.left, RIGHT)


def test_check_names_every_fault(tmp_path: Path) -> None:
    document = cluster_module.example("gateway")
    cluster_module.find_object(document, "EndpointSlice", "web-k7x2p")["endpoints"][0]["addresses"] = ["127.0.0.1"]
    cluster_module.find_object(document, "Service", "web")["spec"]["ports"][0]["nodePort"] = 80
    path = tmp_path / "faulty.json"
    path.write_text(json.dumps(document))
    code, said = check(path)
    assert code != 0
    assert "endpoints[0].addresses[0]" in said and "spec.ports[0].nodePort" in said, said


def test_memory_of_the_demo_stays_below_256_mib(cluster: Cluster) -> None:
    for router in cluster.routers:
        assert router.resident_bytes() < 256 * MIB, f"{router.name}: {router.resident_bytes() / MIB:.0f} MiB"


def test_without_hugepages(lab: Lab) -> None:
    """Then the tables and buffers are resident memory too."""
    hosts = TwoHosts(lab, Options(extra=("--no-huge",)), ipv6=False).start()
    ping(hosts.left, RIGHT)
    assert hosts.router.resident_bytes() < 256 * MIB, f"{hosts.router.resident_bytes() / MIB:.0f} MiB"
    assert hosts.router.stop() == 0


def test_two_routers_beside_each_other(hosts: TwoHosts, lab: Lab) -> None:
    """Nothing of one process is in the way of another: names of files, of shared memory, of sockets."""
    hosts.start()
    other = Router(hosts.middle, "other")
    document = hosts.document()
    namespace = lab.namespace("elsewhere")
    lab.router_link(hosts.middle, "r-third", namespace, "eth0")
    document["items"][0]["spec"]["interfaces"] = [
        {"name": "third0", "device": "net_af_packet0,iface=r-third", "addresses": ["10.3.0.1/24"]}]
    other.start(document)
    namespace.ip("addr add 10.3.0.2/24 dev eth0")
    ping(namespace, "10.3.0.1")
    ping(hosts.left, RIGHT)
    assert other.stop() == 0 and hosts.router.stop() == 0
    shutil.rmtree(other.state, ignore_errors=True)
