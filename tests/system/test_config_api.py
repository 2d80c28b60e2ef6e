"""What clients of the config API rely on: tags that outlive a restart, answers that can be sent back, dry runs."""

from __future__ import annotations

import json
import re
import signal

import pytest

from netns import Lab
from objects import service, service_port, service_with_endpoints
from router import Json, Router
from two_hosts import LEFT, TwoHosts

PORTS = [service_port(80, 8080)]
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp", "namespace": "calico-system"},
          "stringData": {"tor": "hush-1"}}
PEER = {"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "tor", "namespace": "metallb-system"},
        "spec": {"myASN": 64500, "peerASN": 64999, "peerAddress": "192.0.2.99", "password": "hush-2"}}


@pytest.fixture
def hosts(lab: Lab) -> TwoHosts:
    return TwoHosts(lab, ipv6=False)


def call(router: Router, method: str, path: str, body: str = "", tag: str = "") -> tuple[int, str, Json]:
    connection = router.connect()
    connection.request(method, path, body or None, {"If-Match": tag} if tag else {})
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, answer.headers.get("ETag", ""), json.loads(text)


def put(router: Router, name: str, address: str, tag: str = "") -> tuple[int, str, Json]:
    return call(router, "PUT", f"/v1/services/default/{name}", json.dumps(service(name, address, PORTS)), tag)


def test_API_a_stale_tag_stays_stale_over_a_restart(hosts: TwoHosts) -> None:
    router = hosts.start().router
    _, stale, _ = call(router, "GET", "/v1/config")
    status, newer, _ = put(router, "one", "10.96.1.1")
    assert status == 200 and newer != stale
    put(router, "two", "10.96.1.2")
    _, last, _ = put(router, "three", "10.96.1.3")
    router.stop()
    router.start()
    assert call(router, "GET", "/v1/config")[1] == last, "the same state has the same tag"
    assert put(router, "four", "10.96.1.4", stale)[0] == put(router, "four", "10.96.1.4", newer)[0] == 412
    status, after, _ = put(router, "four", "10.96.1.4", last)
    assert status == 200 and int(after.strip('"')) == int(last.strip('"')) + 1
    router.stop()
    router.start(hosts.document())  # another document takes the place of all that
    assert router.generation() == int(after.strip('"')) + 1
    router.stop()
    router.start()
    assert router.generation() == int(after.strip('"')) + 1


def test_API_what_a_newer_version_kept_is_refused_by_name(hosts: TwoHosts) -> None:
    router = hosts.start().router
    router.stop()
    (journal,) = router.state.glob("config.journal.*")
    kept = journal.read_bytes()
    assert kept.startswith(b"format 1 ")
    journal.write_bytes(kept.replace(b"format 1 ", b"format 7 ", 1))
    router.launch()
    assert router.process.wait(10) != 0
    assert f"{journal} was written by a newer version of sluiced: its format is 7" in router.log()
    assert journal.read_bytes().startswith(b"format 7 "), "it was changed"
    journal.write_bytes(kept)
    router.start()
    assert router.generation() == 1


def test_API_what_is_hidden_comes_back(hosts: TwoHosts) -> None:
    document = hosts.document(items=[SECRET, PEER])
    router = hosts.router.start(document)
    shown = router.request("GET", "/v1/config").text
    assert "hush" not in shown and shown.count("sluice.dev/redacted") == 2
    status, _, reply = call(router, "PUT", "/v1/config", shown)
    assert (status, reply["changed"]) == (200, False), reply
    changed = json.loads(shown)
    changed["items"].append(service("web", "10.96.1.1", PORTS))
    assert call(router, "PUT", "/v1/config", json.dumps(changed))[2]["changed"] is True
    router.stop()
    assert all(word in b"".join(path.read_bytes() for path in router.state.glob("config.j*"))
               for word in (b"hush-1", b"hush-2"))
    router.start()
    status, _, reply = call(router, "PUT", "/v1/config", json.dumps(document))
    assert status == 200
    call(router, "DELETE", "/v1/secrets/calico-system/bgp")
    status, _, reply = call(router, "PUT", "/v1/config", shown)
    assert status == 422
    (fault,) = reply["errors"]
    assert fault["pointer"].endswith("/metadata/annotations/sluice.dev~1redacted") and "stringData" in fault["message"]


