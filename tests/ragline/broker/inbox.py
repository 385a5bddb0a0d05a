"""What tests of brokers share: messages, a handler that can be waited for, and waiting for what a broker says."""

import asyncio
from collections.abc import Awaitable, Callable

from ragline.broker import Broker, Message, NewMessage

LIMIT_S = 60
QUEUE = "work"

MakeUrl = Callable[..., str]


def letters(*bodies: str, key: str = "") -> list[NewMessage]:
    return [NewMessage(body.encode(), key) for body in bodies]


class Inbox:
    """A handler that notes what it gets and can be waited for."""

    def __init__(self, then: Callable[[Message], Awaitable[None]] | None = None) -> None:
        self.messages: list[Message] = []
        self._then = then
        self._changed = asyncio.Condition()

    @property
    def bodies(self) -> list[str]:
        return [message.body.decode() for message in self.messages]

    async def __call__(self, message: Message) -> None:
        async with self._changed:
            self.messages.append(message)
            self._changed.notify_all()
        if self._then is not None:
            await self._then(message)

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(LIMIT_S), self._changed:
            await self._changed.wait_for(lambda: len(self.messages) >= count)


async def until(true: Callable[[], Awaitable[bool]], limit_s: float = LIMIT_S) -> None:
    """Ask a broker again and again: it tells nobody of what changes."""
    async with asyncio.timeout(limit_s):
        while True:
            if await true():
                return
            await asyncio.sleep(0.005)


async def until_depth(broker: Broker, depth: int) -> None:
    async def is_it() -> bool:
        return await broker.depth(QUEUE) == depth

    await until(is_it)


async def until_empty(broker: Broker) -> None:
    """Wait for the end of messages that are known to be with their handlers."""
    await until_depth(broker, 0)


async def until_dead(broker: Broker, count: int) -> None:
    async def is_it() -> bool:
        return len(await broker.dead_letters(QUEUE, count)) == count

    await until(is_it)
