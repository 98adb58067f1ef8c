"""Batches and transactions: many changes as one."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import chain
from types import TracebackType
from typing import Any

import xxhash

from .. import methods
from ..errors import Conflict, NotFound
from ..records import Reader, counted
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
from ..v1 import transaction_pb2
from ..values import key_bytes
from .connection import Connection
from .runtime import Lock
from .snapshot import Snapshot
from .view import Key, View

#: What a ``savepoint`` remembers.
Savepoint = Mapping[bytes, transaction_pb2.Operation]


class Changes:
    """Changes that wait to happen. The last one of a key counts; what is added to a counter adds up."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._operations: dict[bytes, transaction_pb2.Operation] = {}

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
        self._keep(transaction_pb2.Operation(key=key, put=put))

    def delete(self, key: Key) -> None:
        """Removes a key with the others. One that is not there is no error."""
        gone = transaction_pb2.DeleteOperation()
        self._keep(transaction_pb2.Operation(key=key_bytes(key), delete=gone))

    def touch(self, key: Key, expires: Expires = None) -> None:
        """Sets when a key goes, or that it stays for ever, with the others. Its value stays as it is.

        When it is not there, nothing happens: ``NotFound``.
        """
        touch = transaction_pb2.TouchOperation(expiry=expiry_message(expires))
        operation = transaction_pb2.Operation(key=key_bytes(key), touch=touch)
        self._before(operation)
        self._keep(operation)

    def increment(self, key: Key, delta: int = 1, *, initial: int = 0) -> None:
        """Adds to a counter with the others, whatever it is by then.

        ``initial``: where a counter that is not there begins, before the addition.
        """
        step = transaction_pb2.IncrementOperation(delta=delta, initial_value=initial)
        operation = transaction_pb2.Operation(key=key_bytes(key), increment=step)
        if before := self._before(operation):
            step.delta += before.increment.delta
            step.initial_value = before.increment.initial_value
            operation = transaction_pb2.Operation(key=operation.key, increment=step)
        self._keep(operation)

    def _before(self, operation: transaction_pb2.Operation) -> transaction_pb2.Operation | None:
        """The change of the same kind that the key has already; another kind is refused."""
        before = self._operations.get(operation.key)
        kind = operation.WhichOneof("change")
        if before and before.WhichOneof("change") != kind:
            raise ValueError(
                f"key {operation.key!r} has another change here already, and a commit changes each "
                f"key once: leave the {kind} to that one"
            )
        return before

    def _keep(self, operation: transaction_pb2.Operation) -> None:
        self._operations[operation.key] = operation


class Batch(Changes):
    """Changes of any keys of a namespace that happen together, or none of them.

    Nothing is sent before the end of ``async with``, or ``commit``; an exception in the block drops
    all.
    """

    def __init__(self, connection: Connection, reader: Reader) -> None:
        super().__init__(reader)
        self._connection = connection
        self._conditions: dict[bytes, Condition] = {}
        self._was_sent = False
        self._is_over = False
        #: What happens instead when something that is required is not so.
        self.otherwise = Changes(reader)
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
        if kind is None and not self._was_sent and not self._is_over:
            await self.commit()

    def require(self, key: Key, when: Condition) -> None:
        """The whole happens only if this is so; else what is in ``otherwise`` does.

        When nothing is in there, ``commit`` raises ``Conflict``.
        """
        self._check_open()
        self._conditions[key_bytes(key)] = when

    async def commit(
        self, *, request_id: str | None = None, timeout: float | None = None
    ) -> CommitResult:
        """Does it. ``Conflict`` (``CONDITION_FAILED``) when a condition does not hold.

        When the connection breaks it is sent again under its name, and not done twice. With conditions
        or counters it goes only to the same run of the server, which remembers it. ``request_id``: a
        name of your own.
        """
        self._check_open()
        self._was_sent = True
        request = transaction_pb2.CommitRequest(
            namespace=self._reader.namespace,
            conditions=[
                transaction_pb2.KeyCondition(key=key, condition=condition_message(when))
                for key, when in self._required().items()
            ],
            operations=self._operations.values(),
            else_operations=self.otherwise._operations.values(),
            request_id=request_id or uuid.uuid4().hex,
        )
        response = await self._send(request, timeout)
        if not response.succeeded and not request.else_operations:
            raise Conflict(
                "a key is not as the commit asks for, so nothing was changed: read again, then retry",
                reason="CONDITION_FAILED",
            )
        self._is_over = True
        self.result = commit_result(response)
        return self.result

    async def _send(
        self, request: transaction_pb2.CommitRequest, timeout: float | None
    ) -> transaction_pb2.CommitResponse:
        operations = chain(request.operations, request.else_operations)
        counts = any(operation.HasField("increment") for operation in operations)
        same = not request.conditions and not counts
        return await self._connection.write(methods.COMMIT, request, timeout=timeout, same=same)

    def rollback(self) -> None:
        """Drops all changes; there is nothing to commit any more."""
        self._operations.clear()
        self._conditions.clear()
        self._is_over = True

    def _required(self) -> dict[bytes, Condition]:
        return self._conditions

    def _keep(self, operation: transaction_pb2.Operation) -> None:
        self._check_open()
        super()._keep(operation)

    def _check_open(self) -> None:
        if self._is_over:
            raise RuntimeError("it was committed or rolled back already: begin another one")


