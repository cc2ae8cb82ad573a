"""Talks to a WebSocket address: text, many bytes, and a close. Says what came of it."""

import asyncio
import sys

import websockets


async def main():
    async with websockets.connect(sys.argv[1], max_size=None) as socket:
        await socket.send("hello")
        print("text", await socket.recv())
        large = bytes(range(256)) * 8192
        await socket.send(large)
        print("bytes", await socket.recv() == large)
        print("ping", await asyncio.wait_for(await socket.ping(), 5) > 0)
    print("closed", socket.close_code)


asyncio.run(main())
