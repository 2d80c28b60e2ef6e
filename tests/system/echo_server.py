#!/usr/bin/python3
"""A TCP server that answers each line with its own name and that line: echo_server.py NAME PORT [GREETING]. With a
greeting it is the one that speaks first, as those of mail are."""

import asyncio
import sys


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        for greeting in sys.argv[3:]:
            writer.write(f"{greeting}\n".encode())
        while line := await reader.readline():
            writer.write(f"{sys.argv[1]} ".encode() + line)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[2]), backlog=512)
    await server.serve_forever()


asyncio.run(main())
