"""SYNs of made-up sources to a service that a ContentPolicy looks into, as fast as the traffic generator makes them, and
honest clients beside them, each of whose connections is looked into."""

from __future__ import annotations

import json

import trafgen
from netns import Lab, processors, wait_until
from objects import service_with_endpoints
from router import Json
from test_ingress_flood import CONNECTIONS, MEBIBYTE, RATES, FloodedPods
from web_programs import HOST, HTTP1, ONE

FRONTEND = "203.0.113.80"


class LookedInto(FloodedPods):
    """The service keeps its clients' addresses, so that a flood takes no source ports."""

    def document(self, **more: Json) -> Json:
        return super().document(proxy={"externalPolicyLocalScope": "Cluster"}, **more)

    @staticmethod
    def items() -> list[Json]:
        policy = {"apiVersion": "sluice.dev/v1", "kind": "ContentPolicy",
                  "metadata": {"namespace": "default", "name": "looks"},
                  "spec": {"serviceSelector": {}, "direction": "Ingress", "overload": "Drop", "patterns": [
                      {"name": "honest", "regex": "GET /honest-[0-9]+ ", "action": "Count"},
                      {"name": "attack", "literal": "X-Attack: yes", "action": "Reset"}]}}
        return [*service_with_endpoints("web", "10.96.0.1", 80, HTTP1, [(ONE, "far")], load_balancer=FRONTEND,
                                        externalTrafficPolicy="Local"), policy]

    def profile(self) -> Json:
        made = super().profile()
        made["streams"][0]["flows"]["dst"] = FRONTEND
        return made

    def honest(self) -> list[float]:
        """Milliseconds that each of many connections took; all of them were answered."""
        paths = [f"/honest-{number}" for number in range(CONNECTIONS)]
        resolve = f"{HOST}:80:{FRONTEND}"
        said = self.left.run("curl", "-sS", "--max-time", "15", "--resolve", resolve, "-H", "Connection: close",
                             "-w", "%{num_connects} %{time_total}\\n", *(f"http://{HOST}{path}" for path in paths),
                             timeout=40).stdout
        lines = said.splitlines()
        assert lines[::2] == [f"{ONE} GET {path}" for path in paths]
        assert all(line.startswith("1 ") for line in lines[1::2]), "a connection for each request"
        return sorted(float(line.split()[1]) * 1000 for line in lines[1::2])

    def found(self) -> dict[str, int]:
        policy = self.router.get("/v1/content-policies")["contentPolicies"][0]
        assert policy["overloads"] == 0, policy
        return {pattern["name"]: pattern["matches"] for pattern in policy["patterns"]}


def test_CNT6_honest_clients_in_a_flood_of_syns(lab: Lab, workers: int) -> None:
    pods = LookedInto(lab, workers)
    quiet = pods.honest()
    assert pods.found() == {"honest": CONNECTIONS, "attack": 0}
    result = lab.directory / "flood.json"
    profile = trafgen.write_profile(lab, pods.profile())
    flags = ("--warmup", "0", "--duration", "60", "--lcores", str(processors()[-1]), *RATES[workers])
    flood = lab.start(trafgen.command("--profile", str(profile), "--json", str(result), *flags), "flood")
    before = pods.router.counters()

    def opened() -> int:
        return pods.router.counters()["flows_opened"] - before["flows_opened"]
    wait_until(lambda: opened() > 100_000, 20, lambda: f"a flood: {flood.stderr()}")
    memory, buffers = pods.router.resident_bytes(), pods.router.mbufs_in_use()
    begun = opened()
    flooded = pods.honest()
    assert opened() > begun + 10_000, "the flood went on all the while"
    assert pods.found() == {"honest": 2 * CONNECTIONS, "attack": 0}, "each of them was looked into"
    refused = pods.left.run("curl", "-sS", "--max-time", "15", "--resolve", f"{HOST}:80:{FRONTEND}", "-H", "X-Attack: yes",
                            f"http://{HOST}/", timeout=20, check=False)
    assert refused.returncode == 56, "and cut off"
    wait_until(lambda: opened() > 300_000, 30, "many more")
    grown = pods.router.resident_bytes() - memory
    flood.signal(2)
    flood.wait(10)
    sent = json.loads(result.read_text())["streams"][0]
    for name, times in (("quiet", quiet), ("flooded", flooded)):
        print(f"{name}: {CONNECTIONS} connections of {CONNECTIONS}, median {times[len(times) // 2]:.1f} ms, "
              f"worst {times[-1]:.1f} ms")
    print(f"{sent['sent']} SYNs at {sent['sentRate']:.0f}/s, {opened()} connections opened; "
          f"memory grew by {grown / 1024:.0f} KiB of {memory / MEBIBYTE:.0f} MiB; {buffers} buffers in use")

    assert grown < MEBIBYTE
    after = pods.router.counters()
    assert after["content_flows"] - before["content_flows"] <= CONNECTIONS + 1, "a SYN is not looked into"
    wait_until(lambda: pods.router.mbufs_in_use() <= buffers, 5, "packet buffers to come back")
