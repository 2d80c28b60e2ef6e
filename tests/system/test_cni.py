"""Containers attached by sluice-cni, their addresses from the router's own allocator or from host-local."""

from __future__ import annotations

import concurrent.futures
import json
import shutil
import signal
from collections.abc import Callable, Iterator

import pytest

from cni import Container, Host
from netns import Lab, execute, wait_until
from probes import ping
from router import Json, Router

POOL = {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pods"},
        "spec": {"cidr": "10.244.0.0/16", "blockSize": 26}}
POOL6 = {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pods6"},
         "spec": {"cidr": "fd00:244::/64", "blockSize": 122}}
IPAM = {"apiVersion": "projectcalico.org/v3", "kind": "IPAMConfiguration", "metadata": {"name": "default"},
        "spec": {"leakGraceSeconds": 1}}
DUAL = {"ipam": {"assign_ipv6": True}}


def document(*more: Json) -> Json:
    gateway = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
               "spec": {"nodeName": "node-1", "conntrack": {"max": 65536},
                        "interfaces": [{"name": "uplink", "device": "net_af_packet0,iface=r-up", "role": "uplink",
                                        "addresses": ["192.0.2.1/24", "2001:db8::1/64"], "mtu": 1500}]}}
    return {"apiVersion": "v1", "kind": "List", "items": [gateway, POOL, POOL6, IPAM, *more]}


@pytest.fixture
def host(lab: Lab) -> Iterator[Host]:
    middle, outside = lab.namespace("router"), lab.namespace("outside")
    lab.router_link(middle, "r-up", outside, "eth0")
    router = Router(middle, "router").start(document())
    yield Host(router)
    if router.alive():
        assert router.stop() == 0, router.log()


def container(lab: Lab, name: str, pod: str = "") -> Container:
    return Container(lab.namespace(name), pod)


def test_IPAM10_a_pod_comes_and_goes(lab: Lab, host: Host) -> None:
    generation = host.router.generation()
    pod = container(lab, "web")
    result = host.add(pod, mtu=1400, dns={"nameservers": ["10.96.0.10"]}, **DUAL)
    assert [ip["address"] for ip in result["ips"]] == ["10.244.0.0/32", "fd00:244::/128"]
    assert result["dns"] == {"nameservers": ["10.96.0.10"]}
    outer, inner = result["interfaces"]
    assert outer["name"] == host.links()[0] and len(outer["name"]) == 15
    # Not the gateway's, whose frames the kernel would take.
    near = json.loads(execute("ip", "-netns", host.router.namespace.full_name, "-json", "link", "show", outer["name"]).stdout)
    assert outer["mac"] == near[0]["address"] != "ee:ee:ee:ee:ee:ee"
    assert inner["name"] == "eth0" and inner["sandbox"] == pod.path

    assert sorted(pod.addresses()) == ["10.244.0.0/32", "fd00:244::/128"]
    link = pod.ip("link", "show", "dev", "eth0")[0]
    assert link["address"] == inner["mac"] and link["mtu"] == 1400 and "UP" in link["flags"]
    assert "UP" in pod.ip("link", "show", "dev", "lo")[0]["flags"]
    routes = {(route["dst"], route.get("gateway")) for route in pod.ip("route")}
    assert routes == {("default", "169.254.1.1"), ("169.254.1.1", None)}
    routes6 = {(route["dst"], route.get("gateway")) for route in pod.ip("-6", "route")}
    assert {("default", "fe80::ecee:eeff:feee:eeee"), ("fe80::ecee:eeff:feee:eeee", None)} <= routes6

    endpoint, = host.endpoints()
    assert endpoint["metadata"]["namespace"] == "prod" and endpoint["metadata"]["name"] == "node--1-k8s-web-eth0"
    assert endpoint["spec"] == {"orchestrator": "k8s", "node": "node-1", "pod": "web", "endpoint": "eth0",
                                "containerID": pod.id, "interfaceName": outer["name"], "mac": inner["mac"],
                                "ipNetworks": ["10.244.0.0/32", "fd00:244::/128"]}
    assert host.check(pod, mtu=1400, **DUAL).ok() is None
    # The block is black-holed (IPAM-5); that is no change of the configuration.
    blocks = {route["destination"]: route["type"] for route in host.router.routes() if route["origin"] == "block"}
    assert blocks == {"10.244.0.0/26": "blackhole", "fd00:244::/122": "blackhole"}
    assert host.router.generation() == generation + 1, "the endpoint, and nothing else"

    host.delete(pod, **DUAL)
    host.nothing_left()
    assert [link["ifname"] for link in pod.ip("link")] == ["lo"]
    host.delete(pod, **DUAL)
    lab.namespaces.pop("web")
    execute("ip", "netns", "delete", pod.namespace.full_name)
    host.delete(pod, **DUAL)


