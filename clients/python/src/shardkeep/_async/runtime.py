"""What asyncio does in its own way."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

Channel = grpc.aio.Channel
#: Where a channel lives: it works in the event loop that it was made in, and in no other.
Home = Any
#: What a call raises that was ended from here.
Cancelled = asyncio.CancelledError
Lock = asyncio.Lock
#: Runs what waits for the disk, or computes for long.
in_thread = asyncio.to_thread
sleep = asyncio.sleep
home = asyncio.get_running_loop


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: list[tuple[str, Any]]
) -> Channel:
    """A channel of the running event loop."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, credentials, options)


async def ready(channel: Channel, timeout: float) -> bool:
    """Whether there is a connection within some seconds."""
    try:
        await asyncio.wait_for(channel.channel_ready(), timeout)
    except (asyncio.TimeoutError, TimeoutError):
        return False
    return True


def is_cancelled() -> bool:
    """Whether it is the running task that was cancelled, as far as it can be told (Python 3.11)."""
    cancelling: Any = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is not None and cancelling() > 0
