"""A namespace: keys and values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import xxhash

from .. import methods
from ..errors import NotFound
from ..records import Reader
from ..types import (
    Condition,
    DeleteResult,
    Entry,
    Expires,
    PutResult,
    Record,
    condition_message,
    entry_of,
    expiry_message,
)
from ..v1 import key_value_pb2 as pb
from ..values import Codecs, key_bytes
from .connection import Connection
from .range import Range

Key = bytes | str


class Namespace:
    """Keys and values. Making one asks nothing of the server.

    Keys are 1 to 65,000 bytes; text stands for its UTF-8. ``timeout`` is in seconds, for all tries
    together. Every call raises ``NotFound`` (``NAMESPACE_NOT_FOUND``) when the namespace is not
    there.
    """

    def __init__(self, connection: Connection, name: str, codecs: Codecs) -> None:
        self._connection = connection
        self._codecs = codecs
        self._reader = Reader(name, codecs)
        #: The namespace's name; empty for the default one.
        self.name = name

    def __repr__(self) -> str:
        return f"<Namespace {self.name or 'default'!r} at {self._connection.target}>"

    async def get(self, key: Key, default: Any = None, *, timeout: float | None = None) -> Any:
        """The value, or ``default`` when the key is not there."""
        try:
            return (await self.read(key, timeout=timeout)).value
        except NotFound as error:
            if error.reason != "KEY_NOT_FOUND":
                raise
            return default

    async def read(self, key: Key, *, timeout: float | None = None) -> Record:
        """The value with what is known of it; ``NotFound`` when the key is not there."""
        request = pb.GetRequest(namespace=self.name, key=key_bytes(key))
        response = await self._read(methods.GET, request, timeout)
        return self._reader.record(response.entry, response.value)

    async def read_range(
        self, key: Key, offset: int, length: int | None = None, *, timeout: float | None = None
    ) -> bytes:
        """Bytes of the value, as they are stored; up to its end without a ``length``."""
        if length == 0:
            return b""
        part = pb.ByteRange(offset=offset, length=length or 0)
        request = pb.GetRequest(namespace=self.name, key=key_bytes(key), range=part)
        return (await self._read(methods.GET, request, timeout)).value

    async def head(self, key: Key, *, timeout: float | None = None) -> Entry:
        """What is known of a value, without it; ``NotFound`` when the key is not there."""
        request = pb.HeadRequest(namespace=self.name, key=key_bytes(key))
        return entry_of((await self._read(methods.HEAD, request, timeout)).entry)

    async def contains(self, key: Key, *, timeout: float | None = None) -> bool:
        """Whether the key is there."""
        return (await self.head_many([key], timeout=timeout))[0] is not None

    async def get_many(
        self, keys: Iterable[Key], default: Any = None, *, timeout: float | None = None
    ) -> list[Any]:
        """The values of up to 10,000 keys as of one moment, in the order of the keys."""
        records = await self.read_many(keys, timeout=timeout)
        return [default if record is None else record.value for record in records]

    async def read_many(
        self, keys: Iterable[Key], *, timeout: float | None = None
    ) -> list[Record | None]:
        """As ``get_many``, with what is known of each value; None for a key that is not there."""
        results = await self._batch_get(keys, entries_only=False, timeout=timeout)
        return [
            self._reader.record(result.entry, result.value) if result.HasField("entry") else None
            for result in results
        ]

    async def head_many(
        self, keys: Iterable[Key], *, timeout: float | None = None
    ) -> list[Entry | None]:
        """As ``read_many``, without the values."""
        results = await self._batch_get(keys, entries_only=True, timeout=timeout)
        return [entry_of(result.entry) if result.HasField("entry") else None for result in results]

    async def put(
        self,
        key: Key,
        value: Any,
        *,
        when: Condition | None = None,
        expires: Expires = None,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> PutResult:
        """Stores a value.

        ``when``: only if this is so. ``expires``: how long the key stays; without it, for ever.
        ``metadata``: texts under names of your own, 4 KiB together. Without a condition it may be
        sent twice when the connection breaks.
        """
        key = key_bytes(key)
        data, value_type = self._codecs.of(key).encode(value)
        request = pb.PutRequest(
            namespace=self.name,
            key=key,
            value=data,
            condition=condition_message(when),
            expiry=expiry_message(expires),
            sum64=xxhash.xxh64_intdigest(data),
            value_type=pb.ValueType.Name(value_type),
            metadata=metadata,
        )
        response = await self._connection.call(
            methods.PUT, request, timeout=timeout, idempotent=when is None
        )
        return PutResult(
            key=response.key,
            version=response.version,
            digest=response.digest,
            created=response.created,
            deduplicated=response.deduplicated,
            previous_version=response.previous_version,
        )

    async def add(
        self,
        value: Any,
        *,
        expires: Expires = None,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Stores a value under its digest, where keys are digests, and gives the key."""
        result = await self.put(b"", value, expires=expires, metadata=metadata, timeout=timeout)
        return result.key

    async def delete(
        self, key: Key, *, when: Condition | None = None, timeout: float | None = None
    ) -> DeleteResult:
        """Removes a key. A key that is not there is no error, unless the condition asks for it."""
        request = pb.DeleteRequest(
            namespace=self.name, key=key_bytes(key), condition=condition_message(when)
        )
        response = await self._connection.call(
            methods.DELETE, request, timeout=timeout, idempotent=when is None
        )
        return DeleteResult(response.deleted, response.version, response.previous_version)

    async def touch(
        self,
        key: Key,
        expires: Expires = None,
        *,
        when: Condition | None = None,
        timeout: float | None = None,
    ) -> Entry:
        """Sets when a key goes, or that it stays for ever, and leaves its value as it is."""
        request = pb.TouchRequest(
            namespace=self.name,
            key=key_bytes(key),
            expiry=expiry_message(expires),
            condition=condition_message(when),
        )
        response = await self._connection.call(
            methods.TOUCH, request, timeout=timeout, idempotent=when is None
        )
        return entry_of(response.entry)

    async def increment(
        self,
        key: Key,
        delta: int = 1,
        *,
        initial: int = 0,
        when: Condition | None = None,
        timeout: float | None = None,
    ) -> int:
        """Adds to a counter and gives what it is then. It is never sent twice.

        ``initial``: where a counter that is not there begins, before the addition.
        """
        request = pb.IncrementRequest(
            namespace=self.name,
            key=key_bytes(key),
            delta=delta,
            initial_value=initial,
            condition=condition_message(when),
        )
        response = await self._connection.call(
            methods.INCREMENT, request, timeout=timeout, idempotent=False
        )
        return response.value

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
        selection = pb.KeySelection(
            start_key=key_bytes(start), end_key=key_bytes(stop), prefix=key_bytes(prefix)
        )
        return Range(self._connection, self._reader, selection, reverse=reverse, limit=limit)

    def prefix(self, prefix: Key, *, reverse: bool = False, limit: int | None = None) -> Range:
        """The keys that begin like this."""
        return self.range(prefix=prefix, reverse=reverse, limit=limit)

    async def _read(
        self,
        method: methods.Method[methods.Request, methods.Response],
        request: methods.Request,
        timeout: float | None,
    ) -> methods.Response:
        return await self._connection.call(method, request, timeout=timeout, idempotent=True)

    async def _batch_get(
        self, keys: Iterable[Key], *, entries_only: bool, timeout: float | None
    ) -> Iterable[pb.BatchGetResult]:
        request = pb.BatchGetRequest(
            namespace=self.name, keys=map(key_bytes, keys), entries_only=entries_only
        )
        return (await self._read(methods.BATCH_GET, request, timeout)).results