def test_API_dry_runs_say_what_would_be(hosts: TwoHosts) -> None:
    router = hosts.start().router
    tag = call(router, "GET", "/v1/config")[1]
    web = json.dumps(service("web", "10.96.1.1", PORTS))
    path = "/v1/services/default/web"
    for _ in range(2):
        assert call(router, "PUT", path + "?dryRun=true", web)[2]["wouldChange"] is True
    assert call(router, "DELETE", path + "?dryRun=true")[0] == 404
    assert call(router, "GET", "/v1/config")[1] == tag
    assert call(router, "PUT", path, web)[0] == 200
    assert call(router, "PUT", path + "?dryRun=true", web)[2]["wouldChange"] is False
    assert call(router, "DELETE", path + "?dryRun=true")[2]["wouldChange"] is True
    assert call(router, "DELETE", path)[0] == 200
    # What making the plan warns of is said before, too.
    odd = json.dumps(hosts.document(items=[
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "far"}},
        {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pods"},
         "spec": {"cidr": "10.244.0.0/16"}},
        {"apiVersion": "projectcalico.org/v3", "kind": "BlockAffinity", "metadata": {"name": "far-10-244-9-0-26"},
         "spec": {"cidr": "10.244.9.0/26", "node": "far", "state": "confirmed"}}]))
    dry = call(router, "PUT", "/v1/config?dryRun=true", odd)[2]["warnings"]
    assert [warning["message"] for warning in dry] == [
        "block 10.244.9.0/26 of node far has no route: the node has no IPv4 address"]
    assert call(router, "PUT", "/v1/config", odd)[2]["warnings"] == dry


def test_API_sluicectl_names_the_generation_it_is_based_on(hosts: TwoHosts, lab: Lab) -> None:
    router = hosts.start().router
    web = lab.directory / "web.json"
    web.write_text(json.dumps(service("web", "10.96.1.1", PORTS)))
    old = str(router.generation())
    assert "would be a change" in router.control("patch", "-f", str(web), "--dry-run").stdout
    assert router.control("patch", "-f", str(web), "--if-generation", old).returncode == 0
    assert "nothing would change" in router.control("patch", "-f", str(web), "--dry-run").stdout
    for words in (("patch", "-f", str(web)), ("apply", "-f", str(router.write_config(hosts.document()))),
                  ("delete", "service", "web")):
        refused = router.control(*words, "--if-generation", old, check=False)
        assert refused.returncode == 1 and "412" in refused.stderr, words
    assert router.control("delete", "service", "web", "--if-generation", str(router.generation())).returncode == 0


def test_API_wide_tables_yaml_and_metrics(shared: Router) -> None:
    for thing, column in (("interfaces", "RX-ERRORS"), ("workers", "SNAT-MAPPINGS"), ("routes", "TUNNEL-MTU"),
                          ("config", "RESOURCE-VERSION"), ("neighbors", ""), ("status", ""), ("drains", ""),
                          ("services", ""), ("flows", "")):
        narrow = shared.control("get", thing).stdout.splitlines()[0].split()
        wide = shared.control("get", thing, "-o", "wide").stdout.splitlines()[0].split()
        assert wide[:len(narrow)] == narrow
        assert not column or (column in wide and column not in narrow), thing
    events = shared.control("events", "-o", "yaml").stdout
    assert "\nevents:\n" in events and "reason: ConfigApplied" in events
    explained = shared.control("explain", "--from", LEFT, "--to", "10.96.0.10:80", "-o", "yaml").stdout
    assert "verdict: " in explained and "steps:" in explained
    lines = shared.request("GET", "/metrics").text.splitlines()
    assert 'sluice_services{type="ClusterIP"} 1' in lines and 'sluice_services{type="LoadBalancer"} 0' in lines
    assert 'sluice_service_endpoints{state="ready"} 2' in lines
    assert 'sluice_tunnels{kind="vxlan"} 0' in lines and "sluice_tunnels_unreachable 0" in lines


@pytest.fixture
def shared(hosts: TwoHosts) -> Router:
    return hosts.router.start(hosts.document(items=service_with_endpoints(
        "web", "10.96.0.10", 80, 8080, [("10.0.1.7", "router"), ("10.0.1.8", "router")])))


def test_API_addresses_of_pools_are_taken_and_given_back_by_hand(hosts: TwoHosts) -> None:
    pool = {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pods"},
            "spec": {"cidr": "10.244.0.0/24", "blockSize": 28}}
    router = hosts.router.start(hosts.document(items=[pool]))
    taken = router.control("ipam", "assign", "by-hand", "--family", "IPv4", "--pool", "pods").stdout.split()
    assert len(taken) == 1 and taken[0].startswith("10.244.0.")
    assert router.get("/v1/ipam/handles/by-hand")["addresses"] == taken
    again = router.control("ipam", "assign", "other", "--address", taken[0], check=False)
    assert again.returncode == 1 and taken[0] in again.stderr
    nothing = router.control("ipam", "assign", "other", check=False)
    assert nothing.returncode == 2 and "--family" in nothing.stderr
    assert router.control("ipam", "release", "by-hand").stdout == "released 1 address\n"
    assert router.control("ipam", "release", "by-hand").stdout == "released 0 addresses\n"
    answer = json.loads(router.control("ipam", "assign", "by-hand", "--address", taken[0], "-o", "json").stdout)
    assert answer == {"handle": "by-hand", "addresses": taken}


