"""The Ingress bench itself: rules, clients' answers, figures, the page. Nothing here measures anything."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import sys
import threading
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "link"), str(HERE.parents[1] / "system")]

import between  # noqa: E402
import figures  # noqa: E402
import load  # noqa: E402
import page  # noqa: E402
import rules  # noqa: E402
from router import SLUICED  # noqa: E402
from usage import Used  # noqa: E402

WRK = 'RESULT {{"requests": {requests}, "micros": 2000000, "bytes": 10, "connect": 0, "read": 0, "write": 0, "status": ' \
      '{status}, "timeout": 0, "p50": 10, "p99": 20, "wrong": 0, "checked": 0, "example": ""}}\n'


def run(scenario: str, system: str, number: int, requests: int, seconds: float, cycles: int | None = None,
        error: str = "") -> figures.Run:
    answered = load.Answered(requests=requests, seconds=2.0, bytes=requests * 10**6, p50=1000.0, p99=2000.0)
    return figures.Run(scenario, system, number, answered, Used(2.0, seconds / 4, seconds * 3 / 4, seconds, 3.0, cycles),
                       1e9, 0.5, error)


def everything() -> figures.Results:
    made = figures.Results({"processor": "P"}, ["scripts/bench", "ingress"], "now", [], {
        "behind": {"0": [100.0, 100.0], "1000": [101.0, 103.0]}, "behind-fastest": {"0": [99.0], "1000": [100.0]},
        "router": {"kept": [1500.0, 1700.0], "new": [6000.0], "bulk": [3e5]}, "scan": {"inspector": [9e8, 9.5e8], "hyperscan": [1e9, 1e9]}})
    for scenario in load.SCENARIOS:
        for number in range(3):
            made.runs += [run(scenario.name, "sluice", number, 1000, 1.0, 10**8),
                          run(scenario.name, "nginx", number, 500, 0.5), run(scenario.name, "haproxy", number, 400, 1.0)]
    return made


# ---- rules ----

def test_every_system_has_the_same_rules_and_every_service_is_led_to():
    made = rules.rules()
    assert len(made) == len({(rule.host, rule.path) for rule in made}) == 500
    assert {rule.service for rule in made} == set(range(rules.SERVICES))
    nginx, lines = rules.nginx_proxy(Path("/x"), "10.1.0.1"), rules.haproxy_map().splitlines()
    assert nginx.count("server_name ") == rules.HOSTS and nginx.count("proxy_pass") == len(lines) == len(made)
    objects = [each for each in rules.objects() if each["kind"] == "Ingress"]
    written = {(rule["host"], path["path"], path["backend"]["service"]["name"])
               for each in objects for rule in each["spec"]["rules"] for path in rule["http"]["paths"]}
    assert written == {(rule.host, rule.path, f"service-{rule.service}") for rule in made}


@pytest.mark.skipif(not SLUICED.exists(), reason="sluiced is not built")
@pytest.mark.parametrize("system", ["sluice", "sluice-offloads"])
def test_sluiced_accepts_the_document(tmp_path, system):
    path = tmp_path / "sluice.json"
    path.write_text(json.dumps(between.document(between.SYSTEMS[system].device)))
    done = subprocess.run([SLUICED, "--check", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_haproxy_accepts_its_configuration(tmp_path):
    (tmp_path / "map").write_text(rules.haproxy_map())
    (tmp_path / "cfg").write_text(rules.haproxy("127.0.0.1", tmp_path / "map"))
    done = subprocess.run(["haproxy", "-c", "-f", tmp_path / "cfg"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ---- what clients say ----

def test_answers_that_are_no_success_spoil_a_run():
    assert load.read_wrk(WRK.format(requests=5, status=0)).complaint() == ""
    assert load.read_wrk(WRK.format(requests=5, status=2)).complaint() == "2 status"
    assert "no request" in load.read_wrk(WRK.format(requests=0, status=0)).complaint()
    found = load.read_h2load("1\t200\t100\n2\t200\t300\n3\t503\t5\n", 2.0)
    assert (found.requests, found.p50, found.p99, found.complaint()) == (2, 300, 300, "1 status")


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Of the first service, whatever is asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{rules.endpoints(0)[1]} {self.headers['Host']} {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.parametrize("right", [True, False])
def test_the_client_tells_right_endpoints_from_wrong_ones(right, tmp_path):
    service = 0 if right else 1
    load.write_rules(tmp_path / "rules", [rule for rule in rules.rules() if rule.service == service], False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = subprocess.run(["wrk", "-t", "2", "-c", "2", "-d", "1s", "-s", load.SCRIPT,
                               f"http://127.0.0.1:{server.server_port}/", "--", tmp_path / "rules", "check"],
                              capture_output=True, text=True, timeout=60)
        server.shutdown()
    found = load.read_wrk(done.stdout)
    assert found.checked > 0
    assert found.faults == ({} if right else {"wrong": found.checked})


# ---- figures ----

def test_work_is_by_the_routers_own_account_and_by_the_kernels_for_others():
    sluice, nginx = run("kept", "sluice", 0, 1000, 1.0, 10**8), run("kept", "nginx", 0, 500, 0.5)
    assert (sluice.rate, sluice.per_core, sluice.micros, sluice.cpu_micros) == (500, 10000, 100, 1000)
    assert run("kept", "sluice", 0, 1000, 1.0, 5 * 10**9).micros == 1000  # it was interrupted
    assert (nginx.per_core, nginx.micros, nginx.cpu_micros) == (1000, 1000, 1000)


def test_ratios_are_of_the_same_round_and_wrong_runs_do_not_count():
    found = everything()
    assert found.ratio("kept", "sluice", "nginx", "per_core").median == pytest.approx(10)
    found.runs = [run("kept", "sluice", 0, 1000, 1.0, 10**8), run("kept", "nginx", 1, 500, 0.5),
                  run("kept", "nginx", 0, 500, 0.5, error="3 status")]
    assert found.ratio("kept", "sluice", "nginx", "per_core") is None


def test_who_has_offloads_is_compared_with_who_has_them():
    found = everything()
    found.runs += [run("bulk", "sluice-offloads", 0, 1000, 1.0, 10**8), run("bulk", "nginx-offloads", 0, 500, 0.5)]
    shown = page.text(found)
    assert "| bulk per core: times nginx's, both with offloads | ≥ 5 | 10.00" in shown
    assert [line for line in shown.splitlines() if line.startswith("| nginx-offloads |")][0].count("10.00") == 1


def test_results_are_read_as_they_were_written(tmp_path):
    found = everything()
    found.write(tmp_path)
    again = figures.Results.load(tmp_path)
    assert again.runs == found.runs and again.content == found.content


def test_the_page_keeps_what_people_wrote_and_says_what_was_reached(tmp_path):
    written = tmp_path / page.PAGE
    written.parent.mkdir()
    written.write_text(f"# Before\n{page.BEGIN}\nold\n{page.END}\nAfter\n")
    for _ in range(2):
        page.refresh(tmp_path, everything())
        text = written.read_text()
        assert text.startswith("# Before\n") and text.endswith("After\n") and "\nold\n" not in text
    assert "| kept-alive requests per core: times nginx's | ≥ 5 | 10.00 (10.00 to 10.00) | yes |" in text
    assert "| new connections a second: times nginx's | ≥ 3 | 2.00 (2.00 to 2.00) | no |" in text
    assert "| cycles per request on kept-alive connections | 1600 ±6 % | 1500 |" in text
    root = xml.parse(tmp_path / page.PLOTS / "per-core.svg").getroot()
    assert root.find("{http://www.w3.org/2000/svg}title").text.startswith("Ingress")


def test_a_page_without_a_place_is_refused(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / page.PAGE).write_text("# Performance\n")
    with pytest.raises(RuntimeError, match="no place"):
        page.refresh(tmp_path, everything())


def test_the_number_of_kept_connections_can_be_told() -> None:
    kept, mixed = load.SCENARIOS[:2]
    assert load.with_connections(kept, None) == kept and load.with_connections(mixed, 4) == mixed
    few = load.with_connections(kept, 4)
    assert (few.name, few.connections, few.threads) == ("kept", 4, 4)