def test_IPAM2_an_address_comes_back_late(lab: Lab, host: Host) -> None:
    pod = container(lab, "again")
    seen = []
    for _ in range(15):
        seen.append(host.add(pod)["ips"][0]["address"])
        assert host.check(pod).ok() is None
        host.delete(pod)
    assert len(set(seen)) == 15
    host.nothing_left()
    blocks = host.router.get("/v1/ipam/blocks")["blocks"]
    assert [(block["cidr"], block["used"], block["state"]) for block in blocks] == [("10.244.0.0/26", 0, "confirmed")]


def test_IPAM3_a_requested_address(lab: Lab, host: Host) -> None:
    one, two = container(lab, "one"), container(lab, "two")
    wish = {"runtimeConfig": {"ips": ["10.244.7.9/32"]}}
    assert host.add(one, **wish)["ips"][0]["address"] == "10.244.7.9/32"
    refused = host.call("ADD", two, **wish)
    assert refused.error() == 101 and "10.244.7.9 is assigned to handle" in refused.json["msg"]
    assert len(host.links()) == 1
    host.delete(one)
    assert host.add(two, **wish)["ips"][0]["address"] == "10.244.7.9/32"
    host.delete(two)


def test_IPAM8_two_hundred_at_once(lab: Lab, host: Host) -> None:
    signal.alarm(300)  # it is many processes
    count = 200
    pods = [container(lab, f"p{index}") for index in range(count)]
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        results = list(pool.map(host.add, pods))
        addresses = [result["ips"][0]["address"] for result in results]
        assert len(set(addresses)) == count
        assert [pod.addresses() for pod in pods] == [[address] for address in addresses]
        assert len(host.links()) == len(host.handles()) == len(host.endpoints()) == count
        assert all(answer.code == 0 for answer in pool.map(host.check, pods))
        list(pool.map(host.delete, pods))
    host.nothing_left()
    blocks = host.router.get("/v1/ipam/blocks")["blocks"]
    assert [block["used"] for block in blocks] == [0], "one empty block stays"


def test_IPAM8_a_failed_add_leaves_nothing(lab: Lab, host: Host) -> None:
    pod = container(lab, "taken")
    pod.namespace.ip("link add eth0 type veth peer name other")
    refused = host.call("ADD", pod)
    assert refused.error() == 100 and "File exists" in refused.json["msg"]
    host.nothing_left()
    pod.namespace.ip("link del eth0")
    host.add(pod)
    again = host.call("ADD", pod)
    assert again.error() == 100 and "already" in again.json["msg"]
    assert host.check(pod).ok() is None, "the one that runs is untouched"
    host.delete(pod)
    host.nothing_left()


@pytest.mark.parametrize("harm, message", [
    ("link set eth0 address 02:00:00:00:00:99", "MAC address"),
    ("addr del 10.244.0.0/32 dev eth0", "10.244.0.0/32 is not among the addresses"),
    ("route del default", "route to 0.0.0.0/0"),
    ("link set eth0 down", "is down"),
    ("link del eth0", "no interface cali"),
])
def test_check_says_what_is_wrong(lab: Lab, host: Host, harm: str, message: str) -> None:
    pod = container(lab, "harmed")
    host.add(pod, mtu=1400)
    pod.namespace.ip(harm)
    answer = host.check(pod, mtu=1400)
    assert answer.error() == 102 and message in answer.json["msg"], answer.json
    host.delete(pod)


