"""What threads do in their own way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

Result = TypeVar("Result")

Channel = grpc.Channel
#: Where a channel lives: anywhere.
Home = Any
#: What a call raises that was ended from here.
Cancelled = grpc.FutureCancelledError
Lock = threading.Lock
sleep = time.sleep
# A connection that ends before anybody saw it is made again only for who asks anew: seconds.
_LOOK = 0.25


def home() -> Home:
    """Nowhere in particular."""
    return None


def in_thread(work: Callable[..., Result], *arguments: Any) -> Result:
    """Runs what waits for the disk, or computes for long."""
    return work(*arguments)


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: list[tuple[str, Any]]
) -> Channel:
    """A channel for any thread."""
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)


def ready(channel: Channel, timeout: float) -> bool:
    """Whether there is a connection within some seconds."""
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        connected = grpc.channel_ready_future(channel)
        try:
            connected.result(min(left, _LOOK))
            return True
        except grpc.FutureTimeoutError:
            pass
        finally:
            connected.cancel()
    return False


def is_cancelled() -> bool:
    """Threads are not cancelled."""
    return False
