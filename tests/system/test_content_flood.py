"""SYNs of made-up sources to a service that a ContentPolicy looks into, as fast as the traffic generator makes them, and
honest clients beside them, each of whose connections is looked into. The connection table is so small that the flood
takes its place within milliseconds."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

import trafgen
from cluster import listens
from netns import Lab, processors, wait_until
from objects import service_with_endpoints
from router import Json
from test_ingress_flood import CONNECTIONS, MEBIBYTE, RATES, FloodedPods
from web_programs import HOST, HTTP1, ONE

FRONTEND, MAIL = "203.0.113.80", "203.0.113.25"
SMTP = 2525
RECORDS = 1024  # the least that conntrack.max takes
LONGER = 12  # seconds: than what is in the table stays young
STREAMS = 8  # of 2^24 clients each: of one they would all have sent their SYN within seconds
ECHO_SERVER = Path(__file__).parent / "echo_server.py"


class LookedInto(FloodedPods):
    """The services keep their clients' addresses, so that a flood takes no source ports. One has a server that speaks
    first."""

    def __init__(self, lab: Lab, workers: int):
        self.streams = 1 if RATES[workers] else STREAMS  # a rate is of each
        super().__init__(lab, workers)
        self.right.start(sys.executable, "-I", str(ECHO_SERVER), "250", str(SMTP), "220 mail", name="mail")
        wait_until(lambda: listens(self.right, SMTP), 10, "the server of mail")

    def document(self, **more: Json) -> Json:
        made = super().document(proxy={"externalPolicyLocalScope": "Cluster"}, **more)
        made["items"][0]["spec"]["conntrack"] = {"max": RECORDS}
        return made

    @staticmethod
    def items() -> list[Json]:
        policy = {"apiVersion": "sluice.dev/v1", "kind": "ContentPolicy",
                  "metadata": {"namespace": "default", "name": "looks"},
                  "spec": {"serviceSelector": {}, "direction": "Ingress", "overload": "Drop", "patterns": [
                      {"name": "honest", "regex": "GET /honest-[0-9]+ ", "action": "Count"},
                      {"name": "mail", "regex": "^EHLO honest-[0-9]+\\n", "action": "Count"},
                      {"name": "attack", "literal": "X-Attack: yes", "action": "Reset"}]}}
        return [*service_with_endpoints("web", "10.96.0.1", 80, HTTP1, [(ONE, "far")], load_balancer=FRONTEND,
                                        externalTrafficPolicy="Local"),
                *service_with_endpoints("mail", "10.96.0.2", 25, SMTP, [(ONE, "far")], load_balancer=MAIL,
                                        externalTrafficPolicy="Local"), policy]

    def profile(self) -> Json:
        made = super().profile()
        flood = made["streams"].pop()
        for number in range(self.streams):
            ports = f"{1024 + 4 * number}-{1027 + 4 * number}"
            made["streams"].append(flood | {"flows": flood["flows"] | {"dst": FRONTEND, "srcPort": ports}})
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

    def mails(self) -> list[float]:
        """The same of clients that say nothing before the server has."""
        times = []
        for number in range(CONNECTIONS):
            with self.left.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.settimeout(15)
                begin = time.monotonic()
                sock.connect((MAIL, 25))
                with sock.makefile("rwb") as lines:
                    assert lines.readline() == b"220 mail\n"
                    lines.write(f"EHLO honest-{number}\n".encode())
                    lines.flush()
                    assert lines.readline() == f"250 EHLO honest-{number}\n".encode()
                times.append((time.monotonic() - begin) * 1000)
        return sorted(times)

    def found(self) -> dict[str, int]:
        policy = self.router.get("/v1/content-policies")["contentPolicies"][0]
        assert policy["overloads"] == 0, policy
        return {pattern["name"]: pattern["matches"] for pattern in policy["patterns"]}


def test_CNT6_SPL11_honest_clients_in_a_flood_of_syns(lab: Lab, workers: int) -> None:
    pods = LookedInto(lab, workers)
    quiet, quiet_mails = pods.honest(), pods.mails()
    assert pods.found() == {"honest": CONNECTIONS, "mail": CONNECTIONS, "attack": 0}
    result = lab.directory / "flood.json"
    profile = trafgen.write_profile(lab, pods.profile())
    flags = ("--warmup", "0", "--duration", "60", "--lcores", str(processors()[-1]), *RATES[workers])
    before = pods.router.counters()
    assert before["syn_cookies_sent"] == 0, "who does not have to gives none"
    flood = lab.start(trafgen.command("--profile", str(profile), "--json", str(result), *flags), "flood")

    def cookies() -> int:
        return pods.router.counters()["syn_cookies_sent"]
    wait_until(lambda: cookies() > 100_000, 20, lambda: f"a flood: {flood.stderr()}")
    first, first_mails = pods.honest(), pods.mails()  # memory for what is bound so is used from now on
    memory, buffers = pods.router.resident_bytes(), pods.router.mbufs_in_use()
    time.sleep(LONGER)
    begun = cookies()
    later, later_mails = pods.honest(), pods.mails()
    assert cookies() > begun + 10_000, "the flood went on all the while"
    assert pods.found() == {"honest": 3 * CONNECTIONS, "mail": 3 * CONNECTIONS, "attack": 0}, "each was looked into"
    refused = pods.left.run("curl", "-sS", "--max-time", "15", "--resolve", f"{HOST}:80:{FRONTEND}", "-H", "X-Attack: yes",
                            f"http://{HOST}/", timeout=20, check=False)
    assert refused.returncode == 56, "and cut off"
    grown = pods.router.resident_bytes() - memory
    flood.signal(2)
    flood.wait(10)
    sent = json.loads(result.read_text())["streams"]
    count, rate = sum(stream["sent"] for stream in sent), sum(stream["sentRate"] for stream in sent)
    after = pods.router.counters()
    opened = after["flows_opened"] - before["flows_opened"]
    for name, times in (("quiet", quiet), ("flooded", first), ("later", later), ("mail, quiet", quiet_mails),
                        ("mail, flooded", first_mails), ("mail, later", later_mails)):
        print(f"{name}: {CONNECTIONS} connections of {CONNECTIONS}, median {times[len(times) // 2]:.1f} ms, "
              f"worst {times[-1]:.1f} ms")
    print(f"{count} SYNs at {rate:.0f}/s, {after['syn_cookies_sent']} answered with cookies, {opened} connections opened; "
          f"memory grew by {grown / 1024:.0f} KiB of {memory / MEBIBYTE:.0f} MiB; "
          f"{buffers} buffers in use")

    assert all(stream["sent"] < stream["flows"] for stream in sent), "each client has sent a SYN and nothing else"
    assert grown < MEBIBYTE
    honest = 4 * CONNECTIONS + 1
    assert opened <= RECORDS + honest, "a SYN of the flood takes nobody's place"
    assert after["late_opened"] - before["late_opened"] == honest
    assert after["content_flows"] - before["content_flows"] == honest, "a SYN is not looked into"
    wait_until(lambda: pods.router.mbufs_in_use() <= buffers, 5, "packet buffers to come back")
