"""Real programs that ask the network from inside a namespace, and what they found."""

from __future__ import annotations

import json
import re
import socket
import struct
from dataclasses import dataclass

from netns import Namespace


@dataclass
class Answer:
    """One HTTP exchange: what the client's socket was, and what the pod saw of it."""

    local: str  # the client's own "address:port"
    pod: str
    client: str  # as the pod sees it
    server: str


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


def curl(namespace: Namespace, url: str) -> list[Answer]:
    """The answers to a URL, which may be a pattern as curl knows it; each request is a connection of its own."""
    done = namespace.run("curl", "-sS", "--fail-early", "--connect-timeout", "3", "--max-time", "5",
                         "-w", "%{local_ip}:%{local_port}\n", url, timeout=60, check=False)
    lines = done.stdout.splitlines()
    answers = []
    for line, following in zip(lines, lines[1:]):
        if line.startswith("{"):
            seen = json.loads(line)
            answers.append(Answer(following, seen["pod"], seen["client"], seen["server"]))
    expect(bool(answers), f"no answer from {url}: {done.stderr.strip()}")
    return answers


def ping(namespace: Namespace, address: str, *options: str) -> None:
    done = namespace.run("ping", "-c", "2", "-i", "0.1", "-W", "2", *options, address, check=False)
    expect(done.returncode == 0, f"no answer to ping:\n{done.stdout}{done.stderr}")


@dataclass
class Path:
    hops: list[str]
    mtu: int
    resume: str


def tracepath(namespace: Namespace, address: str) -> Path:
    said = namespace.run("tracepath", "-n", "-m", "8", address, timeout=40, check=False).stdout
    resume = re.search(r"Resume: (pmtu (\d+) hops.*)", said)
    expect(resume is not None and "reached" in said, f"tracepath did not arrive:\n{said}")
    hops: dict[int, str] = {}
    for number, hop in re.findall(r"^ *(\d+): +(\S+)", said, re.M):
        hops[int(number)] = hop
    return Path([hops[number] for number in sorted(hops)], int(resume[2]), resume[1].strip())


def ask_udp(namespace: Namespace, address: str, port: int) -> dict[str, str]:
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect((address, port))  # so that only an answer from there counts
        for _ in range(3):
            try:
                sock.send(b"who")
                return json.loads(sock.recv(2000))
            except TimeoutError:
                continue
    raise AssertionError(f"no datagram came back from {address}:{port}")


def ping_says(namespace: Namespace, address: str, *options: str) -> str:
    """One echo request, and all that ping had to say about it."""
    done = namespace.run("ping", "-n", "-c", "1", "-W", "4", *options, address, check=False)
    return done.stdout + done.stderr


def ping_loss(namespace: Namespace, address: str, count: int, interval: float, *options: str) -> int:
    """How many of `count` echo requests were not answered."""
    done = namespace.run("ping", "-n", "-q", "-c", str(count), "-i", str(interval), "-W", "2", *options, address,
                         timeout=count * interval * 3 + 60, check=False)
    received = re.search(r"(\d+) packets transmitted, (\d+) received", done.stdout)
    expect(received is not None, f"ping said:\n{done.stdout}{done.stderr}")
    return int(received[1]) - int(received[2])


def connect_error(namespace: Namespace, address: str, port: int, seconds: float = 3) -> str:
    """What became of a TCP connection attempt: "connected", "refused", "timeout" or the error's text.

    The socket stays blocking and the kernel keeps the time (SO_SNDTIMEO): connect() then returns the verdict itself.
    A Python timeout reads it from poll() and SO_ERROR instead, and was seen to take an ICMP error that arrived while
    connect() was still returning for success.
    """
    with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        whole = int(seconds)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", whole, int((seconds - whole) * 1e6)))
        try:
            sock.connect((address, port))
            return "connected"
        except ConnectionRefusedError:
            return "refused"
        except (BlockingIOError, TimeoutError):  # EINPROGRESS: the time ran out
            return "timeout"
        except OSError as error:
            return error.strerror or str(error)


def listening(namespace: Namespace, port: int) -> bool:
    """Asks the kernel and makes no connection: some servers take only one."""
    return f":{port} " in namespace.run("ss", "-Hltn").stdout


@dataclass
class Throughput:
    megabits: float
    stalled_seconds: int  # intervals of the run in which nothing moved
    retransmits: int


def iperf(namespace: Namespace, address: str, port: int = 5201, seconds: int = 2, reverse: bool = False) -> Throughput:
    """One TCP stream of iperf3 from the namespace, or towards it."""
    done = namespace.run("iperf3", "--client", address, "--port", str(port), "--time", str(seconds), "--json",
                         "--interval", "0.5", "--connect-timeout", "3000", *(["--reverse"] if reverse else []),
                         timeout=seconds + 20, check=False)
    result = json.loads(done.stdout)
    expect("error" not in result, f"iperf3 to {address}: {result.get('error')}")
    intervals = [interval["sum"] for interval in result["intervals"]]
    return Throughput(result["end"]["sum_received"]["bits_per_second"] / 1e6,
                      sum(interval["bytes"] == 0 for interval in intervals),
                      result["end"]["sum_sent"].get("retransmits", 0))


def checksum_errors(*namespaces: Namespace) -> int:
    """Packets that the kernels of these namespaces refused for a wrong checksum."""
    return sum(value for namespace in namespaces for name, value in namespace.snmp().items()
               if name.endswith("InCsumErrors") or name in ("IpInHdrErrors", "IpExtInCsumErrors"))
