"""What asyncio does in its own way."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

Channel = grpc.aio.Channel
sleep = asyncio.sleep


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
