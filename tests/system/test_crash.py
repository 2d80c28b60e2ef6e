"""kill -9 at random moments of pushes: what serves after each restart is a whole state, the last one or the next.

Every push changes all endpoint slices of a cluster, every other one its services and a route as well, so that a mix of
two states would show. The journal is long enough to be written anew several times on the way.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from dataclasses import dataclass

import pytest

from netns import Lab
from objects import endpoint_slice, service, service_port
from probes import ping
from router import Json, Router
from two_hosts import RIGHT, TwoHosts

KILLS = int(os.environ.get("SLUICE_CRASH_KILLS", "30"))
SECONDS = KILLS * 2  # and not more; a slow machine has fewer kills
LEAST_KILLS = KILLS // 2
START = 1.0  # seconds until the kept state serves, where nothing else keeps the processors busy
SEED = int(os.environ.get("SLUICE_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
SERVICES = 150
ENDPOINTS = 20
PORTS = [service_port(80, 8080)]


@dataclass(frozen=True)
class State:
    slices: int  # the version that all of them have
    rest: int  # of the services and the route

    def addresses(self) -> list[tuple[str, str]]:
        high, low = divmod(self.slices, 250)
        return [(f"203.{high}.{low}.{each + 1}", "far") for each in range(ENDPOINTS)]

    def route(self) -> str:
        return f"198.18.{self.rest // 250}.{self.rest % 250}/32"

    def endpoint_slices(self) -> list[Json]:
        return [endpoint_slice(f"svc-{number}", PORTS, self.addresses()) for number in range(SERVICES)]

    def document(self, hosts: TwoHosts) -> Json:
        services = [service(f"svc-{number}", f"10.96.1.{number + 1}", PORTS) for number in range(SERVICES)]
        for item in services:
            item["metadata"]["labels"] = {"version": str(self.rest)}
        return hosts.document(items=[*services, *self.endpoint_slices()],
                              routes=[{"destination": self.route(), "type": "blackhole"}])


def served(router: Router) -> State:
    """What the router says it has; fails if that is no whole state."""
    items = router.get("/v1/config")["items"]
    slices = [item for item in items if item["kind"] == "EndpointSlice"]
    services = [item for item in items if item["kind"] == "Service"]
    assert (len(slices), len(services)) == (SERVICES, SERVICES)
    found = {tuple(point["addresses"][0] for point in item["endpoints"]) for item in slices}
    assert len(found) == 1, f"slices of {len(found)} pushes at once: {sorted(found)[:3]}"
    _, high, low, _ = map(int, found.pop()[0].split("."))
    versions = {item["metadata"]["labels"]["version"] for item in services}
    assert len(versions) == 1, f"services of several pushes at once: {versions}"
    state = State(high * 250 + low, int(versions.pop()))
    blackholes = {route["destination"] for route in router.routes() if route["destination"].startswith("198.18.")}
    assert blackholes == {state.route()}
    return state


class Pusher(threading.Thread):
    """One push after the other until the router is gone."""

    def __init__(self, hosts: TwoHosts, serving: State):
        super().__init__()
        self.hosts, self.acknowledged, self.in_flight = hosts, serving, serving
        self.generation = hosts.router.generation()  # of what was acknowledged
        self.refused = ""

    def run(self) -> None:
        connection = self.hosts.router.connect(30)
        while not self.refused:
            version = self.acknowledged.slices + 1
            whole = version % 2 == 0
            state = State(version, version if whole else self.acknowledged.rest)
            body = json.dumps(state.document(self.hosts) if whole
                              else {"kind": "Delta", "upsert": state.endpoint_slices()})
            self.in_flight = state
            try:
                connection.request("PUT" if whole else "PATCH", "/v1/config", body)
                answer = connection.getresponse()
                text = answer.read().decode()
            except (OSError, http.client.HTTPException):
                return
            if answer.status == 200:
                self.acknowledged = state
                self.generation = json.loads(text)["generation"]
            else:
                self.refused = f"{answer.status} {text[:500]}"


@pytest.fixture
def hosts(lab: Lab) -> TwoHosts:
    return TwoHosts(lab, ipv6=False)


def test_kill_9_at_random_moments_of_pushes(hosts: TwoHosts) -> None:
    signal.alarm(SECONDS + 60)  # instead of what ordinary tests have
    chance = random.Random(SEED)
    state = State(1, 1)
    router = hosts.router.start(state.document(hosts))
    began = time.monotonic()
    router.apply(State(2, 2).document(hosts))
    state = State(2, 2)
    longest = 3 * (time.monotonic() - began) + 0.1  # of what is pushed before a kill
    end = time.monotonic() + SECONDS
    kills = pushes = older = newer = 0
    starts = []
    while kills < KILLS and time.monotonic() < end:
        pusher = Pusher(hosts, state)
        pusher.start()
        time.sleep(chance.uniform(0.001, longest))
        router.process.signal(signal.SIGKILL)
        router.process.wait(5)
        pusher.join()
        assert not pusher.refused, f"seed {SEED}, kill {kills}: {pusher.refused}"
        again = time.monotonic()
        router.start()
        starts.append(time.monotonic() - again)
        found = served(router)
        assert found in (pusher.acknowledged, pusher.in_flight), f"seed {SEED}, kill {kills}"
        further = 0 if found == pusher.acknowledged else 1
        assert router.generation() == pusher.generation + further, f"seed {SEED}, kill {kills}: a tag for another state"
        older += found == pusher.acknowledged
        newer += found != pusher.acknowledged
        pushes += pusher.acknowledged.slices - state.slices
        state = found
        kills += 1
    print(f"{kills} kills during {pushes} pushes: {older} times the last that was acknowledged, {newer} times the next")
    starts.sort()
    print(f"serving after {starts[0]:.2f} s at best, {starts[len(starts) // 2]:.2f} s in the middle, {starts[-1]:.2f} s")
    # A start competes with whatever else runs on the machine.
    patience = START * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert starts[0] <= patience, f"the kept state serves late: {starts}"
    assert kills >= LEAST_KILLS, f"only {kills} kills in {SECONDS} s"
    assert pushes > 0, "nothing was acknowledged, so nothing could be lost"
    ping(hosts.left, RIGHT)