def test_check_lets_later_plugins_add(lab: Lab, host: Host) -> None:
    pod = container(lab, "tuned")
    result = host.add(pod, mtu=1400)
    for change in ("link set eth0 mtu 1300", "addr add 10.9.9.9/32 dev eth0", "route add 10.7.0.0/16 dev eth0"):
        pod.namespace.ip(change)
    result["interfaces"].append({"name": "ifb0", "mac": "02:00:00:00:00:07"})
    result["ips"].append({"address": "10.9.9.9/32", "interface": 1})
    result["routes"].append({"dst": "10.7.0.0/16"})
    assert host.check(pod, mtu=1400).ok() is None
    pod.namespace.ip("route del 10.7.0.0/16")
    answer = host.check(pod, mtu=1400)
    assert answer.error() == 102 and "route to 10.7.0.0/16" in answer.json["msg"]
    host.delete(pod)


def test_check_sees_the_gateways_mac_in_the_host(lab: Lab, host: Host) -> None:
    pod = container(lab, "harmed")
    outer = host.add(pod)["interfaces"][0]
    host.router.namespace.ip(f"link set {outer['name']} address ee:ee:ee:ee:ee:ee")
    answer = host.check(pod)
    assert answer.error() == 102 and f"MAC address ee:ee:ee:ee:ee:ee, not {outer['mac']}" in answer.json["msg"]
    host.delete(pod)


def test_add_fails_where_a_sysctl_cannot_be_set(lab: Lab, host: Host) -> None:
    pod = container(lab, "quiet")
    refused = host.call("ADD", pod, before="mount -o bind,ro /proc/sys /proc/sys")
    assert refused.error() == 100 and "cannot set /proc/sys/net/ipv4/conf/cali" in refused.json["msg"]
    host.nothing_left()
    host.add(pod)
    host.delete(pod)


def test_check_asks_the_router(lab: Lab, host: Host) -> None:
    pod = container(lab, "unknown")
    host.add(pod)
    assert host.router.request("DELETE", "/v1/WorkloadEndpoint/prod/node--1-k8s-unknown-eth0").status == 200
    answer = host.check(pod)
    assert answer.error() == 102 and "no WorkloadEndpoint" in answer.json["msg"]
    host.delete(pod)


def test_IPAM8_a_restart_in_between(lab: Lab, host: Host) -> None:
    before = container(lab, "before")
    host.add(before)
    host.router.process.signal(9)
    host.router.process.wait(5)
    host.router.start()
    assert host.check(before).ok() is None
    after = container(lab, "after")
    assert host.add(after)["ips"] != before.result["ips"]
    blocks = [route["destination"] for route in host.router.routes() if route["origin"] == "block"]
    assert blocks == ["10.244.0.0/26"]
    for pod in (before, after):
        host.delete(pod)
    host.nothing_left()


def test_IPAM8_pods_that_end_without_the_router(lab: Lab, host: Host) -> None:
    gone, there = container(lab, "gone"), container(lab, "there")
    host.add(gone)
    host.add(there)
    assert host.router.stop() == 0
    assert host.call("ADD", container(lab, "early")).error() == 11, "try again later"
    host.delete(gone)
    lab.namespaces.pop("gone")
    execute("ip", "netns", "delete", gone.namespace.full_name)
    host.router.start()
    wait_until(lambda: len(host.handles()) == 1, 15, "the router to collect the address")
    assert [endpoint["spec"]["pod"] for endpoint in host.endpoints()] == ["there"]
    assert host.check(there).ok() is None
    host.delete(there)


@pytest.mark.parametrize("conf", [{}, {"nodeName": "node-1"}])
def test_IPAM8_no_release_before_the_router_knows_its_endpoints(lab: Lab, host: Host, conf: Json) -> None:
    pod = container(lab, "pod")
    host.add(pod, **conf)
    assert host.router.stop() == 0
    addresses = {file.name: file.read_bytes() for file in host.router.state.iterdir() if file.name.startswith("ipam")}
    shutil.rmtree(host.router.state)
    host.router.state.mkdir()
    for name, content in addresses.items():
        (host.router.state / name).write_bytes(content)
    host.router.launch()
    wait_until(host.router.socket.exists, 15, "the router to listen")
    assert host.router.get("/v1/status")["generationApplied"] == 0
    for command in ("ADD", "DEL"):
        refused = host.call(command, container(lab, "early") if command == "ADD" else pod, **conf)
        assert refused.error() == 11 and "no configuration yet" in refused.json["msg"]
    assert host.router.request("DELETE", f"/v1/ipam/handles/net.{pod.id}.eth0").status == 503
    assert [handle["handle"] for handle in host.handles()] == [f"net.{pod.id}.eth0"]
    assert host.router.request("PUT", "/v1/config", json.dumps(document()).encode()).status == 200
    host.delete(pod, **conf)
    host.nothing_left()


