"""Certificates of a test's own authority, and a TLS client whose records the test sends as it likes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from netns import execute

T = TypeVar("T")
KIND_OF_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Authority:
    def __init__(self, folder: Path):
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.certificate = self.folder / "ca.crt"
        execute("openssl", "req", "-x509", *KIND_OF_KEY, "-subj", "/CN=authority of a test",
                "-keyout", str(self.folder / "ca.key"), "-out", str(self.certificate))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for the name."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        execute("openssl", "req", "-x509", *KIND_OF_KEY, "-subj", f"/CN={name}",
                "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=CA:FALSE",
                "-CA", str(self.certificate), "-CAkey", str(self.folder / "ca.key"),
                "-keyout", str(key), "-out", str(certificate))
        return certificate, key

    def context(self, protocols: list[str] | None = None) -> ssl.SSLContext:
        """Of a client that trusts this authority alone."""
        made = ssl.create_default_context(cafile=str(self.certificate))
        if protocols:
            made.set_alpn_protocols(protocols)
        return made


class Client:
    """TLS over a socket that is connected; the first message is the test's to send."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def hello(self) -> bytes:
        """The records of the ClientHello."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return self.outgoing.read()
        raise AssertionError("a handshake that needs no server")

    def finish(self) -> None:
        self.run(self.tls.do_handshake)

    def ask(self, request: bytes) -> bytes:
        """All that the server says until it closes."""
        self.run(lambda: self.tls.write(request))
        answer = b""
        while piece := self.run(lambda: self.tls.read(65536)):
            answer += piece
        return answer

    def run(self, step: Callable[[], T]) -> T | bytes:
        """`step` until it needs nothing more of the server; nothing, if the server ends the connection."""
        while True:
            try:
                result = step()
                self.sock.sendall(self.outgoing.read())
                return result
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            piece = self.sock.recv(65536)
            if piece:
                self.incoming.write(piece)
            else:
                self.incoming.write_eof()
