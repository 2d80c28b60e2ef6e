"""The traffic generator: it finds nothing where nothing is wrong, and every fault that a peer makes on purpose."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from scapy.all import ARP, ICMP, IP, TCP, UDP, VXLAN, Dot1Q, Ether, ICMPv6EchoRequest, IPv6, Raw, rdpcap, wrpcap

import trafgen
from netns import Lab, execute, processors, wait_until
from objects import service_with_endpoints
from router import Json, Options, Router
from two_hosts import document

RING = ("--port", "net_ring0", "--warmup", "0.1", "--duration", "0.5")


def ring(lab: Lab, stream: Json, *flags: str) -> Json:
    """Sends a stream to itself; the only stream's result."""
    code, result = trafgen.run(lab, {"ports": [{"device": "net_ring0"}], "streams": [stream]}, *RING, *flags)
    assert code == 0, result
    assert result["clean"] is True
    return result["streams"][0]


def assert_perfect(direction: Json, least: int = 1000) -> None:
    assert direction["received"] >= least
    assert {key: direction[key] for key in ("lost", "duplicated", "reordered", "corrupted", "misrouted")} == \
        dict.fromkeys(("lost", "duplicated", "reordered", "corrupted", "misrouted"), 0)


# ---- through a ring, back to itself ----