def test_a_pod_of_the_same_name_keeps_its_endpoint(lab: Lab, host: Host) -> None:
    old, new = container(lab, "old", "web-0"), container(lab, "new", "web-0")
    host.add(old)
    host.add(new)
    host.delete(old)
    endpoint, = host.endpoints()
    assert endpoint["spec"]["containerID"] == new.id
    assert host.check(new).ok() is None
    host.delete(new)
    host.nothing_left()


def test_addresses_of_host_local(lab: Lab, host: Host) -> None:
    ipam = {"type": "host-local", "dataDir": str(lab.directory / "host-local"), "ranges": [[{"subnet": "10.9.0.0/24"}]]}
    pod = container(lab, "local")
    result = host.add(pod, ipam=ipam)
    assert result["ips"][0]["address"].endswith("/32") and pod.addresses() == [result["ips"][0]["address"]]
    assert pod.addresses()[0].startswith("10.9.0.")
    assert host.endpoints()[0]["spec"]["ipNetworks"] == pod.addresses()
    assert host.check(pod, ipam=ipam).ok() is None
    assert host.handles() == []
    taken = list((lab.directory / "host-local" / "net").glob("10.9.0.*"))
    assert len(taken) == 1
    host.delete(pod, ipam=ipam)
    assert list((lab.directory / "host-local" / "net").glob("10.9.0.*")) == []
    missing = host.call("ADD", pod, ipam={"type": "no-such-plugin"})
    assert missing.error() == 7 and "no-such-plugin" in missing.json["msg"]
    host.nothing_left()


def test_addresses_of_static(lab: Lab, host: Host) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.9.7.7/24"}, {"address": "fd00:9::7/64"}]}
    pod = container(lab, "static")
    result = host.add(pod, ipam=ipam)
    assert [ip["address"] for ip in result["ips"]] == ["10.9.7.7/32", "fd00:9::7/128"]
    assert sorted(pod.addresses()) == ["10.9.7.7/32", "fd00:9::7/128"]
    assert host.endpoints()[0]["spec"]["ipNetworks"] == ["10.9.7.7/32", "fd00:9::7/128"]
    assert host.check(pod, ipam=ipam).ok() is None
    assert host.handles() == []
    routes = {route["destination"]: route["type"] for route in host.router.routes()}
    assert routes["10.9.7.7/32"] == "unicast", routes
    host.delete(pod, ipam=ipam)
    host.nothing_left()


def test_tuning_and_bandwidth_come_behind_it(lab: Lab, host: Host) -> None:
    """The chain that a runtime runs: each plugin gets what the one before answered, DEL and CHECK as well."""
    later: list[Json] = [{"type": "tuning", "mtu": 1300, "sysctl": {"net.ipv4.conf.eth0.arp_announce": "2"}},
                         {"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 800_000,
                          "egressRate": 8_000_000, "egressBurst": 800_000}]
    pod = container(lab, "limited")
    own = host.add(pod)
    for conf in later:
        pod.result = host.call("ADD", pod, prevResult=pod.result, **conf).ok()
    assert pod.result["ips"] == own["ips"]
    assert pod.ip("link", "show", "dev", "eth0")[0]["mtu"] == 1300
    assert host.check(pod).ok() is None, "with what the last one answered"
    for conf in later:
        assert host.call("CHECK", pod, prevResult=pod.result, **conf).ok() is None

    # What the router sends to the pod passes the bucket of its interface; docs/cni.md says what does not.
    outer = own["interfaces"][0]["name"]
    ping(pod.namespace, "192.0.2.1")
    shown = execute("tc", "-netns", host.router.namespace.full_name, "-s", "-json", "qdisc", "show", "dev", outer)
    bucket = next(entry for entry in json.loads(shown.stdout) if entry["kind"] == "tbf")
    assert bucket["packets"] > 0, bucket

    for conf in reversed(later):
        assert host.call("DEL", pod, prevResult=pod.result, **conf).ok() is None
    host.delete(pod)
    host.nothing_left()


