"""Many changes at once: each client has its own verdict, nothing that was acknowledged is lost, packets go on."""

from __future__ import annotations

import gzip
import json
import signal
import threading
import time

import pytest

from netns import Lab
from objects import endpoint_slice, service, service_port
from probes import ping
from router import Json
from two_hosts import RIGHT, TwoHosts

PORTS = [service_port(80, 8080)]
SERVICES = 40


@pytest.fixture
def hosts(lab: Lab) -> TwoHosts:
    return TwoHosts(lab, ipv6=False)


def slice_of(number: int, version: int) -> Json:
    return endpoint_slice(f"svc-{number}", PORTS, [(f"203.0.{number}.{1 + version % 200}", "far")])


def with_services(document: Json) -> Json:
    items = [service(f"svc-{number}", f"10.96.1.{number + 1}", PORTS) for number in range(SERVICES)]
    slices = [slice_of(number, 0) for number in range(SERVICES)]
    return {**document, "items": [*document["items"], *items, *slices]}


def delta(*upsert: Json, **more: Json) -> str:
    return json.dumps({"kind": "Delta", "upsert": list(upsert), **more})


def addresses(router) -> dict[str, str]:
    items = router.get("/v1/config?kind=EndpointSlice")["items"]
    return {item["metadata"]["name"]: item["endpoints"][0]["addresses"][0] for item in items}


def test_SCALE5_many_clients_at_once(hosts: TwoHosts) -> None:
    router = hosts.start().router
    router.apply(with_services(hosts.document()))
    first = router.generation()
    generations: list[int] = []
    wrong: list[str] = []

    def work(client: int) -> None:
        for turn in range(1, 26):
            number = client * 5 + turn % 5
            good = router.request("PATCH", "/v1/config", delta(slice_of(number, turn)))
            if good.status == 200:
                generations.append(good.json["generation"])
            else:
                wrong.append(good.text)
            bad = endpoint_slice(f"svc-{number}", PORTS, [("127.0.0.1", "far")])
            refused = router.request("PATCH", "/v1/config", delta(bad))
            if refused.status != 422 or "127.0.0.1" not in refused.text:
                wrong.append(refused.text)
            stale = router.request("PATCH", "/v1/config", delta(slice_of(number, turn + 1), baseGeneration=first))
            if stale.status != 409:
                wrong.append(stale.text)

    threads = [threading.Thread(target=work, args=(client,)) for client in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    assert sorted(generations) == list(range(first + 1, first + 1 + 8 * 25))  # each its own, none left out
    expected = {f"svc-{client * 5 + turn % 5}": slice_of(client * 5 + turn % 5, turn)["endpoints"][0]["addresses"][0]
                for client in range(8) for turn in range(21, 26)}
    assert addresses(router) == expected
    ping(hosts.left, RIGHT)


def test_restart_after_a_kill_serves_every_acknowledged_change(hosts: TwoHosts) -> None:
    router = hosts.start().router
    router.apply(with_services(hosts.document()))
    acknowledged: dict[str, int] = {}
    stop = threading.Event()

    def work() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            number = turn % SERVICES
            try:
                if router.request("PATCH", "/v1/config", delta(slice_of(number, turn))).status == 200:
                    acknowledged[f"svc-{number}"] = turn
            except OSError:
                return

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(1.5)
    router.process.signal(signal.SIGKILL)
    router.process.wait(5)
    stop.set()
    thread.join()
    assert len(acknowledged) > 5
    router.start()
    found = addresses(router)
    last = max(acknowledged.values())
    for name, turn in acknowledged.items():
        number = int(name.removeprefix("svc-"))
        allowed = {slice_of(number, turn)["endpoints"][0]["addresses"][0]}
        if (last + 1) % SERVICES == number:  # in flight
            allowed.add(slice_of(number, last + 1)["endpoints"][0]["addresses"][0])
        assert found[name] in allowed
    ping(hosts.left, RIGHT)


def test_SCALE7_compressed_and_line_by_line(hosts: TwoHosts) -> None:
    router = hosts.start().router
    document = with_services(hosts.document())
    generation = router.apply(document)["generation"]
    lines = "".join(json.dumps(item) + "\n" for item in document["items"])
    same = router.request("PUT", "/v1/config", lines, "application/x-ndjson")
    assert (same.status, same.json["generation"], same.json["changed"]) == (200, generation, False)
    connection = router.connect()
    for body in (json.dumps(document).encode(), router.request("GET", "/v1/config").text.encode()):
        connection.request("PUT", "/v1/config", gzip.compress(body), {"Content-Encoding": "gzip"})
        answer = connection.getresponse()
        reply = json.loads(answer.read())
        assert (answer.status, reply["generation"], reply["changed"]) == (200, generation, False)


def test_SCALE7_a_large_change(hosts: TwoHosts) -> None:
    """Too large to be read on the control thread: the answers are those of any change."""
    router = hosts.start().router
    generation = router.apply(with_services(hosts.document()))["generation"]

    def slices(version: int) -> list[Json]:
        return [endpoint_slice(f"svc-{number}", PORTS, [(f"203.{version}.{number}.{1 + each}", "far")
                                                        for each in range(100)]) for number in range(SERVICES)]

    change = delta(*slices(1), baseGeneration=generation)
    assert len(change) > 256 << 10
    applied = router.request("PATCH", "/v1/config", change)
    assert (applied.status, applied.json["generation"], applied.json["changed"]) == (200, generation + 1, True)
    assert addresses(router)["svc-39"] == "203.1.39.1"
    assert router.request("PATCH", "/v1/config", change).status == 409
    broken = router.request("PATCH", "/v1/config", delta(*slices(2))[:-1] + "?")
    assert (broken.status, "offset" in broken.text) == (400, True)
    wrong = slices(3)
    wrong[17]["endpoints"][99]["addresses"] = ["203.3.17"]
    refused = router.request("PATCH", "/v1/config", delta(*wrong))
    assert refused.status == 422
    assert refused.json["errors"][0]["pointer"] == "/upsert/17/endpoints/99/addresses/0"
    assert (router.generation(), addresses(router)["svc-39"]) == (generation + 1, "203.1.39.1")


def test_if_match_and_etag(hosts: TwoHosts) -> None:
    router = hosts.start().router
    connection = router.connect()

    def call(method: str, tag: str, body: str) -> tuple[int, str]:
        connection.request(method, "/v1/config", body, {"If-Match": tag} if tag else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("ETag", "")

    _, tag = call("GET", "", "")
    assert tag == f'"{router.generation()}"'
    change = delta(service("one", "10.96.1.1", PORTS))
    status, newer = call("PATCH", tag, change)
    assert (status, newer) == (200, f'"{router.generation()}"')
    assert call("PATCH", tag, delta(service("two", "10.96.1.2", PORTS)))[0] == 412
    assert call("PUT", tag, json.dumps(hosts.document()))[0] == 412
    assert call("PUT", newer, json.dumps(hosts.document()))[0] == 200
