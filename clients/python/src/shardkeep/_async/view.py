"""Keys and values to read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from os import PathLike
from typing import Any, BinaryIO

from .. import methods
from ..errors import NotFound
from ..files import OnBytes, target_of
from ..records import Reader
from ..types import Entry, Record, entry_of, selection_message
from ..v1 import blob_pb2
from ..v1 import key_value_pb2 as pb
from ..values import Codecs, key_bytes
from .connection import Connection
from .download import Download
from .range import Range
from .runtime import in_thread

Key = bytes | str


class View:
    """The keys and values of a namespace, as they are now or as a snapshot shows them.

    Keys are 1 to 65,000 bytes; text stands for its UTF-8. ``timeout`` is in seconds, for all tries
    together. Every call raises ``NotFound``: ``NAMESPACE_NOT_FOUND`` when the namespace is not
    there, ``SNAPSHOT_NOT_FOUND`` when the snapshot is not any more.
    """

    def __init__(
        self, connection: Connection, name: str, codecs: Codecs, snapshot: str = ""
    ) -> None:
        self._connection = connection
        self._codecs = codecs
        self._reader = Reader(name, codecs)
        self._snapshot = snapshot
        #: The namespace's name; empty for the default one.
        self.name = name

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"<{kind} {self.name or 'default'!r} at {self._connection.target}>"

    async def get(self, key: Key, default: Any = None, *, timeout: float | None = None) -> Any:
        """The value, or ``default`` when the key is not there."""
        try:
            response = await self._get(key, timeout)
            return self._reader.value(response.entry, response.value)
        except NotFound as error:
            if error.reason != "KEY_NOT_FOUND":
                raise
            return default

    async def read(self, key: Key, *, timeout: float | None = None) -> Record:
        """The value with what is known of it; ``NotFound`` when the key is not there."""
        response = await self._get(key, timeout)
        return self._reader.record(response.entry, response.value)

    async def read_range(
        self, key: Key, offset: int, length: int | None = None, *, timeout: float | None = None
    ) -> bytes:
        """Bytes of the value, as they are stored; up to its end without a ``length``."""
        if length == 0:
            return b""
        part = pb.ByteRange(offset=offset, length=length or 0)
        request = pb.GetRequest(
            namespace=self.name, key=key_bytes(key), range=part, snapshot=self._snapshot
        )
        return (await self._read(methods.GET, request, timeout)).value

    async def pieces(
        self, key: Key, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes of a value of any size, as they are stored, in parts of up to 1 MiB.

        From ``offset`` on, ``length`` of them or up to the end. It goes on by itself after a break;
        ``Conflict`` (``VALUE_CHANGED``) when there is another value by then.
        """
        download = Download(
            self._connection,
            blob_pb2.DownloadRequest(
                namespace=self.name,
                key=key_bytes(key),
                snapshot=self._snapshot,
                range=pb.ByteRange(offset=offset, length=length or 0),
            ),
        )
        if length == 0:
            return
        with download as parts:
            async for part in parts:
                yield part

    async def download(
        self,
        key: Key,
        file: str | PathLike[str] | BinaryIO,
        *,
        progress: OnBytes | None = None,
    ) -> Entry:
        """Writes a value of any size into a file, by its path or open for writing in bytes.

        Under its path the file is there when it is whole, and not before. ``progress`` hears how
        many bytes are done, and how many there are in all. ``DataLoss`` when what came is not what
        the checksum says.
        """
        request = blob_pb2.DownloadRequest(
            namespace=self.name,
            key=key_bytes(key),
            snapshot=self._snapshot,
        )
        with target_of(file) as target, Download(self._connection, request) as parts:
            async for part in parts:
                await in_thread(target.write, part)
                if progress is not None:
                    progress(parts.done, parts.entry.size)
            return parts.whole()

    async def head(self, key: Key, *, timeout: float | None = None) -> Entry:
        """What is known of a value, without it; ``NotFound`` when the key is not there."""
        request = pb.HeadRequest(
            namespace=self.name, key=key_bytes(key), snapshot=self._snapshot
        )
        return entry_of((await self._read(methods.HEAD, request, timeout)).entry)

    async def contains(self, key: Key, *, timeout: float | None = None) -> bool:
        """Whether the key is there."""
        return (await self.head_many([key], timeout=timeout))[0] is not None

    async def get_many(
        self, keys: Iterable[Key], default: Any = None, *, timeout: float | None = None
    ) -> list[Any]:
        """The values of up to 10,000 keys as of one moment, in the order of the keys."""
        results = await self._batch_get(keys, entries_only=False, timeout=timeout)
        return [
            self._reader.value(result.entry, result.value) if result.HasField("entry") else default
            for result in results
        ]

    async def read_many(
        self, keys: Iterable[Key], *, timeout: float | None = None
    ) -> list[Record | None]:
        """As ``get_many``, with what is known of each value; None for a key that is not there."""
        results = await self._batch_get(keys, entries_only=False, timeout=timeout)
        return [
            self._reader.record(result.entry, result.value) if result.HasField("entry") else None
            for result in results
        ]

    async def read_range_many(
        self,
        keys: Iterable[Key],
        offset: int,
        length: int | None = None,
        *,
        timeout: float | None = None,
    ) -> list[bytes | None]:
        """As ``read_range``, of up to 10,000 keys as of one moment; None for a key that is not there.

        A value that ends before ``offset`` gives no bytes, which is no error here.
        """
        part = pb.ByteRange(offset=offset, length=length or 0)
        results = await self._batch_get(
            keys, entries_only=length == 0, part=part, timeout=timeout
        )
        return [result.value if result.HasField("entry") else None for result in results]

    async def head_many(
        self, keys: Iterable[Key], *, timeout: float | None = None
    ) -> list[Entry | None]:
        """As ``read_many``, without the values."""
        results = await self._batch_get(keys, entries_only=True, timeout=timeout)
        return [entry_of(result.entry) if result.HasField("entry") else None for result in results]

    def range(
        self,
        start: Key = b"",
        stop: Key = b"",
        *,
        prefix: Key = b"",
        reverse: bool = False,
        limit: int | None = None,
    ) -> Range:
        """The keys from ``start`` on and before ``stop``, with the prefix; in byte order.

        ``reverse``: from the largest down. ``limit``: at most so many.
        """
        return Range(
            self._connection,
            self._reader,
            selection_message(start, stop, prefix),
            reverse=reverse,
            limit=limit,
            snapshot=self._snapshot,
        )

    def prefix(self, prefix: Key, *, reverse: bool = False, limit: int | None = None) -> Range:
        """The keys that begin like this."""
        return self.range(prefix=prefix, reverse=reverse, limit=limit)

    async def _get(self, key: Key, timeout: float | None) -> pb.GetResponse:
        request = pb.GetRequest(
            namespace=self.name, key=key_bytes(key), snapshot=self._snapshot
        )
        return await self._read(methods.GET, request, timeout)

    async def _read(
        self,
        method: methods.Method[methods.Request, methods.Response],
        request: methods.Request,
        timeout: float | None,
    ) -> methods.Response:
        return await self._connection.call(method, request, timeout=timeout, idempotent=True)

    async def _batch_get(
        self,
        keys: Iterable[Key],
        *,
        entries_only: bool,
        part: pb.ByteRange | None = None,
        timeout: float | None,
    ) -> Iterable[pb.BatchGetResult]:
        request = pb.BatchGetRequest(
            namespace=self.name,
            keys=map(key_bytes, keys),
            entries_only=entries_only,
            snapshot=self._snapshot,
            range=part,
        )
        return (await self._read(methods.BATCH_GET, request, timeout)).results