class Stubborn:
    """A runtime that tries again where the plugin says so (code 11)."""

    def __init__(self, host: Host):
        self.host = host
        self.done = 0
        self.again = 0

    def attach(self, pod: Container) -> None:
        wait_until(lambda: self.tried("ADD", pod), 60, f"{pod.id} to be attached")
        self.done += 1

    def detach(self, pod: Container) -> None:
        wait_until(lambda: self.tried("DEL", pod), 60, f"{pod.id} to be detached")
        self.done += 1

    def tried(self, command: str, pod: Container) -> bool:
        answer = self.host.call(command, pod)
        if answer.code == 0:
            pod.result = answer.json or pod.result
            return True
        assert answer.error() == 11, answer.json
        self.again += 1
        # What failed is undone before it is tried again, as the specification wants it.
        if command == "ADD":
            wait_until(lambda: self.tried("DEL", pod), 60, f"{pod.id} to be detached")
        return False


def test_IPAM8_killed_amid_two_hundred(lab: Lab, host: Host) -> None:
    signal.alarm(300)  # it is many processes
    pods = [container(lab, f"k{index}") for index in range(200)]
    runtime = Stubborn(host)

    def with_kills(work: Callable[[Container], None]) -> None:
        runtime.done = 0
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            calls = [pool.submit(work, pod) for pod in pods]
            for count in (40, 120):
                wait_until(lambda: runtime.done >= count or any(call.done() and call.exception() for call in calls), 120,
                           lambda: f"{count} calls, of which there are {runtime.done}")
                host.router.process.signal(9)
                host.router.process.wait(5)
                host.router.start()
            for call in calls:
                call.result()

    with_kills(runtime.attach)
    assert runtime.again > 0, "nobody met the router when it was away: the test shows nothing"
    addresses = [pod.result["ips"][0]["address"] for pod in pods]
    assert len(set(addresses)) == len(pods)
    assert [pod.addresses() for pod in pods] == [[address] for address in addresses]
    assert len(host.links()) == len(host.endpoints()) == len(pods)
    assigned = sorted(address for handle in host.handles() for address in handle["addresses"])
    assert assigned == sorted(address.removesuffix("/32") for address in addresses)

    with_kills(runtime.detach)
    assert host.links() == []
    for pod in pods:
        lab.namespaces.pop(pod.namespace.name)
        execute("ip", "netns", "delete", pod.namespace.full_name)
    # Those that were detached while it was away are collected.
    wait_until(lambda: host.handles() == [] and host.endpoints() == [], 60,
               lambda: f"the router to collect {host.handles()} {host.endpoints()}")


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0"])
def test_older_versions(lab: Lab, host: Host, version: str) -> None:
    pod = container(lab, "older")
    assert "1.0.0" in host.call("VERSION", pod).ok()["supportedVersions"]
    result = host.add(pod, cniVersion=version)
    assert result["cniVersion"] == version and result["ips"][0]["version"] == "4"
    check = host.check(pod, cniVersion=version)
    assert check.code == 0 if version == "0.4.0" else check.error() == 1
    host.delete(pod, cniVersion=version)
    assert host.call("ADD", pod, cniVersion="0.2.0").error() == 1


def test_IPAM2_tables_for_people(lab: Lab, host: Host) -> None:
    pod = container(lab, "shown")
    host.add(pod)
    assert "10.244.0.0" in host.router.control("get", "ipam-addresses").stdout
    assert "prod/shown" in host.router.control("get", "ips").stdout
    block = host.router.control("get", "ipam-blocks").stdout.splitlines()[1].split()
    assert block == ["10.244.0.0/26", "node-1", "confirmed", "1", "63"]
    handles = json.loads(host.router.control("get", "ipam-handles", "-o", "json").stdout)["handles"]
    assert handles[0]["handle"] == f"net.{pod.id}.eth0" and handles[0]["attributes"]["netns"] == pod.path
    host.delete(pod)
