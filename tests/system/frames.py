"""Single frames, made with scapy and sent or read at one end of a link."""

from __future__ import annotations

import logging
import select
import socket
import time
from collections.abc import Callable

logging.getLogger("scapy").setLevel(logging.ERROR)  # it warns of interfaces that it need not know

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR  # noqa: E402
from scapy.layers.l2 import ARP, Dot1Q, Ether  # noqa: E402
from scapy.layers.vxlan import VXLAN  # noqa: E402
from scapy.packet import Packet, Raw  # noqa: E402

from netns import Namespace  # noqa: E402

__all__ = ["ARP", "Dot1Q", "Ether", "ICMP", "IP", "IPOption_LSRR", "Packet", "Raw", "TCP", "UDP", "VXLAN", "Wire"]

ETH_P_ALL = 3
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23


class Wire:
    """A packet socket at an interface: what arrives there is read, what is sent leaves by it."""

    def __init__(self, namespace: Namespace, interface: str):
        self.socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((interface, 0))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, frame: Packet | bytes, times: int = 1) -> None:
        data = bytes(frame)
        for _ in range(times):
            self.socket.send(data)

    def read(self, seconds: float) -> Packet | None:
        ready, _, _ = select.select([self.socket], [], [], max(seconds, 0))
        return Ether(self.socket.recv(65535)) if ready else None

    def expect(self, wanted: Callable[[Packet], bool], what: str, seconds: float = 3) -> Packet:
        """The first frame that `wanted` likes; what else came is named when it does not come."""
        end = time.monotonic() + seconds
        others: list[str] = []
        while (frame := self.read(end - time.monotonic())) is not None:
            if wanted(frame):
                return frame
            others.append(frame.summary())
        raise AssertionError(f"no {what} within {seconds:g} s; instead: {others[:10] or 'nothing'}")

    def expect_none(self, unwanted: Callable[[Packet], bool], what: str, seconds: float = 0.3) -> None:
        end = time.monotonic() + seconds
        while (frame := self.read(end - time.monotonic())) is not None:
            assert not unwanted(frame), f"{what}: {frame.summary()}"

    def collect(self, wanted: Callable[[Packet], bool], count: int, seconds: float = 3) -> list[Packet]:
        end = time.monotonic() + seconds
        found: list[Packet] = []
        while len(found) < count and (frame := self.read(end - time.monotonic())) is not None:
            if wanted(frame):
                found.append(frame)
        return found
