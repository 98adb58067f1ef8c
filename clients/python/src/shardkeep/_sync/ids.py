# Made by tools/generate.py from shardkeep/_async: change it there.
"""Numbers that nobody gets twice."""

from __future__ import annotations

from .. import methods
from ..v1 import key_value_pb2 as pb
from .connection import Connection
from .runtime import Lock


class Ids:
    """Numbers from 1 on, of which each is given once, to whomever asks under the same key.

    They are taken from the server in blocks. What is left of a block when a program ends is never
    given, so there are gaps, and numbers grow for each taker but not over all of them.
    """

    def __init__(self, connection: Connection, namespace: str, key: bytes, block: int) -> None:
        if block < 1:
            raise ValueError(f"a block of {block} ids: at least 1")
        self._connection = connection
        self._request = pb.IncrementRequest(namespace=namespace, key=key, delta=block)
        self._lock = Lock()
        self._next = 1
        self._last = 0

    def next(self, *, timeout: float | None = None) -> int:
        """Another number."""
        with self._lock:
            if self._next > self._last:
                # Sent again when the connection breaks: a block that is taken twice is a gap.
                response = self._connection.call(
                    methods.INCREMENT, self._request, timeout=timeout, idempotent=True
                )
                self._last = response.value
                self._next = response.value - self._request.delta + 1
            number = self._next
            self._next += 1
            return number
