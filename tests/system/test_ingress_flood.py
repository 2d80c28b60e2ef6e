"""SYNs of made-up sources, as fast as the traffic generator makes them, and honest clients beside them."""

from __future__ import annotations

import json

import trafgen
from netns import Lab, processors, wait_until
from router import Json
from two_hosts import ROUTER_LEFT
from web_programs import ONE, TWO, WebPods

FLOODER, GATEWAY = "10.3.0.2", "10.3.0.1"
SOURCES = "100.64.0.0/10"  # 4 194 304 of them, to which the router's answers are sent back
CONNECTIONS = 200
# One worker: as fast as it goes. Two beside the generator are more than the processors of a small machine, and what is
# handed over between them while one has none gets lost.
RATES = {1: (), 2: ("--mode", "rate", "--rate", "100k")}
MEBIBYTE = 1 << 20


class FloodedPods(WebPods):
    """With a third link, of shared memory, by which the flood comes and its answers go."""

    def __init__(self, lab: Lab, workers: int):
        self.socket = lab.directory / "flood.sock"
        super().__init__(lab, workers)

    def document(self, **more: Json) -> Json:
        made = super().document(**more)
        spec = made["items"][0]["spec"]
        spec["interfaces"].append({"name": "flood0", "device": trafgen.memif(0, self.socket, "server"),
                                   "addresses": [f"{GATEWAY}/24"]})
        spec["routes"] = [{"destination": SOURCES, "via": FLOODER, "interface": "flood0"}]
        return made

    def profile(self) -> Json:
        port = {"name": "flood", "device": trafgen.memif(0, self.socket, "client"), "addresses": [f"{FLOODER}/24"],
                "gateway": GATEWAY}
        flows = {"count": 1 << 24, "src": SOURCES, "srcPort": "1024-1027", "dst": ROUTER_LEFT, "dstPort": 80}
        stream = {"mode": "flood", "send": "flood", "receive": [], "protocol": "tcp", "ethernet": {"dst": "resolve"},
                  "flows": flows}
        return {"ports": [port], "streams": [stream]}

    def honest(self) -> list[float]:
        """Milliseconds that each of many connections took; all of them were answered by the right pod."""
        paths = ["/a" if number % 2 == 0 else "/two/b" for number in range(CONNECTIONS)]
        said = self.curl(paths, "-H", "Connection: close", "-w", "%{num_connects} %{time_total}\\n", timeout=15)
        lines = said.splitlines()
        assert lines[::2] == [f"{ONE} GET /a", f"{TWO} GET /two/b"] * (CONNECTIONS // 2)
        assert all(line.startswith("1 ") for line in lines[1::2]), "a connection for each request"
        return sorted(float(line.split()[1]) * 1000 for line in lines[1::2])


def test_SPL1_honest_clients_in_a_flood_of_syns(lab: Lab, workers: int) -> None:
    pods = FloodedPods(lab, workers)
    quiet = pods.honest()
    result = lab.directory / "flood.json"
    profile = trafgen.write_profile(lab, pods.profile())
    flags = ("--warmup", "0", "--duration", "60", "--lcores", str(processors()[-1]), *RATES[workers])
    flood = lab.start(trafgen.command("--profile", str(profile), "--json", str(result), *flags), "flood")
    before = pods.router.counters()
    wait_until(lambda: pods.router.counters()["syn_cookies_sent"] > before["syn_cookies_sent"] + 50000, 20,
               lambda: f"a flood: {flood.stderr()}")
    memory, buffers = pods.router.resident_bytes(), pods.router.mbufs_in_use()
    cookies = pods.router.counters()["syn_cookies_sent"]
    flooded = pods.honest()
    assert pods.router.counters()["syn_cookies_sent"] > cookies + 1000, "the flood went on all the while"
    wait_until(lambda: pods.router.counters()["syn_cookies_sent"] > before["syn_cookies_sent"] + 200000, 30,
               "many more")
    grown = pods.router.resident_bytes() - memory
    flood.signal(2)
    flood.wait(10)
    sent = json.loads(result.read_text())["streams"][0]
    after = pods.router.counters()
    for name, times in (("quiet", quiet), ("flooded", flooded)):
        print(f"{name}: {CONNECTIONS} connections of {CONNECTIONS}, median {times[len(times) // 2]:.1f} ms, "
              f"worst {times[-1]:.1f} ms")
    print(f"{sent['sent']} SYNs at {sent['sentRate']:.0f}/s, {after['syn_cookies_sent']} answered with cookies; "
          f"memory grew by {grown / 1024:.0f} KiB of {memory / MEBIBYTE:.0f} MiB; {buffers} buffers in use")

    assert grown < MEBIBYTE
    assert after["flows_evicted"] == 0
    assert after["late_opened"] - before["late_opened"] == CONNECTIONS, "who has not answered a cookie has nothing here"
    assert not [flow for flow in pods.router.flows() if flow.source.startswith("100.")]
    wait_until(lambda: pods.router.mbufs_in_use() <= buffers, 5, "packet buffers to come back")
