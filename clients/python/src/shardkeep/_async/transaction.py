"""Batches and transactions: many changes as one."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import xxhash

from .. import methods
from ..errors import Conflict, NotFound
from ..records import Reader
from ..types import (
    CommitResult,
    Condition,
    Expires,
    Record,
    commit_result,
    condition_message,
    expiry_message,
    if_absent,
    if_version,
)
from ..v1 import key_value_pb2 as pb
from ..v1 import snapshot_pb2, transaction_pb2
from ..values import key_bytes
from .connection import Connection

Key = bytes | str

#: Buffered changes by key: a put, or None for a delete.
Changes = dict[bytes, transaction_pb2.Operation]


class Batch:
    """Puts and deletes of any keys of a namespace that happen together, or none of them.

    Nothing is sent before the end of ``async with``, or ``commit``; an exception in the block drops
    all. The last change of a key counts.
    """

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self._connection = connection
        self._reader = reader
        self._changes: Changes = {}
        self._conditions: dict[bytes, Condition] = {}
        self._is_over = False
        #: What the commit did; None before it.
        self.result: CommitResult | None = None

    async def __aenter__(self) -> Batch:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and not self._is_over:
            await self.commit()

    def require(self, key: Key, when: Condition) -> None:
        """The whole happens only if this is so; else ``commit`` raises ``Conflict``."""
        self._conditions[key_bytes(key)] = when

    def put(
        self,
        key: Key,
        value: Any,
        *,
        expires: Expires = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Stores a value with the others."""
        key = key_bytes(key)
        data, value_type = self._reader.codecs.of(key).encode(value)
        put = transaction_pb2.PutOperation(
            value=data,
            expiry=expiry_message(expires),
            sum64=xxhash.xxh64_intdigest(data),
            value_type=pb.ValueType.Name(value_type),
            metadata=metadata,
        )
        self._changes[key] = transaction_pb2.Operation(key=key, put=put)

    def delete(self, key: Key) -> None:
        """Removes a key with the others. One that is not there is no error."""
        key = key_bytes(key)
        gone = transaction_pb2.DeleteOperation()
        self._changes[key] = transaction_pb2.Operation(key=key, delete=gone)

    async def commit(self, *, timeout: float | None = None) -> CommitResult:
        """Does it. ``Conflict`` (``CONDITION_FAILED``) when a condition does not hold.

        It is sent twice only where that may be: without conditions, when the connection breaks.
        """
        self._is_over = True
        conditions = [
            transaction_pb2.KeyCondition(key=key, condition=condition_message(when))
            for key, when in self._conditions.items()
        ]
        request = transaction_pb2.CommitRequest(
            namespace=self._reader.namespace,
            conditions=conditions,
            operations=self._changes.values(),
        )
        response = await self._connection.call(
            methods.COMMIT, request, timeout=timeout, idempotent=not conditions
        )
        if not response.succeeded:
            raise Conflict(
                "a key is not as the commit asks for, so nothing was changed: read again, then retry",
                reason="CONDITION_FAILED",
            )
        self.result = commit_result(response)
        return self.result

    def rollback(self) -> None:
        """Drops all changes; there is nothing to commit any more."""
        self._changes.clear()
        self._conditions.clear()
        self._is_over = True


class Transaction(Batch):
    """Reads that belong together, and changes that rest on them.

    Reads are of one moment, that of the first one, with this transaction's own changes on top.
    Changes are kept here until the commit, which happens only if every key that was read is as it
    was read; else it raises ``Conflict``, and the whole is to be done again (``Namespace.transact``
    does that). Nobody is ever kept waiting by a transaction.
    """

    def __init__(self, connection: Connection, reader: Reader) -> None:
        super().__init__(connection, reader)
        self._snapshot = ""

    async def __aenter__(self) -> Transaction:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(kind, error, traceback)
        finally:
            await self._let_go()

    async def get(self, key: Key, default: Any = None, *, timeout: float | None = None) -> Any:
        """The value, or ``default``. The commit asks for it to be the same still.

        So a get is what other stores call a get for update; ``peek`` reads without that.
        """
        return await self._get(key, default, checked=True, timeout=timeout)

    async def peek(self, key: Key, default: Any = None, *, timeout: float | None = None) -> Any:
        """As ``get``, of a key that may change before the commit."""
        return await self._get(key, default, checked=False, timeout=timeout)

    def savepoint(self) -> Changes:
        """The changes so far, for ``rollback_to``."""
        return dict(self._changes)

    def rollback_to(self, savepoint: Changes) -> None:
        """Drops the changes since then. What was read since is asked for all the same."""
        self._changes = dict(savepoint)

    async def _get(self, key: Key, default: Any, *, checked: bool, timeout: float | None) -> Any:
        key = key_bytes(key)
        change = self._changes.get(key)
        if change is not None:
            if not change.HasField("put"):
                return default
            return self._reader.written(key, change.put)
        record = await self._read(key, timeout)
        if checked:
            # A condition of the caller's own stays.
            seen = if_version(record.version) if record else if_absent()
            self._conditions.setdefault(key, seen)
        return record.value if record else default

    async def _read(self, key: bytes, timeout: float | None) -> Record | None:
        if not self._snapshot:
            taken = await self._connection.call(
                methods.CREATE_SNAPSHOT,
                snapshot_pb2.CreateSnapshotRequest(),
                timeout=timeout,
                idempotent=True,
            )
            self._snapshot = taken.id
        request = pb.GetRequest(
            namespace=self._reader.namespace, key=key, snapshot=self._snapshot
        )
        try:
            response = await self._connection.call(
                methods.GET, request, timeout=timeout, idempotent=True
            )
        except NotFound as error:
            if error.reason != "KEY_NOT_FOUND":
                raise
            return None
        return self._reader.record(response.entry, response.value)

    async def _let_go(self) -> None:
        snapshot, self._snapshot = self._snapshot, ""
        if snapshot:
            request = snapshot_pb2.DeleteSnapshotRequest(id=snapshot)
            try:
                await self._connection.call(
                    methods.DELETE_SNAPSHOT, request, timeout=None, idempotent=True
                )
            except NotFound:
                pass  # Its lease has ended.