class Transaction(Batch):
    """Reads that belong together, and changes that rest on them.

    Reads are of one moment, that of the first one, with this transaction's own changes on top.
    Changes are kept here until the commit, which happens only if every key that was read is as it
    was read; else it raises ``Conflict``, and the whole is to be done again (``Namespace.transact``
    does that). Nobody is ever kept waiting by a transaction.
    """

    def __init__(self, connection: Connection, reader: Reader, lease: timedelta) -> None:
        super().__init__(connection, reader)
        self._snapshot = Snapshot(connection, {}, lease)
        self._lock = Lock()
        self._seen: dict[bytes, Condition] = {}

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
            self._is_over = True
            await self._snapshot.close()

    async def get(self, key: Key, default: Any = None, *, timeout: float | None = None) -> Any:
        """The value, or ``default``. The commit asks for it to be the same still.

        So a get is what other stores call a get for update; ``peek`` reads without that.
        """
        return (await self.get_many([key], default, timeout=timeout))[0]

    async def get_many(
        self, keys: Iterable[Key], default: Any = None, *, timeout: float | None = None
    ) -> list[Any]:
        """The values of many keys, each as ``get`` gives it."""
        return await self._get(keys, default, checked=True, timeout=timeout)

    async def peek(self, key: Key, default: Any = None, *, timeout: float | None = None) -> Any:
        """As ``get``, of a key that may change before the commit."""
        return (await self._get([key], default, checked=False, timeout=timeout))[0]

    async def commit(
        self, *, request_id: str | None = None, timeout: float | None = None
    ) -> CommitResult:
        """Does it. ``Conflict`` (``CONDITION_FAILED``) when a key is not any more as it was read.

        One that has only read is right as of its moment, and nothing is sent.
        """
        if self._operations or self._conditions or self._is_over:
            return await super().commit(request_id=request_id, timeout=timeout)
        self._is_over = True
        self.result = CommitResult(succeeded=True, version=0, results=[])
        return self.result

    def savepoint(self) -> Savepoint:
        """The changes so far, for ``rollback_to``."""
        return dict(self._operations)

    def rollback_to(self, savepoint: Savepoint) -> None:
        """Drops the changes since then. What was read since is asked for all the same."""
        self._check_open()
        self._operations = dict(savepoint)

    def _required(self) -> dict[bytes, Condition]:
        # A condition of the caller's own stands before what was read.
        return {**self._seen, **self._conditions}

    async def _get(
        self, keys: Iterable[Key], default: Any, *, checked: bool, timeout: float | None
    ) -> list[Any]:
        self._check_open()
        wanted = [key_bytes(key) for key in keys]
        resting = [key for key in dict.fromkeys(wanted) if self._rests(key)]
        records = await self._read(resting, timeout) if resting else {}
        if checked:
            for key, record in records.items():
                seen = if_version(record.version) if record else if_absent()
                self._seen.setdefault(key, seen)
        return [self._value(key, records, default) for key in wanted]

    def _rests(self, key: bytes) -> bool:
        """Whether what the key is here rests on what it is in the store."""
        change = self._operations.get(key)
        return change is None or change.WhichOneof("change") in ("touch", "increment")

    def _value(self, key: bytes, records: Mapping[bytes, Record | None], default: Any) -> Any:
        change = self._operations.get(key)
        if key not in records:
            return self._reader.written(key, change.put) if change and change.HasField("put") else default
        record = records[key]
        if change and change.HasField("increment"):
            return counted(record, change.increment)
        return record.value if record else default

    async def _read(self, keys: list[bytes], timeout: float | None) -> dict[bytes, Record | None]:
        name, codecs = self._reader.namespace, self._reader.codecs
        try:
            async with self._lock:
                await self._snapshot.hold()
            view = View(self._connection, name, codecs, self._snapshot.id)
            if len(keys) > 1:
                return dict(zip(keys, await view.read_many(keys, timeout=timeout), strict=True))
            return {keys[0]: await view.read(keys[0], timeout=timeout)}
        except NotFound as error:
            if error.reason == "KEY_NOT_FOUND":
                return {keys[0]: None}
            if error.reason != "SNAPSHOT_NOT_FOUND":
                raise
            raise Conflict(
                "what the transaction reads from is gone, as the server has started anew or the "
                "lease was over: begin it again",
                reason=error.reason,
            ) from error
