"""The other end of a memif link (version 2.0), written from the description of the protocol: one ring
for each direction in one region of memory, frames with scapy."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from frames import Ether, Packet
from netns import wait_until

F_ADD_SEALS, F_SEAL_SHRINK = 1033, 2
COOKIE = 0x3E31F20
ACK, HELLO, INIT, ADD_REGION, ADD_RING, CONNECT, CONNECTED, DISCONNECT = range(1, 9)
MESSAGE = 128  # bytes
HEADER, DESCRIPTOR = 128, 16  # bytes
SLOTS_LOG2 = 8
SLOTS = 1 << SLOTS_LOG2
BUFFER = 2048
RING = HEADER + SLOTS * DESCRIPTOR
REGION = 2 * RING + 2 * SLOTS * BUFFER
TO_ROUTER, FROM_ROUTER = 0, 1
HEAD, TAIL = 6, 64  # offsets in a ring


class Refused(Exception):
    """What the router said when it hung up."""


class Memif:
    """Connects at once. Leaving the context is the pod's death: nothing is said to the router."""

    def __init__(self, path: Path, seal: bool = True, interface: int = 0, secret: str = ""):
        self.descriptor = os.memfd_create("pod", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, REGION)
        if seal:
            fcntl.fcntl(self.descriptor, F_ADD_SEALS, F_SEAL_SHRINK)
        self.memory = mmap.mmap(self.descriptor, REGION)
        for ring in (TO_ROUTER, FROM_ROUTER):
            struct.pack_into("=I", self.memory, ring * RING, COOKIE)
            for slot in range(SLOTS):
                struct.pack_into("=HHIII", self.memory, self._slot(ring, slot), 0, 0, BUFFER,
                                 2 * RING + (ring * SLOTS + slot) * BUFFER, 0)
        self.seen = 0  # slots of FROM_ROUTER
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        try:
            self._hand_over(path, interface, secret.encode())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Memif":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()
        self.memory.close()
        os.close(self.descriptor)

    @staticmethod
    def _slot(ring: int, slot: int) -> int:
        return ring * RING + HEADER + slot % SLOTS * DESCRIPTOR

    def _get(self, ring: int, field: int) -> int:
        return struct.unpack_from("=H", self.memory, ring * RING + field)[0]

    def _set(self, ring: int, field: int, value: int) -> None:
        struct.pack_into("=H", self.memory, ring * RING + field, value & 0xffff)

    def _answer(self) -> int:
        message = self.socket.recv(MESSAGE)
        if not message:
            raise Refused("without a word")
        kind = struct.unpack_from("=H", message)[0]
        if kind == DISCONNECT:
            raise Refused(message[6:].split(b"\0")[0].decode())
        return kind

    def _say(self, kind: int, body: bytes = b"", descriptor: int | None = None) -> int:
        message = (struct.pack("=H", kind) + body).ljust(MESSAGE, b"\0")
        rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        self.socket.sendmsg([message], rights)
        return self._answer()

    def _hand_over(self, path: Path, interface: int, secret: bytes) -> None:
        self.socket.connect(str(path))
        assert self._answer() == HELLO
        assert self._say(INIT, struct.pack("=HIB24s", 0x0200, interface, 0, secret)) == ACK
        assert self._say(ADD_REGION, struct.pack("=HQ", 0, REGION), self.descriptor) == ACK
        for ring in (TO_ROUTER, FROM_ROUTER):
            body = struct.pack("=HHHIBH", int(ring == TO_ROUTER), 0, 0, ring * RING, SLOTS_LOG2, 0)
            assert self._say(ADD_RING, body, self.descriptor) == ACK
        assert self._say(CONNECT, b"pod") == CONNECTED
        self._set(FROM_ROUTER, HEAD, SLOTS)

    def send(self, packet: Packet) -> None:
        frame = bytes(packet)
        head = self._get(TO_ROUTER, HEAD)
        wait_until(lambda: (head - self._get(TO_ROUTER, TAIL)) & 0xffff < SLOTS, 5, "the router to take frames")
        at = self._slot(TO_ROUTER, head)
        offset = struct.unpack_from("=I", self.memory, at + 8)[0]
        self.memory[offset:offset + len(frame)] = frame
        struct.pack_into("=HHI", self.memory, at, 0, 0, len(frame))
        self._set(TO_ROUTER, HEAD, head + 1)

    def receive(self) -> Packet | None:
        """The next frame, if one has come."""
        if self._get(FROM_ROUTER, TAIL) == self.seen:
            return None
        at = self._slot(FROM_ROUTER, self.seen)
        flags, _, length, offset = struct.unpack_from("=HHII", self.memory, at)
        assert flags == 0, "frames of this test fit a buffer"
        frame = bytes(self.memory[offset:offset + length])
        struct.pack_into("=I", self.memory, at + 4, BUFFER)
        self.seen = (self.seen + 1) & 0xffff
        self._set(FROM_ROUTER, HEAD, self.seen + SLOTS)
        return Ether(frame)

    def ask(self, packet: Packet, fits: Callable[[Packet], bool] | None = None, seconds: float = 5) -> Packet:
        """Sends it, and the frame that answers it."""
        self.send(packet)

        def answer() -> Packet | None:
            while (got := self.receive()) is not None:
                if fits(got) if fits else got.answers(packet):
                    return got
            return None
        return wait_until(answer, seconds, f"an answer to {packet.summary()}")
