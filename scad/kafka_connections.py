"""aiokafka's connections, waited for until they are closed.

`AIOKafkaConnection.close` returns a future for the end of the connection, because TLS says goodbye first and that
takes a round trip. aiokafka itself does not wait for it where a broker refuses us, nor for the connection with which
it asks for the cluster's brokers. An event loop that ends right after would leave the socket to the garbage
collector: open until then, and named in a warning that comes from anywhere.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakSet

from aiokafka.conn import AIOKafkaConnection

CLOSE_SECONDS = 5.0
"""A broker that does not answer the goodbye is not waited for longer; a round trip takes milliseconds."""

_closing: WeakSet[asyncio.Future[None]] = WeakSet()
_close = AIOKafkaConnection.close


def _noted(connection: AIOKafkaConnection, *arguments: Any, **named: Any) -> asyncio.Future[None] | None:
    closed: asyncio.Future[None] | None = _close(connection, *arguments, **named)
    if closed is not None:  # else it was never opened
        _closing.add(closed)
    return closed


AIOKafkaConnection.close = _noted


async def connections_closed() -> None:
    """Return when every connection of this event loop that was told to close is closed, or CLOSE_SECONDS later."""
    loop = asyncio.get_running_loop()
    waiting = [closed for closed in list(_closing) if closed.get_loop() is loop and not closed.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=CLOSE_SECONDS)
