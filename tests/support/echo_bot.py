"""The README's bot, word for word: answers every message with its own text."""

import asyncio

from whatsapp.client import Client


async def main() -> None:
    async with Client("http://127.0.0.1:8080", outbox="echo.json") as me:
        await me.login("echo", "correct horse battery", register=True)
        async for message in me.messages():
            if message.sender != me.user:
                await me.send(message.chat, message.text)


if __name__ == "__main__":
    asyncio.run(main())
