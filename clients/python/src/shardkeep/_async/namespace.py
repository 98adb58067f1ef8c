"""A namespace: keys and values."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from os import PathLike
from typing import Any, BinaryIO, TypeVar

import xxhash

from .. import methods
from ..errors import Conflict
from ..files import ExportResult, ImportResult, OnBytes, UploadResult, source_of
from ..rules import namespace_of
from ..types import (
    Condition,
    DeleteResult,
    Entry,
    Expires,
    PutResult,
    condition_message,
    delete_result,
    entry_of,
    expiry_message,
    put_result,
    selection_message,
)
from ..v1 import blob_pb2, namespace_pb2, watch_pb2
from ..v1 import key_value_pb2 as pb
from ..values import ValueType, key_bytes
from .exports import Export, Import
from .ids import Ids
from .list import CodecsOfList, List
from .transaction import Batch, Transaction
from .upload import Upload
from .view import Key, View
from .watch import Watch

Result = TypeVar("Result")


def _name(*, same: bool) -> str:
    """What the server tells a write by when it is sent again. One that leaves the same needs none."""
    return "" if same else uuid.uuid4().hex


class Namespace(View):
    """Keys and values. Making one asks nothing of the server."""

    async def put(
        self,
        key: Key,
        value: Any,
        *,
        when: Condition | None = None,
        expires: Expires = None,
        metadata: Mapping[str, str] | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> PutResult:
        """Stores a value.

        ``when``: only if this is so. ``expires``: how long the key stays; without it, for ever.
        ``metadata``: texts under names of your own, 4 KiB together. When the connection breaks it is
        sent again; on a condition only to the run of the server that knows it, so the first write of a
        connection is not. ``request_id``: a name of this write, such as a UUID, under which you may
        send it again, and it is done once (by one run of the server, within 10 minutes).
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
            request_id=request_id or _name(same=not when),
        )
        response = await self._connection.write(
            methods.PUT, request, timeout=timeout, same=not when, named=bool(request_id)
        )
        return put_result(response)

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

    async def upload(
        self,
        key: Key,
        file: str | PathLike[str] | BinaryIO,
        *,
        when: Condition | None = None,
        expires: Expires = None,
        metadata: Mapping[str, str] | None = None,
        value_type: ValueType = ValueType.BYTES,
        dedup: bool = True,
        progress: OnBytes | None = None,
        timeout: float = 24 * 3600.0,
    ) -> UploadResult:
        """Stores a file of any size, by its path or open: one that can be sought, in bytes.

        It is read piece by piece, and only from where it stands. ``dedup``: what the server has
        already is not sent, as far as ``shardkeep[dedup]`` is installed, which tells it; else all is
        sent, and what is there is not stored again. ``progress`` hears how many bytes are done, and
        how many there are in all. The rest is as of ``put``.
        """
        header = blob_pb2.UploadHeader(
            namespace=self.name,
            key=key_bytes(key),
            condition=condition_message(when),
            expiry=expiry_message(expires),
            value_type=pb.ValueType.Name(value_type),
            metadata=metadata,
        )
        with source_of(file) as source:
            upload = Upload(self._connection, header, source, progress, timeout)
            return await upload.run(dedup=dedup)

    async def export(
        self,
        file: str | PathLike[str] | BinaryIO,
        start: Key = b"",
        stop: Key = b"",
        *,
        prefix: Key = b"",
        progress: OnBytes | None = None,
    ) -> ExportResult:
        """Writes the keys from ``start`` on and before ``stop``, with the prefix, to one file.

        They are of one moment, with their values, expiries and metadata, and the rules of the
        namespace; `shardkeep import` takes the file as well as ``import_``. Under its path the file is
        there when it is whole. ``progress`` hears how many bytes are written, and 0. Values are
        compressed with ``shardkeep[archive]``, without which larger ones than 8 MiB are an
        ``ImportError``.
        """
        info = None
        if self.name not in ("", "default"):
            told = await self._connection.call(
                methods.GET_NAMESPACE,
                namespace_pb2.GetNamespaceRequest(name=self.name),
                timeout=None,
                idempotent=True,
            )
            info = namespace_of(told)
        selection = (key_bytes(start), key_bytes(stop), key_bytes(prefix))
        return await Export(self._connection, self.name, info).run(file, selection, progress)

    async def import_(
        self,
        file: str | PathLike[str] | BinaryIO,
        *,
        keep: bool = False,
        progress: OnBytes | None = None,
    ) -> ImportResult:
        """Writes the keys of a file that ``export`` or `shardkeep export` has written.

        All of the file is checked before the first key is written; ``DataLoss`` when it is damaged.
        Keys are written under new versions, up to 500 at a time, and one that is so already is left
        alone, so an import that was cut short is gone on with by another. ``keep``: a key that is
        there stays as it is. ``progress`` hears how many bytes are done, and how many there are.
        """
        view = View(self._connection, self.name, self._codecs)
        return await Import(self._connection, view, keep=keep).run(file, progress)

    async def delete(
        self,
        key: Key,
        *,
        when: Condition | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> DeleteResult:
        """Removes a key. A key that is not there is no error, unless the condition asks for it."""
        request = pb.DeleteRequest(
            namespace=self.name,
            key=key_bytes(key),
            condition=condition_message(when),
            request_id=request_id or _name(same=not when),
        )
        response = await self._connection.write(
            methods.DELETE, request, timeout=timeout, same=not when, named=bool(request_id)
        )
        return delete_result(response)

    async def touch(
        self,
        key: Key,
        expires: Expires = None,
        *,
        when: Condition | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Entry:
        """Sets when a key goes, or that it stays for ever, and leaves its value as it is."""
        request = pb.TouchRequest(
            namespace=self.name,
            key=key_bytes(key),
            expiry=expiry_message(expires),
            condition=condition_message(when),
            request_id=request_id or _name(same=not when),
        )
        response = await self._connection.write(
            methods.TOUCH, request, timeout=timeout, same=not when, named=bool(request_id)
        )
        return entry_of(response.entry)

    async def increment(
        self,
        key: Key,
        delta: int = 1,
        *,
        initial: int = 0,
        when: Condition | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Adds to a counter and gives what it is then.

        When the connection breaks it is sent again as a ``put`` on a condition is, and counted once.
        ``initial``: where a counter that is not there begins, before the addition.
        """
        request = pb.IncrementRequest(
            namespace=self.name,
            key=key_bytes(key),
            delta=delta,
            initial_value=initial,
            condition=condition_message(when),
            request_id=request_id or _name(same=False),
        )
        response = await self._connection.write(
            methods.INCREMENT, request, timeout=timeout, same=False, named=bool(request_id)
        )
        return response.value

    async def delete_range(
        self,
        start: Key = b"",
        stop: Key = b"",
        *,
        prefix: Key = b"",
        timeout: float | None = None,
    ) -> int:
        """Removes the keys from ``start`` on and before ``stop``, with the prefix; how many.

        One of them must be set. Each key is removed by itself: a value that is put meanwhile may
        stay, and an error may leave a part done. ``timeout``: for each 10,000 keys. Where a connection
        broke, what went with the lost answer is not counted.
        """
        request = pb.DeleteRangeRequest(
            namespace=self.name,
            selection=selection_message(start, stop, prefix),
        )
        deleted = 0
        while True:
            response = await self._connection.call(
                methods.DELETE_RANGE, request, timeout=timeout, idempotent=True
            )
            deleted += response.deleted_count
            request.page_token = response.next_page_token
            if not request.page_token:
                return deleted

    def watch(
        self,
        start: Key = b"",
        stop: Key = b"",
        *,
        prefix: Key = b"",
        after: int | None = None,
        values: bool = False,
        progress: timedelta | None = None,
    ) -> Watch:
        """The changes of the keys from ``start`` on and before ``stop``, with the prefix.

        ``after``: those after this version, which is that of a snapshot, a put or another watch;
        without it, from now on. ``values``: puts bring values of up to 64 KiB that are not large
        enough to be shared (``dedup.min_size``). ``progress``: how long its ``version`` stands still
        at most while other keys change, 100 ms to 1 hour; 10 s without it.
        """
        request = watch_pb2.WatchRequest(
            namespace=self.name,
            selection=selection_message(start, stop, prefix),
            after_version=after,
            include_values=values,
        )
        if progress is not None:
            request.progress_interval.FromTimedelta(progress)
        return Watch(self._connection, self._reader, request)

    def batch(self) -> Batch:
        """Puts and deletes that happen together: ``async with ns.batch() as batch``."""
        return Batch(self._connection, self._reader)

    def ids(self, key: Key, *, block: int = 100) -> Ids:
        """Numbers that nobody gets twice, from the counter under a key; see ``Ids``."""
        return Ids(self._connection, self.name, key_bytes(key), block)

    def list(self, key: Key) -> List:
        """A list, of which both ends can be changed; see ``List``."""
        key = key_bytes(key)
        codecs = CodecsOfList(self._codecs, key)
        return List(Namespace(self._connection, self.name, codecs), key)

    def transaction(self, *, lease: timedelta = timedelta(minutes=1)) -> Transaction:
        """Reads, and changes that rest on them: ``async with ns.transaction() as transaction``.

        It raises ``Conflict`` when others were faster; ``transact`` tries again. ``lease``: the
        longest pause between two reads, twice over.
        """
        return Transaction(self._connection, self._reader, lease)

    async def transact(
        self, work: Callable[[Transaction], Awaitable[Result]], *, attempts: int = 32
    ) -> Result:
        """Runs ``work`` in a transaction, anew when others were faster, and gives what it gives.

        ``Conflict`` after so many attempts. ``work`` may run more than once.
        """
        while True:
            attempts -= 1
            try:
                async with self.transaction() as transaction:
                    return await work(transaction)
            except Conflict:
                if attempts < 1:
                    raise
