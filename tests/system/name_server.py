"""A DNS server of a few names for a namespace, and the resolv.conf there that names it."""

from __future__ import annotations

import collections
import contextlib
import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from netns import NAMESPACE_FILES, Namespace

A, AAAA = 1, 28
SERVFAIL, NXDOMAIN = 2, 3


class NameServer:
    """Answers at 127.0.0.1 of the namespace. What it says may be changed at any time: `names` are addresses of both
    families by name, and while it `fails` it says nothing but that."""

    def __init__(self, names: dict[str, list[str]]):
        self.names = names
        self.fails = False
        self.asked: collections.Counter[str] = collections.Counter()

    def serve(self, sock: socket.socket, stop: threading.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                question, client = sock.recvfrom(512)
                sock.sendto(self.answer(question), client)

    def answer(self, question: bytes) -> bytes:
        """RFC 1035, 4.1. To a question as the C library writes it: one name, not compressed."""
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
            at += 1 + question[at]
        name = ".".join(labels)
        kind = struct.unpack_from("!H", question, at + 1)[0]
        self.asked[name] += 1
        known = self.names.get(name)
        version = {A: 4, AAAA: 6}.get(kind)
        addresses = [address for address in map(ipaddress.ip_address, known or []) if address.version == version]
        if self.fails:
            addresses = []
        code = SERVFAIL if self.fails else NXDOMAIN if known is None else 0
        records = b"".join(struct.pack("!HHHIH", 0xc00c, kind, 1, 3600, len(address.packed)) + address.packed
                           for address in addresses)
        head = question[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0)
        return head + question[12:at + 5] + records


@contextlib.contextmanager
def serving(namespace: Namespace, names: dict[str, list[str]]) -> Iterator[NameServer]:
    """For processes that are started in the namespace meanwhile: /etc/netns holds what is /etc/resolv.conf for them."""
    server = NameServer(names)
    stop = threading.Event()
    folder = NAMESPACE_FILES / namespace.full_name  # goes with the namespace
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\nsearch wrong.example\noptions timeout:1 attempts:1\n")
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 53))
        sock.settimeout(0.2)
        thread = threading.Thread(target=server.serve, args=(sock, stop), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            thread.join()
