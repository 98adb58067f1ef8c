# Made by tools/generate.py from shardkeep/_async: change it there.
"""Keys in byte order."""

from __future__ import annotations

from collections.abc import Iterator, Callable
from typing import Any, TypeVar

from ..methods import SCAN, STREAM_SCAN
from ..records import Reader
from ..types import Entry, Page, Record, entry_of
from ..v1 import key_value_pb2 as pb
from .connection import Connection

Part = TypeVar("Part")


class Range:
    """The keys of a range: walk it with ``for``, as often as you like.

    Each walk is one stream, all of it as of the moment when it begins. A walk that stands still for
    longer than the server's keep-alive timeout is cut (``Conflict``, ``SCAN_TOO_SLOW``): who needs
    long for each record takes pages, of which each is as of a moment of its own.
    """

    def __init__(
        self,
        connection: Connection,
        reader: Reader,
        selection: pb.KeySelection,
        *,
        reverse: bool,
        limit: int | None,
        snapshot: str = "",
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._selection = selection
        self._reverse = reverse
        self._limit = limit
        self._snapshot = snapshot

    def __iter__(self) -> Iterator[tuple[bytes, Any]]:
        return self.items()

    def items(self) -> Iterator[tuple[bytes, Any]]:
        """Keys with their values."""
        return self._walk(self._item)

    def values(self) -> Iterator[Any]:
        """Values alone."""
        return self._walk(self._value)

    def records(self) -> Iterator[Record]:
        """Values with all that is known of their keys."""
        return self._walk(self._record)

    def keys(self) -> Iterator[bytes]:
        """Keys alone: values are neither read nor sent."""
        return self._walk(_key, keys_only=True)

    def entries(self) -> Iterator[Entry]:
        """What is known of each key: values are neither read nor sent."""
        return self._walk(_entry, keys_only=True)

    def first(self) -> Record | None:
        """The first record, in the direction of the range; None when it is empty."""
        page = self.page(1)
        return page.records[0] if page.records else None

    def count(self) -> int:
        """How many keys there are. They are all walked."""
        count = 0
        for _ in self._walk(_key, keys_only=True):
            count += 1
        return count

    def page(self, size: int = 100, token: str = "", *, timeout: float | None = None) -> Page:
        """At most so many records, fewer when they are large.

        ``size``: 1 to 10,000. ``token``: the ``next_token`` of the page before, of the same range.
        """
        request = pb.ScanRequest(
            namespace=self._reader.namespace,
            selection=self._selection,
            reverse=self._reverse,
            page_size=size,
            page_token=token,
            snapshot=self._snapshot,
        )
        response = self._connection.call(SCAN, request, timeout=timeout, idempotent=True)
        records = [self._reader.record(result.entry, result.value) for result in response.results]
        return Page(records, response.next_page_token)

    def pages(self, size: int = 100) -> Iterator[Page]:
        """One page after the other, up to the range's limit."""
        left, token = self._limit, ""
        while left is None or left > 0:
            page = self.page(size if left is None else min(size, left), token)
            if page.records:
                yield page
            token = page.next_token
            if not token:
                return
            left = None if left is None else left - len(page.records)

    def _walk(
        self, part: Callable[[pb.ScanResult], Part], *, keys_only: bool = False
    ) -> Iterator[Part]:
        """A part of each result."""
        if self._limit == 0:
            return
        request = pb.StreamScanRequest(
            namespace=self._reader.namespace,
            selection=self._selection,
            reverse=self._reverse,
            keys_only=keys_only,
            limit=self._limit or 0,
            snapshot=self._snapshot,
        )
        with self._connection.stream(STREAM_SCAN, request) as responses:
            for response in responses:
                for result in response.results:
                    yield part(result)

    def _record(self, result: pb.ScanResult) -> Record:
        return self._reader.record(result.entry, result.value)

    def _item(self, result: pb.ScanResult) -> tuple[bytes, Any]:
        return result.entry.key, self._value(result)

    def _value(self, result: pb.ScanResult) -> Any:
        return self._reader.value(result.entry, result.value)


def _key(result: pb.ScanResult) -> bytes:
    return result.entry.key


def _entry(result: pb.ScanResult) -> Entry:
    return entry_of(result.entry)
