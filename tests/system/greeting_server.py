#!/usr/bin/python3
"""A TCP server that speaks first, as those of mail do, and then answers each line: greeting_server.py NAME PORT."""

import asyncio
import sys


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(f"220 {sys.argv[1]}\n".encode())
        while line := await reader.readline():
            writer.write(b"250 " + line)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[2]), backlog=512)
    await server.serve_forever()


asyncio.run(main())