def test_API_a_small_body_with_millions_of_values_is_refused(hosts: TwoHosts) -> None:
    router = hosts.start().router
    empty = router.resident_bytes()
    zeros = "[" + "0," * (8 << 20) + "0]"
    item = '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}, "spec": ' + zeros + "}"
    for method, path, body in (("POST", "/v1/config:validate", '{"kind": "List", "items": ' + zeros + "}"),
                               ("POST", "/v1/config:validate", '{"kind": "List", "items": [' + item + "]}"),
                               ("PATCH", "/v1/config", '{"kind": "Delta", "upsert": [' + item + "]}"),
                               ("PUT", "/v1/namespaces/-/a", item)):
        reply = router.request(method, path, body, timeout=60)
        assert reply.status == 413 and "send it in several parts" in reply.text, (path, reply.status, reply.text[:300])
        assert router.resident_bytes() - empty < (384 << 20)
    assert router.request("POST", "/v1/explain", zeros).status == 413


def records(router: Router) -> int:
    """Changes in the journal; what is put in place together is kept together."""
    return sum(path.read_bytes().count(b"\nchange ") for path in router.state.glob("config.journal.*"))


def burst(router: Router, deltas: list[Json]) -> list[tuple[int, Json]]:
    """Each in a PATCH of its own, all of them there before the router reads any."""
    connections = [router.connect() for _ in deltas]
    try:
        router.process.signal(signal.SIGSTOP)
        try:
            for connection, delta in zip(connections, deltas):
                connection.request("PATCH", "/v1/config", json.dumps({"kind": "Delta", **delta}))
        finally:
            router.process.signal(signal.SIGCONT)
        answers = [connection.getresponse() for connection in connections]
        return [(answer.status, json.loads(answer.read())) for answer in answers]
    finally:
        for connection in connections:
            connection.close()


def test_API_bursts_are_put_in_place_together_and_each_has_its_answer(hosts: TwoHosts) -> None:
    router = hosts.router.start(hosts.document(items=[service("first", "10.96.1.1", PORTS)]))
    taken = [service(f"wrong-{number}", "10.96.1.1", PORTS) for number in range(4)]
    good = [service(f"web-{number}", f"10.96.2.{number + 1}", PORTS) for number in range(32)]
    nodes = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}"},
              "status": {"addresses": [{"type": "InternalIP", "address": f"10.1.0.{number + 100}"}]}} for number in range(32)]
    for items, wrong in ((good[:16] + taken + good[16:], 4), (nodes, 0)):
        before, kept = router.generation(), records(router)
        answers = burst(router, [{"upsert": [item]} for item in items])
        refused = [item["metadata"]["name"] for item, (status, _) in zip(items, answers) if status != 200]
        assert refused == [item["metadata"]["name"] for item in taken[:wrong]]
        assert all(status == 422 for status, _ in answers[16:16 + wrong])
        told = sorted(answer["generation"] for status, answer in answers if status == 200)
        assert told == list(range(before + 1, before + 33)), "a generation each"
        assert 1 <= records(router) - kept < 32
    served = router.get("/v1/config")["items"]
    router.process.signal(9)
    router.process.wait(5)
    router.start()
    assert router.get("/v1/config")["items"] == served


def test_API_a_burst_that_is_taken_apart_tells_each_its_own_warnings(hosts: TwoHosts) -> None:
    router = hosts.router.start(hosts.document())

    def good(number: int) -> Json:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}"},
                "status": {"addresses": [{"type": "InternalIP", "address": f"10.1.0.{number + 100}"}]}}
        return {"upsert": [node], "delete": [{"kind": "Node", "name": f"gone-{number}"}]}

    def bad(number: int) -> Json:
        """The rules find nothing wrong with it, but its device cannot be opened."""
        return {"upsert": [{"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint",
                            "metadata": {"namespace": "default", "name": f"pod-{number}",
                                         "annotations": {"sluice.dev/device": f"net_nothing{number}"}},
                            "spec": {"node": "router", "pod": f"pod-{number}", "ipNetworks": [f"10.2.0.{number + 1}/32"]}}]}

    deltas = [bad(number) if number % 5 == 4 else good(number) for number in range(30)]
    for number, (delta, (status, answer)) in enumerate(zip(deltas, burst(router, deltas))):
        if "delete" not in delta:
            assert status == 503, answer
            continue
        assert status == 200, answer
        told = [(warning["name"], warning["pointer"]) for warning in answer["warnings"]
                if "nothing to delete" in warning["message"]]
        assert told == [(f"gone-{number}", "/delete/0")], answer
    tried = re.findall('"net_nothing([0-9]+)"', router.log())
    assert set(tried) == {str(number) for number in range(4, 30, 5)}
    assert len(tried) > len(set(tried)), "there was a burst to be taken apart: its first bad one was tried twice"
