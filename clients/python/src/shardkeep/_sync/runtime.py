"""What threads do in their own way."""

from __future__ import annotations

import time
from typing import Any

import grpc

Channel = grpc.Channel
sleep = time.sleep


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: list[tuple[str, Any]]
) -> Channel:
    """A channel for any thread."""
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)


def ready(channel: Channel, timeout: float) -> bool:
    """Whether there is a connection within some seconds."""
    try:
        grpc.channel_ready_future(channel).result(timeout)
    except grpc.FutureTimeoutError:
        return False
    return True
