"""What the router tells of itself: events, and how long it takes to follow the cluster."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import cluster as addresses
from cluster import Cluster
from netns import Lab, Process, wait_until
from objects import service_with_endpoints
from probes import curl, ping
from router import SLUICECTL, Json, Options, Router
from two_hosts import LEFT, RIGHT, TwoHosts

NOBODY = "10.1.0.77"  # in the left network


class Events:
    """`sluicectl events -w` beside the test."""

    def __init__(self, router: Router, *words: str):
        self.process: Process = router.namespace.start(str(SLUICECTL), "--socket", str(router.socket), "events", "-w",
                                                       "-o", "json", *words)

    def all(self) -> list[Json]:
        lines = self.process.stdout_path.read_text().splitlines(keepends=True)
        return [json.loads(line)["data"] for line in lines if line.endswith("\n")]

    def wait_for(self, reason: str, object_part: str = "", seconds: float = 10, **fields: Json) -> Json:
        def find() -> Json | None:
            return next((event for event in self.all() if event["reason"] == reason and object_part in event["object"]
                         and all(event[name] == value for name, value in fields.items())), None)
        return wait_until(find, seconds, lambda: f"{reason} of {object_part}; there are {self.all()}")


@pytest.fixture
def taps(lab: Lab) -> Iterator[TwoHosts]:
    hosts = TwoHosts(lab, Options(), driver="net_tap", ipv6=False).start()
    ping(hosts.left, RIGHT)
    yield hosts


def metric(router: Router, name: str) -> float:
    text = router.request("GET", "/metrics").text
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " "))


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


def send_datagrams(seconds: float, address: str, per_second: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError):  # what the router answers
                sender.sendto(b"x", (address, 9))
            time.sleep(1 / per_second)


def test_EXP9_events_of_configuration_neighbors_links_and_drops(taps: TwoHosts) -> None:
    router = taps.router
    events = Events(router, "--drop-rate", "50")
    start = events.wait_for("ConfigApplied")
    assert start["after"]["askedBy"] == "the start" and start["before"] == {"generation": 0}
    assert events.wait_for("NeighborReachable", f"left0 {LEFT}")["after"]["state"] == "reachable"

    web = service_with_endpoints("web", "10.96.0.10", 80, 8080, [(RIGHT, "router")])
    reply = router.request("PATCH", "/v1/config", json.dumps({"kind": "Delta", "upsert": web}))
    assert reply.status == 200, reply.text
    applied = wait_until(lambda: next((event for event in events.all() if event["type"] == "config"
                                       and event["after"]["generation"] == reply.json["generation"]), None), 5, "it")
    assert applied["after"]["changes"] == {"Service": {"added": 1, "replaced": 0, "removed": 0},
                                           "EndpointSlice": {"added": 1, "replaced": 0, "removed": 0}}
    assert applied["after"]["askedBy"] == "PATCH /v1/config"

    with taps.right.entered():
        thread = threading.Thread(target=send_datagrams, args=(6, NOBODY, 20))
        thread.start()
    failed = events.wait_for("NeighborFailed", NOBODY)
    assert failed["severity"] == "Warning" and failed["after"]["state"] == "failed"
    thread.join()

    with taps.left.entered():
        thread = threading.Thread(target=send_datagrams, args=(4, "198.51.100.1", 400))
        thread.start()
    high = events.wait_for("DropRateHigh", "no_route")
    assert high["after"]["perSecond"] >= 50 and "id" not in high
    thread.join()
    assert events.wait_for("DropRateLow", "no_route")["after"]["perSecond"] <= 25  # rounded

    taps.middle.ip("link set dev r-right down")
    down = events.wait_for("LinkDown", "r-right", before={"linkUp": True})
    assert down["severity"] == "Warning"
    taps.middle.ip("link set dev r-right up")
    assert events.wait_for("LinkUp", "r-right", before={"linkUp": False})["id"] > down["id"]

    router.control("drain", RIGHT)
    assert events.wait_for("EndpointDrained")["object"] == RIGHT

    listed = router.control("events").stdout
    assert "NeighborFailed" in listed and "ConfigApplied" in listed and "EndpointDrained" in listed
    only = router.control("events", "--types", "link,drain").stdout.splitlines()
    assert only[0].split() == ["TIME", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert {line.split()[3] for line in only[1:]} == {"LinkUp", "LinkDown", "EndpointDrained"}, only
    refused = router.control("events", "--types", "weather", check=False)
    assert refused.returncode == 1 and "weather" in refused.stderr


def test_EXP9_a_stream_goes_on_where_it_was(lab: Lab) -> None:
    router = TwoHosts(lab, Options(), ipv6=False).start().router

    def stream(**headers: str) -> list[str]:
        connection = router.connect(timeout=1)
        with contextlib.closing(connection):
            connection.request("GET", "/v1/events?types=config", headers=headers)
            response = connection.getresponse()
            assert response.status == 200 and response.headers["Content-Type"] == "text/event-stream"
            lines = []
            with contextlib.suppress(TimeoutError, http.client.HTTPException):
                while line := response.fp.readline():
                    lines.append(line.decode().rstrip("\n"))
            return lines

    for address in ("10.96.0.1", "10.96.0.2"):
        router.request("PATCH", "/v1/config", json.dumps(
            {"kind": "Delta", "upsert": service_with_endpoints("web", address, 80, 8080, [])}))
    kept = router.get("/v1/events?follow=false&types=config")["events"]
    assert [event["after"]["generation"] for event in kept] == [1, 2, 3]
    assert stream() == [": watching", ""]  # nothing new
    again = [line for line in stream(**{"Last-Event-ID": str(kept[0]["id"])}) if line.startswith("id: ")]
    assert again == [f"id: {event['id']}" for event in kept[1:]]
    before = kept[-1]["id"]
    router.stop()
    router.start()
    later = router.get(f"/v1/events?follow=false&types=config&after={before}")["events"]
    assert [(event["before"]["generation"], event["after"]["generation"]) for event in later] == [(0, 3)], \
        "a new life with identifiers of its own, and the generation that was kept"


def test_top_shows_what_goes_over_services(cluster: Cluster) -> None:
    router = cluster.gateway
    curl(cluster.client, f"http://{addresses.LOAD_BALANCER}/")
    later = threading.Timer(0.7, lambda: [curl(cluster.client, f"http://{addresses.LOAD_BALANCER}/")
                                          for _ in range(5)])
    later.start()
    shown = json.loads(router.control("top", "--services", "-d", "3", "-c", "1", "-o", "json").stdout)
    later.join()
    web = [row for row in shown["services"] if row["service"] == "default/web:http"]
    whole, *endpoints = web
    assert "endpoint" not in whole and endpoints, shown
    assert whole["connections"] == sum(row["connections"] for row in endpoints) >= 6
    assert 5 / 4.5 < whole["openedPerSecond"] <= 5 / 3
    assert whole["packetsPerSecond"] == pytest.approx(sum(row["packetsPerSecond"] for row in endpoints))
    assert whole["bytesPerSecond"] > 5 * 200 / 4.5
    lines = router.control("top", "--services", "-d", "0.2", "-c", "1").stdout.splitlines()
    assert lines[0].split() == ["SERVICE", "CONNECTIONS", "OPENED/S", "PACKETS/S", "BIT/S"]
    assert "default/web:http" in lines[1] or any(line.startswith("default/web:http") for line in lines)


def test_SCALE2_network_programming_latency(lab: Lab) -> None:
    def web(when: str, endpoint: str) -> list[Json]:
        objects = service_with_endpoints("web", "10.96.0.10", 80, 8080, [(endpoint, "router")])
        objects[1]["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": when}
        return objects

    def patch(*objects: Json) -> None:
        reply = router.request("PATCH", "/v1/config", json.dumps({"kind": "Delta", "upsert": objects}))
        assert reply.status == 200, reply.text

    hosts = TwoHosts(lab, Options(workers=2), ipv6=False)
    router = hosts.router
    router.start(hosts.document(items=web(now(), LEFT)))
    name = "sluice_network_programming_duration_seconds"
    assert metric(router, f"{name}_count") == 0, "a first full push is not late"
    patch(*web(now(), RIGHT))
    assert metric(router, f"{name}_count") == 1
    assert 0 < metric(router, f"{name}_sum") < 2
    triggered = now()
    time.sleep(0.3)
    patch(*web(triggered, LEFT))
    assert metric(router, f"{name}_count") == 2
    assert 0.3 < metric(router, f"{name}_sum") < 4
    patch(*web(triggered, RIGHT))  # an old annotation says nothing about this change
    unchanged = web(now(), RIGHT)
    patch(*unchanged)  # nothing but the annotation
    patch(*web("2001-01-01T00:00:00Z", LEFT))  # before the router was there
    patch(*web("soon", RIGHT))
    router.request("DELETE", "/v1/endpointslices/default/web")
    patch(service_with_endpoints("other", "10.96.0.11", 80, 8080, [])[0])
    assert metric(router, f"{name}_count") == 2
    assert metric(router, f'{name}_bucket{{le="+Inf"}}') == 2
    assert metric(router, 'sluice_config_apply_duration_seconds_count{change="document"}') == 1
    assert metric(router, 'sluice_config_apply_duration_seconds_count{change="endpoints"}') == 7
    assert metric(router, 'sluice_config_apply_duration_seconds_count{change="objects"}') == 1
    assert metric(router, 'sluice_api_requests_total{path="/v1/config",method="PATCH",code="200"}') == 7
    router.request("GET", "/v1/status/of/the/weather")
    assert metric(router, 'sluice_api_requests_total{path="other",method="other",code="404"}') == 1