@pytest.mark.parametrize("fields", [
    {},
    {"flows": {"count": 1000, "order": "random"}},
    {"flows": {"count": 16777216, "order": "sequential"}, "rate": 200000},
    {"protocol": "tcp", "flows": {"count": 100}},
    {"protocol": "icmp", "flows": {"count": 100}},
    {"flows": {"count": 100, "src": "2001:db8::/64", "dst": "2001:db8:1::1"}},
    {"flows": {"count": 100, "src": "2001:db8::/64", "dst": "2001:db8:1::1"}, "protocol": "icmp"},
    {"frame": "imix", "flows": {"count": 100}},
    {"frame": [64, 1514, 65]},
    {"tunnel": {"kind": "vxlan", "src": "172.16.0.1", "dst": "172.16.0.2", "vni": 5},
     "expect": {"tunnel": {"kind": "vxlan", "vni": 5, "dst": "172.16.0.2"}}, "flows": {"count": 100}},
    {"tunnel": {"kind": "ipip", "src": "172.16.0.1-172.16.0.9", "dst": "172.16.0.2"},
     "expect": {"tunnel": {"kind": "ipip"}}, "flows": {"count": 100}},
], ids=lambda fields: "-".join(fields) or "default")
def test_every_kind_of_packet_comes_back_right(lab: Lab, fields: Json) -> None:
    stream = ring(lab, {"latency": True, **fields})
    assert_perfect(stream["forward"])
    assert stream["forward"]["received"] == stream["sent"]
    latency = stream["forward"]["latency"]
    assert latency["count"] == stream["sent"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p999"] <= latency["max"]


def test_answers_requests_and_connections(lab: Lab) -> None:
    every_third = ring(lab, {"flows": {"count": 10}, "rate": 30000, "answer": {"every": 3}})
    assert_perfect(every_third["forward"])
    assert_perfect(every_third["answers"])
    assert every_third["answers"]["sent"] == pytest.approx(every_third["sent"] / 3, rel=0.01)
    assert_perfect(every_third["warmup"]["answers"], 100)

    requests = ring(lab, {"mode": "requests", "flows": {"count": 1000}, "outstanding": 64, "latency": True})
    assert_perfect(requests["answers"])
    assert requests["requests"]["completed"] == requests["sent"]
    assert requests["requests"]["failed"] == 0

    connections = ring(lab, {"mode": "connections", "flows": {"count": 10000}, "outstanding": 100})
    assert connections["connections"]["completed"] > 1000
    assert connections["connections"]["failed"] == connections["connections"]["reset"] == 0
    # Six segments each, two of them answers; some were still open when sending ended.
    assert connections["connections"]["opened"] - connections["connections"]["completed"] <= 100


def test_answers_that_do_not_come_are_failures(lab: Lab) -> None:
    profile = {"ports": [{"device": "net_null0"}], "streams": [
        {"mode": "requests", "receive": 0, "outstanding": 10, "timeout": 0.05, "flows": {"count": 1000}},
        {"mode": "connections", "receive": 0, "outstanding": 10, "timeout": 0.05, "flows": {"count": 1000}}]}
    code, result = trafgen.run(lab, profile, "--warmup", "0", "--duration", "1")
    assert code == 0
    requests, connections = result["streams"]
    assert requests["requests"]["completed"] == connections["connections"]["completed"] == 0
    assert 50 <= requests["requests"]["failed"] <= 210
    assert 50 <= connections["connections"]["failed"] <= 210
    assert requests["forward"]["lost"] == requests["sent"]


def test_replay_of_a_capture_with_other_addresses(lab: Lab) -> None:
    capture = lab.directory / "capture.pcap"
    ether = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
    wrpcap(str(capture), [
        ether / IP(src="10.1.2.3", dst="10.9.0.1") / UDP(sport=1000, dport=53) / Raw(b"x" * 40),
        ether / IP(src="10.1.2.4", dst="10.9.0.1") / TCP(sport=1001, dport=80, options=[("NOP", None)] * 4) /
        Raw(b"y" * 101),
        ether / IP(src="10.1.2.5", dst="10.9.0.1") / ICMP(id=7) / Raw(b"z" * 60),
        ether / IP(src="10.1.2.6", dst="10.9.0.1") / UDP(sport=5, dport=6) / Raw(b"short"),  # no room for a signature
    ])
    stream = ring(lab, {"mode": "replay", "rate": 50000, "replay": {
        "file": str(capture), "rewrite": {"src": [{"from": "10.1.0.0/16", "to": "198.18.0.0/16"}]}},
        "expect": {"src": ["198.18.2.3-198.18.2.5"], "dst": ["10.9.0.1"]}})
    assert_perfect(stream["forward"])
    assert stream["replay"] == {"packets": 3, "leftOut": 1}
    assert stream["flows"] == 3


def packet(source: str, destination: str, *layers) -> Ether:
    family = IPv6 if ":" in source else IP
    made = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b") / family(src=source, dst=destination)
    for layer in layers:
        made /= layer
    return made


def sent_frames(lab: Lab, profile: Json | None, *flags: str) -> list[Ether]:
    """What goes out to a capture instead of a link."""
    capture = lab.directory / "sent.pcap"
    port = f"net_pcap0,tx_pcap={capture}"
    if profile is not None:
        profile = {"ports": [{"device": port}], **profile}
    code, result = trafgen.run(lab, profile, *(() if profile else ("--port", port)), "--receive", "none", "--warmup", "0",
                               "--duration", "0.1", "--rate", "5k", *flags)
    assert code == 0
    # Of a frame that the generator pads, and of one that it does not.
    return list(rdpcap(str(capture)))[:result["streams"][0]["sent"]]


def test_replay_of_ipv6_with_other_destinations_and_ports(lab: Lab) -> None:
    capture = lab.directory / "capture6.pcap"
    text = Raw(b"x" * 40)
    wrpcap(str(capture), [
        packet("2001:db8:1::3", "2001:db8:9::1", UDP(sport=1000, dport=53), text),
        packet("2001:db8:1::4", "2001:db8:9::2", TCP(sport=1001, dport=80, flags="PA", seq=7), text),
        packet("2001:db8:1::5", "2001:db8:8::3", ICMPv6EchoRequest(id=7, data=b"x" * 40)),
        packet("10.1.2.6", "10.9.0.1", UDP(sport=5, dport=6), text),  # of the other family
    ])
    rewrite = {"src": [{"from": "2001:db8:1::/48", "to": "2001:db8:ff::/48"}],
               "dst": [{"from": "2001:db8:9::/48", "to": "2001:db8:a::/48"}],
               "srcPort": [{"from": "1000-1001", "to": 2000}], "dstPort": [{"from": 53, "to": 5353}]}
    frames = sent_frames(lab, {"streams": [{"mode": "replay", "rate": 5000, "replay": {
        "file": str(capture), "rewrite": rewrite}}]})
    assert len(frames) > 100
    for number, frame in enumerate(frames):
        ip = frame[IPv6]
        assert (ip.src, ip.dst) == (("2001:db8:ff::3", "2001:db8:a::1"), ("2001:db8:ff::4", "2001:db8:a::2"),
                                    ("2001:db8:ff::5", "2001:db8:8::3"))[number % 3]
        if number % 3 == 0:
            assert (ip[UDP].sport, ip[UDP].dport) == (2000, 5353)
        elif number % 3 == 1:
            assert (ip[TCP].sport, ip[TCP].dport, ip[TCP].flags, ip[TCP].seq) == (2001, 80, "PA", 7)
        else:
            assert ip[ICMPv6EchoRequest].id == 7
        sum_field = {0: UDP, 1: TCP, 2: ICMPv6EchoRequest}[number % 3]
        written = ip[sum_field].chksum if number % 3 != 2 else ip[sum_field].cksum
        again = ip.copy()
        setattr(again[sum_field], "chksum" if number % 3 != 2 else "cksum", None)
        computed = IPv6(bytes(again))[sum_field]
        assert written == (computed.chksum if number % 3 != 2 else computed.cksum)


def test_what_a_replay_leaves_out(lab: Lab) -> None:
    capture = lab.directory / "odd.pcap"
    text = Raw(b"x" * 40)
    whole = packet("10.1.2.3", "10.9.0.1", UDP(sport=1000, dport=53), text)
    fragment = packet("10.1.2.3", "10.9.0.1", UDP(sport=1000, dport=53), text)
    fragment[IP].flags = "MF"
    tagged = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b") / Dot1Q(vlan=5) / whole[IP]
    wrpcap(str(capture), [
        whole, fragment, tagged, Ether() / ARP(),
        packet("10.1.2.3", "10.9.0.1", UDP(sport=4789, dport=4789), VXLAN(vni=5), whole),
        packet("10.1.2.3", "10.9.0.1", ICMP(type=3, code=1), whole[IP]),
        packet("10.1.2.3", "10.9.0.1", TCP(flags="S")),
        packet("2001:db8:1::3", "2001:db8:9::1", UDP(sport=1000, dport=53), text)])
    code, result = trafgen.run(lab, None, *RING, "--rate", "5k", "--replay", str(capture))
    assert code == 0
    stream = result["streams"][0]
    assert stream["mode"] == "replay" and stream["replay"] == {"packets": 1, "leftOut": 7}
    assert_perfect(stream["forward"], 500)


def test_ramp_and_search_report_every_trial(lab: Lab) -> None:
    profile = {"ports": [{"device": "net_ring0"}], "streams": [{"rate": {"from": 10000, "to": 30000, "steps": 3}}]}
    code, result = trafgen.run(lab, profile, "--warmup", "0", "--duration", "0.3")
    assert code == 0
    assert [trial["offeredRate"] for trial in result["trials"]] == [10000, 20000, 30000]
    assert all(trial["streams"][0]["forward"]["lost"] == 0 for trial in result["trials"])

    profile["streams"] = [{}]
    code, result = trafgen.run(lab, profile, "--warmup", "0", "--duration", "0.2", "--search", "loss-free",
                               "--max-rate", "40000", "--resolution", "25")
    assert code == 0
    search = result["search"]
    assert search["kind"] == "loss-free" and search["rate"] <= 40000
    assert "flood" not in search
    # Whether a busy machine reaches the rate is its business; what passed lost nothing.
    assert all(trial["lost"] == 0 for trial in result["trials"] if trial["passed"])
    assert search["found"] == any(trial["passed"] for trial in result["trials"])


def test_a_search_tells_of_the_flood_that_it_begins_with(lab: Lab) -> None:
    _, result = trafgen.run(lab, {"ports": [{"device": "net_ring0"}], "streams": [{}]}, "--warmup", "0", "--duration",
                            "0.1", "--search", "loss-free", "--resolution", "50")
    flood = result["search"]["flood"]
    assert flood["offeredRate"] == 0 and flood["sentRate"] > 10000
    assert flood["streams"][0]["forward"]["received"] > 1000
    assert all(trial["offeredRate"] > 0 for trial in result["trials"])


def test_one_thread_per_port(lab: Lab) -> None:
    cpus = ",".join(str(cpu) for cpu in (processors() * 2)[:2])
    profile = {"ports": [{"device": "net_ring0"}, {"device": "net_ring1"}],
               "streams": [{"send": number, "receive": number, "rate": 10000, "flows": {"count": 10}}
                           for number in (0, 1)]}
    code, result = trafgen.run(lab, profile, "--lcores", cpus, "--warmup", "0.1", "--duration", "0.5")
    assert code == 0
    for stream in result["streams"]:
        assert_perfect(stream["forward"], 100)

    # A packet that comes to another thread's port is misrouted, not forgotten.
    profile["streams"] = [{"send": 0, "receive": 1, "rate": 10000}]
    code, result = trafgen.run(lab, profile, "--lcores", cpus, "--warmup", "0.1", "--duration", "0.5")
    found = result["streams"][0]["forward"]
    assert code == 2
    assert found["misroutedBy"]["port"] == found["misrouted"] == result["streams"][0]["sent"] > 100
    assert found["lost"] == 0


def test_flows_of_a_file(lab: Lab) -> None:
    tuples = lab.directory / "tuples.csv"
    tuples.write_text("".join(f"10.0.0.{n},10.9.0.{n},{1000 + n},{2000 + n}\n" for n in range(1, 100)))
    stream = ring(lab, {"rate": 50000, "flows": {"file": str(tuples), "order": "random"}})
    assert_perfect(stream["forward"])
    assert stream["flows"] == 99


def test_it_says_when_it_is_the_limit_itself(lab: Lab) -> None:
    code, result = trafgen.run(lab, None, "--port", "net_null0", "--warmup", "0", "--duration", "0.5")
    assert code == 0
    assert result["generatorLimited"] is True
    assert result["generatorLimitedWhy"]
    assert "forward" not in result["streams"][0]


def test_flags_and_profiles_that_are_wrong_are_refused_in_one_sentence_each(lab: Lab) -> None:
    path = trafgen.write_profile(lab, {"ports": [{"device": "net_ring0"}], "streams": [{"rate": "fast", "frame": 5}]})
    said = trafgen.refused("--profile", str(path))
    assert f"{path}: /streams/0/rate: expected a number above 0" in said
    assert f"{path}: /streams/0/frame: expected a size" in said
    assert "/ports: there is no port" in trafgen.refused()
    assert "--ramp wants FROM:TO:STEPS" in trafgen.refused("--port", "net_ring0", "--ramp", "5")
    assert "--fault does not know" in trafgen.refused("--port", "net_ring0", "--fault", "gremlins")
    assert "--lcores" in trafgen.refused("--port", "net_ring0", "--lcores", "4095")
    assert "it cannot be read" in trafgen.refused("--profile", "/nowhere.json")
    done = execute(*trafgen.command("--port", "net_nosuch0"), check=False)
    assert done.returncode == 3
    assert 'device "net_nosuch0"' in done.stderr


# ---- flags, each seen to act ----

def only(result: Json) -> Json:
    return result["streams"][0]


@pytest.mark.parametrize("flags, seen", [
    (("--ramp", "10k:30k:3"), lambda r: [trial["offeredRate"] for trial in r["trials"]] == [10000, 20000, 30000]),
    (("--frame", "imix"), lambda r: only(r)["frameBytes"] == [64, 594, 1514]),
    (("--frame", "100,200"), lambda r: only(r)["frameBytes"] == [100, 200]),
    (("--flows", "2k"), lambda r: only(r)["flows"] == 2000),
    (("--mode", "connections", "--flows", "1k"), lambda r: only(r)["connections"]["completed"] > 100),
    (("--mode", "requests", "--flows", "1k"), lambda r: only(r)["requests"]["completed"] > 100),
    (("--rate", "20k"), lambda r: only(r)["mode"] == "rate" and only(r)["offeredRate"] == 20000),
    (("--rate", "20k", "--latency"), lambda r: only(r)["forward"]["latency"]["count"] == only(r)["sent"]),
    (("--rate", "20k"), lambda r: "latency" not in only(r)["forward"]),
], ids=lambda value: "-".join(value) if isinstance(value, tuple) else "")
def test_a_flag_is_seen_in_the_result(lab: Lab, flags: tuple[str, ...], seen: Callable[[Json], bool]) -> None:
    code, result = trafgen.run(lab, None, "--port", "net_ring0", "--warmup", "0", "--duration", "0.2", *flags)
    assert code == 0
    assert seen(result), result


@pytest.mark.parametrize("flags, seen", [
    (("--flows", "64"), lambda frames: [f[UDP].sport for f in frames[:128]] == [*range(1024, 1088)] * 2),
    (("--flows", "64", "--order", "random"), lambda frames: [f[UDP].sport for f in frames[:64]] != [*range(1024, 1088)]
     and sorted(f[UDP].sport for f in frames[:64]) == [*range(1024, 1088)]),
    (("--protocol", "tcp"), lambda frames: all(f[IP].proto == 6 for f in frames) and frames[0][TCP].flags == "S"),
    (("--protocol", "icmp"), lambda frames: all(f[ICMP].type == 8 for f in frames)),
    (("--frame", "imix"), lambda frames: [len(f) for f in frames[:12]].count(64) == 7 and
     [len(f) for f in frames[:12]].count(1514) == 1),
    (("--src", "10.7.0.1", "--dst", "10.8.0.1-10.8.0.2", "--flows", "2"),
     lambda frames: {(f[IP].src, f[IP].dst) for f in frames} == {("10.7.0.1", "10.8.0.1"), ("10.7.0.1", "10.8.0.2")}),
    (("--src-port", "7", "--dst-port", "9"), lambda frames: {(f[UDP].sport, f[UDP].dport) for f in frames} == {(7, 9)}),
    (("--src-mac", "02:00:00:00:00:77", "--dst-mac", "02:00:00:00:00:88"),
     lambda frames: {(f.src, f.dst) for f in frames} == {("02:00:00:00:00:77", "02:00:00:00:00:88")}),
], ids=lambda value: "-".join(value) if isinstance(value, tuple) else "")
def test_a_flag_is_seen_on_the_link(lab: Lab, flags: tuple[str, ...], seen: Callable[[list[Ether]], bool]) -> None:
    frames = sent_frames(lab, None, *flags)
    assert len(frames) > 128
    assert seen(frames), [frame.summary() for frame in frames[:20]]


# ---- the live table ----

PROGRESS = re.compile(r"(warm-up|measuring) \[(#*)(\.*)\] (\d+) of (\d+) s, (\d+) s left in all")
SHORT = ("--port", "net_ring0", "--flows", "10", "--rate", "1000", "--warmup", "1.8", "--duration", "3.8")


def live_command() -> list[str]:
    return [word for word in trafgen.command(*SHORT) if word != "--no-live"]


def test_on_a_terminal_a_table_is_rewritten_with_progress_and_the_time_left(lab: Lab) -> None:
    mine, terminal = pty.openpty()
    running = subprocess.Popen(live_command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = b""
    try:
        while True:
            try:
                read = os.read(mine, 65536)
            except OSError:  # what Linux says when the other side has closed
                break
            if not read:
                break
            shown += read
        assert running.wait(20) == 0
    finally:
        running.kill()
        running.wait()
        os.close(mine)
    text = shown.decode()
    progress = PROGRESS.findall(text)
    assert [part[0] for part in progress] == ["warm-up", "measuring", "measuring", "measuring"], text
    # Every second; on a busy machine a part of one late.
    for (_, done, open_, elapsed, whole, left), (second, seconds, total) in zip(
            progress, [(1, 1.8, 5.6), (1, 3.8, 3.8), (2, 3.8, 3.8), (3, 3.8, 3.8)], strict=True):
        assert int(elapsed) in (second, second + 1) and int(whole) == round(seconds)
        assert abs(int(left) - (total - int(elapsed))) <= 1
        assert len(done) + len(open_) == 24 and abs(len(done) - 24 * second / seconds) <= 24 * 0.8 / seconds
    filled = [len(part[1]) for part in progress]
    assert filled[1] < filled[2] < filled[3]
    # Five lines, each time over those of before; nothing of a longer old line stays.
    assert text.count("\x1b[5A") == 3 and text.count("\x1b[K") == 4 * 5
    rows = [line.split() for line in re.findall(r"^port0 .*?(?=\x1b)", text, re.M)]
    # Per second, between two updates; a machine that is busy with others may be late for some.
    assert len(rows) == 4 and all(500 < int(row[1]) < 1500 and 500 < int(row[3]) < 1500 for row in rows), rows
    streams = [line.split() for line in re.findall(r"^stream0 .*?(?=\x1b)", text, re.M)]
    sent = [int(row[1]) for row in streams]
    assert len(sent) == 4 and sent[1] < sent[2] < sent[3]
    assert all(row[3:] == ["0"] * 4 for row in streams)


def test_without_a_terminal_or_with_no_live_there_is_no_table(lab: Lab) -> None:
    quick = ("--warmup", "0", "--duration", "1.2")
    assert execute(*live_command(), *quick).stderr == ""
    mine, terminal = pty.openpty()
    try:
        done = subprocess.run([*live_command(), "--no-live", *quick], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=terminal, timeout=20)
        os.set_blocking(mine, False)
        with pytest.raises(BlockingIOError):
            os.read(mine, 1)
    finally:
        os.close(terminal)
        os.close(mine)
    assert done.returncode == 0


# ---- against a peer that makes mistakes ----

# Slow enough that a peer which loses its CPU for a fifth of a second loses no packet.
MIRRORED = {"flows": {"count": 50}, "rate": 5000, "expect": "reversed", "latency": True}


def reflected(lab: Lab, stream: Json, reflector_flags: tuple[str, ...], *flags: str) -> tuple[int, Json]:
    """Exit code and result."""
    socket = lab.directory / "mirror.sock"
    reflector = trafgen.start_reflector(lab, socket, *reflector_flags)
    profile = {"ports": [{"device": trafgen.memif(0, socket, "client")}], "streams": [stream]}
    try:
        return trafgen.run(lab, profile, "--warmup", "0.2", "--duration", "1", *flags)
    finally:
        # How it ends is not asked: when a memif peer leaves, DPDK 22.11 unmaps the rings under whoever polls them.
        reflector.stop()
        socket.unlink(missing_ok=True)


def through_reflector(lab: Lab, stream: Json, *reflector_flags: str) -> tuple[int, Json]:
    code, result = reflected(lab, stream, reflector_flags)
    return code, result["streams"][0]


def test_a_client_waits_for_its_server_but_not_for_ever(lab: Lab) -> None:
    socket = lab.directory / "late.sock"
    result = lab.directory / "late.json"
    profile = {"ports": [{"device": trafgen.memif(0, socket, "client")}], "streams": [MIRRORED]}
    client = lab.start(trafgen.command("--profile", str(trafgen.write_profile(lab, profile)), "--warmup", "0",
                                       "--duration", "0.5", "--wait-link", "30", "--json", str(result)), "client")
    wait_until(lambda: "Failed to connect" in client.stderr(), 20, lambda: client.stderr())
    reflector = trafgen.start_reflector(lab, socket)
    try:
        assert client.wait(30) == 0, client.stderr()
    finally:
        reflector.stop()
    assert json.loads(result.read_text())["ports"][0]["received"] > 100
    done = execute(*trafgen.command("--port", trafgen.memif(0, lab.directory / "none.sock", "client"), "--wait-link",
                                    "0.5"), check=False)
    assert done.returncode == 3 and "cannot be started" in done.stderr


def test_a_faultless_peer_passes(lab: Lab) -> None:
    code, stream = through_reflector(lab, MIRRORED)
    assert code == 0
    assert_perfect(stream["forward"], 100)


@pytest.mark.parametrize("fault, key, reason", [
    ("wrong-checksum", "corrupted", ("corruptedBy", "l4Checksum")),
    ("corrupt", "corrupted", ("corruptedBy", "l4Checksum")),
    ("drop-one", "lost", None),
    ("duplicate", "duplicated", None),
    ("swap-endpoint", "misrouted", ("misroutedBy", "source")),
])
def test_a_faulty_peer_is_caught(lab: Lab, fault: str, key: str, reason: tuple[str, str] | None) -> None:
    code, stream = through_reflector(lab, MIRRORED, "--fault", fault, "--fault-every", "100")
    found = stream["forward"]
    assert found[key] == pytest.approx(stream["sent"] / 100, abs=2)
    others = {"lost", "duplicated", "reordered", "corrupted", "misrouted"} - {key}
    assert all(found[other] == 0 for other in others), found
    if reason:
        assert found[reason[0]][reason[1]] == found[key]
    assert code == (0 if key == "lost" else 2)


@pytest.mark.parametrize("fault, counter", [("signature", "damaged"), ("length", "unreadable")])
def test_a_peer_that_damages_what_packets_are_known_by_is_caught(lab: Lab, fault: str, counter: str) -> None:
    code, result = reflected(lab, MIRRORED, ("--fault", fault, "--fault-every", "100"))
    stream, port = result["streams"][0], result["ports"][0]
    assert port[counter] == pytest.approx(stream["sent"] / 100, abs=2)
    # The warm-up's are in the sum.
    assert result["wrong"][counter] > port[counter]
    assert sum(result["wrong"].values()) == result["wrong"][counter]
    assert code == 2 and result["clean"] is False
    assert stream["forward"]["lost"] == port[counter]


def test_a_second_copy_of_a_segment_is_caught(lab: Lab) -> None:
    code, stream = through_reflector(lab, {"mode": "connections", "receive": [], "rate": 500,
                                           "flows": {"count": 5000}}, "--fault", "duplicate", "--fault-every", "100")
    # Of three packets that come to the reflecting side two are answered, and copies are made of answers.
    assert code == 2
    assert stream["answers"]["duplicated"] == pytest.approx(stream["connections"]["completed"] / 50, rel=0.3, abs=2)
    assert stream["connections"]["failed"] == 0


def test_loss_within_the_tolerance_passes_and_fails_only_if_asked(lab: Lab) -> None:
    drops = ("--fault", "drop-one", "--fault-every", "100")
    search = ("--search", "loss-free", "--max-rate", "5k", "--resolution", "50", "--duration", "0.2")
    assert reflected(lab, MIRRORED, drops, *search)[1]["search"]["found"] is False
    assert reflected(lab, MIRRORED, drops, *search, "--tolerance", "50000")[1]["search"]["found"] is True
    code, result = reflected(lab, MIRRORED, drops, "--fail-on-loss")
    assert code == 2 and result["clean"] is True


def test_a_peer_that_reorders_is_caught(lab: Lab) -> None:
    one_flow = {**MIRRORED, "flows": {"count": 1}}
    _, stream = through_reflector(lab, one_flow, "--fault", "reorder", "--fault-every", "100")
    assert stream["forward"]["reordered"] == pytest.approx(stream["sent"] / 100, abs=2)
    assert stream["forward"]["lost"] == stream["forward"]["duplicated"] == 0


def test_connections_to_a_peer(lab: Lab) -> None:
    code, stream = through_reflector(lab, {"mode": "connections", "receive": [], "rate": 500,
                                           "flows": {"count": 5000}})
    assert code == 0
    assert stream["connections"]["completed"] > 100
    assert stream["connections"]["failed"] == 0


# ---- a router between two ports: ARP, translation, answers ----

VIP, ENDPOINTS = "10.96.0.80", "10.2.0.101-10.2.0.104"


@pytest.fixture
def routed(lab: Lab) -> Iterator[tuple[Lab, Router]]:
    namespace = lab.namespace("router")
    sockets = [lab.directory / "left.sock", lab.directory / "right.sock"]
    interfaces = [{"name": name, "device": trafgen.memif(number, sockets[number], "server"), "role": "uplink",
                   "addresses": addresses, "mtu": 1500}
                  for number, (name, addresses) in enumerate((("left0", ["10.1.0.1/24", "fd00:1::1/64"]),
                                                              ("right0", ["10.2.0.1/24", "fd00:2::1/64"])))]
    endpoints = [(f"10.2.0.{last}", "elsewhere") for last in range(101, 105)]
    items = [item for protocol in ("UDP", "TCP")
             for item in service_with_endpoints(f"web-{protocol.lower()}", "10.96.0.80" if protocol == "UDP" else
                                                "10.96.0.81", 80, 8080, endpoints, protocol=protocol)]
    router = Router(namespace, "router", Options(workers=1, memory=256))
    router.start(document(interfaces, items, cluster={"clusterCIDRs": ["10.1.0.0/24"]}))
    yield lab, router
    assert router.stop() == 0, router.log()


def two_sided(lab: Lab, *streams: Json) -> Json:
    return {"ports": [
        {"name": "client", "device": trafgen.memif(0, lab.directory / "left.sock", "client"),
         "mac": "02:00:00:00:01:02", "addresses": ["10.1.0.2/24", "fd00:1::2/64"],
         "answersFor": ["10.1.0.100-10.1.0.199"], "gateway": "10.1.0.1", "gateway6": "fd00:1::1"},
        {"name": "server", "device": trafgen.memif(1, lab.directory / "right.sock", "client"),
         "mac": "02:00:00:00:02:02", "addresses": ["10.2.0.2/24", "fd00:2::2/64"],
         "answersFor": ["10.2.0.100-10.2.0.199"]}],
        "streams": list(streams)}


def test_a_service_through_the_router_both_ways(routed: tuple[Lab, Router]) -> None:
    lab, _ = routed
    flows = {"count": 400, "order": "random", "src": "10.1.0.100-10.1.0.103", "srcPort": "2000-2099", "dstPort": 80}
    to_service = {"ethernet": {"dst": "resolve"}, "send": "client", "receive": "server", "answer": {}, "latency": True,
                  "rate": 2000, "expect": {"dst": [ENDPOINTS], "dstPort": [8080], "ttl": 63}}
    plain = {"name": "plain", "ethernet": {"dst": "resolve"}, "send": "client", "receive": "server", "rate": 1000,
             "flows": {"count": 10, "src": "10.1.0.2", "dst": "10.2.0.2"}, "expect": {"ttl": 63}}
    plain6 = {"name": "plain6", "ethernet": {"dst": "resolve"}, "send": "client", "receive": "server", "rate": 1000,
              "flows": {"count": 10, "src": "fd00:1::2", "dst": "fd00:2::2"}}
    code, result = trafgen.run(lab, two_sided(
        lab, {"name": "udp", "flows": {**flows, "dst": VIP}, **to_service}, plain, plain6),
        "--warmup", "1", "--duration", "1.5")
    assert code == 0, result
    udp, other, other6 = result["streams"]
    for direction in (udp["forward"], udp["answers"], other["forward"], other6["forward"]):
        assert_perfect(direction, 300)
    assert udp["answers"]["latency"]["p50"] > 0
    assert result["ports"][0]["neighborAnswers"] > 0 and result["ports"][1]["neighborAnswers"] > 0


def test_connections_to_a_service_through_the_router(routed: tuple[Lab, Router]) -> None:
    lab, _ = routed
    code, result = trafgen.run(lab, two_sided(lab, {
        "mode": "connections", "rate": 300, "timeout": 3, "ethernet": {"dst": "resolve"},
        "send": "client", "receive": "server",
        "flows": {"count": 20000, "src": "10.1.0.100-10.1.0.119", "srcPort": "2000-2999", "dst": "10.96.0.81",
                  "dstPort": 80}, "expect": {"dst": [ENDPOINTS], "dstPort": [8080]}}),
        "--warmup", "1", "--duration", "1.5")
    assert code == 0, result
    connections = result["streams"][0]["connections"]
    assert connections["completed"] > 100
    assert connections["failed"] == connections["reset"] == 0


def test_what_a_router_must_not_do_is_misrouted(routed: tuple[Lab, Router]) -> None:
    """The same traffic with other expectations: the checks do not nod."""
    lab, _ = routed
    stream = {"ethernet": {"dst": "resolve"}, "send": "client", "receive": "server", "rate": 5000,
              "flows": {"count": 100, "src": "10.1.0.100", "srcPort": "3000-3099", "dst": VIP, "dstPort": 80}}
    code, result = trafgen.run(lab, two_sided(lab, {**stream, "expect": "same"}), "--warmup", "1", "--duration", "1")
    assert code == 2
    found = result["streams"][0]["forward"]
    assert found["misroutedBy"]["destination"] == found["misrouted"] == found["received"] > 100
