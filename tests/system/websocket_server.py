#!/usr/bin/python3
"""A WebSocket server (RFC 6455) that sends back every message: websocket_server.py ADDRESS PORT."""

import asyncio
import base64
import hashlib
import struct
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLOSE = 8


def accept_key(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def frame(opcode: int, payload: bytes, mask: bytes = b"") -> bytes:
    """One whole message; clients give a mask of four bytes, servers none."""
    flag = 0x80 if mask else 0
    if len(payload) < 126:
        head = struct.pack("!BB", 0x80 | opcode, flag | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, flag | 126, len(payload))
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, flag | 127, len(payload))
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    if not mask:
        return payload
    key = mask * (len(payload) // 4 + 1)
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key[:len(payload)], "big")).to_bytes(len(payload), "big")


async def read_frame(read) -> tuple[int, bytes]:
    """Opcode and payload; `read` is a coroutine that gives exactly so many bytes."""
    first, second = await read(2)
    length = second & 0x7f
    if length > 125:
        length = int.from_bytes(await read(2 if length == 126 else 8), "big")
    mask = await read(4) if second & 0x80 else b""
    return first & 0x0f, masked(await read(length), mask)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        request = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in request.split(b"\r\n")[1:-2])
        key = next(line.split(b": ", 1)[1] for line in request.split(b"\r\n")
                   if line.lower().startswith(b"sec-websocket-key"))
        assert fields[b"upgrade"] == b"websocket" and b"upgrade" in fields[b"connection"]
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept_key(key) + b"\r\n\r\n")
        writer.write(frame(1, b"welcome"))
        opcode = 0
        while opcode != CLOSE:
            opcode, payload = await read_frame(reader.readexactly)
            writer.write(frame(opcode, payload))
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]), backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
