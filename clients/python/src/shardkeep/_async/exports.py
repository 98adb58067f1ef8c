"""Keys that go to a file, and come from one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from os import PathLike
from typing import BinaryIO

import xxhash
from google.protobuf.timestamp_pb2 import Timestamp

from ..archive import Archive, Keyed, Writer, expiry_ms
from ..errors import AlreadyExists, Conflict, DataLoss
from ..files import CHUNKED_SIZE, ExportResult, ImportResult, OnBytes, opened, target_of
from ..rules import NamespaceInfo
from ..types import Entry, if_absent
from ..v1 import blob_pb2, transaction_pb2
from ..v1 import key_value_pb2 as pb
from ..values import ValueType
from .connection import Connection
from .download import Download
from .runtime import in_thread
from .snapshot import Snapshot
from .transaction import Batch
from .upload import Upload
from .view import View

# Values that are read or written together: so many, of so many bytes, or one larger one.
_KEYS_MAX = 500
_BYTES_MAX = 4 << 20
_DAY = 24 * 3600.0


class Export:
    """An export on its way."""

    def __init__(self, connection: Connection, name: str, info: NamespaceInfo | None) -> None:
        self._connection = connection
        self._name = name
        self._info = info

    async def run(
        self,
        file: str | PathLike[str] | BinaryIO,
        selection: tuple[bytes, bytes, bytes],
        on_progress: OnBytes | None,
    ) -> ExportResult:
        """Writes it, as of now."""
        start, stop, prefix = selection
        async with Snapshot(self._connection, {}, timedelta(minutes=1)) as held:
            view = held.namespace(self._name)
            with target_of(file) as target:
                writer = await in_thread(Writer, target, held.version, self._info)
                while True:
                    # Each part is a walk of its own: none waits for a large value to be through.
                    part = view.range(start, stop, prefix=prefix, limit=_KEYS_MAX).entries()
                    entries = [entry async for entry in part]
                    for some in _together(entries):
                        await held.hold()
                        await self._write(view, held, writer, some)
                        if on_progress is not None:
                            on_progress(writer.position, 0)
                    if len(entries) < _KEYS_MAX:
                        break
                    start = entries[-1].key + b"\0"
                keys = await in_thread(writer.finish)
            return ExportResult(keys, writer.position, held.version)

    async def _write(
        self, view: View, held: Snapshot, writer: Writer, entries: list[Entry]
    ) -> None:
        first = entries[0]
        if first.size > CHUNKED_SIZE:
            await self._write_large(held, writer, first)
            return
        results = await view._batch_get(
            [entry.key for entry in entries], entries_only=False, timeout=None
        )
        values = [result.value for result in results]
        await in_thread(_write_all, writer, entries, values)

    async def _write_large(self, held: Snapshot, writer: Writer, entry: Entry) -> None:
        digest = entry.digest
        if not digest or not writer.has(digest):
            request = blob_pb2.DownloadRequest(
                namespace=self._name, key=entry.key, snapshot=held.id
            )
            chunks = []
            with Download(self._connection, request) as parts:
                async for part in parts:
                    chunks.append(await in_thread(writer.chunk, part))
                    await held.hold()
                digest = parts.whole().digest
            await in_thread(writer.large, digest, entry.size, entry.sum64, chunks)
        await in_thread(writer.reference, entry, digest)


class Import:
    """An import on its way."""

    def __init__(self, connection: Connection, view: View, *, keep: bool) -> None:
        self._connection = connection
        self._view = view
        self._keep = keep
        self._counts = {"written": 0, "unchanged": 0, "kept": 0, "expired": 0}

    async def run(
        self, file: str | PathLike[str] | BinaryIO, on_progress: OnBytes | None
    ) -> ImportResult:
        """Checks all of the file, and then writes what is in it."""
        with opened(file) as source:
            archive = await in_thread(Archive, source)
            checking = archive.check()
            while await in_thread(_some, checking):
                pass
            keys = archive.keys()
            while batch := await in_thread(_batch, keys):
                small = [keyed for _, keyed in batch if keyed.data is not None]
                while small and not await self._write(small):
                    pass
                for _, keyed in batch:
                    if keyed.data is None:
                        while not await self._write_large(archive, keyed):
                            pass
                if on_progress is not None:
                    on_progress(batch[-1][0], archive.size)
        return ImportResult(**self._counts)

    async def _write(self, batch: list[Keyed]) -> bool:
        """Writes keys together; False when somebody has put one meanwhile that is to be kept."""
        heads = await self._view.head_many([keyed.key for keyed in batch])
        alike = [
            keyed.key
            for keyed, head in zip(batch, heads, strict=True)
            if head is not None and _is_said_of(keyed, head)
        ]
        there: dict[bytes, bytes] = {}
        if alike:
            results = await self._view._batch_get(alike, entries_only=False, timeout=None)
            found = zip(alike, results, strict=True)
            there = {key: result.value for key, result in found if result.HasField("entry")}
        commit, fates = Batch(self._connection, self._view._reader), []
        for keyed, head in zip(batch, heads, strict=True):
            is_same = there.get(keyed.key) == keyed.data
            fate = self._fate(keyed, head, is_same)
            fates.append(fate)
            if fate == "written":
                commit._keep(_operation(keyed))
                if self._keep:
                    commit.require(keyed.key, if_absent())
        try:
            if commit._operations:
                await commit.commit()
        except Conflict:
            return False
        for fate in fates:
            self._counts[fate] += 1
        return True

    async def _write_large(self, archive: Archive, keyed: Keyed) -> bool:
        head = (await self._view.head_many([keyed.key]))[0]
        is_same = head is not None and head.digest == keyed.digest
        fate = self._fate(keyed, head, is_same)
        if fate == "written":
            header = blob_pb2.UploadHeader(
                namespace=self._view.name,
                key=keyed.key,
                condition=if_absent().message if self._keep else None,
                expiry=_expiry(keyed),
                sum64=keyed.sum64,
                value_type=pb.ValueType.Name(keyed.value_type),
                metadata=keyed.metadata,
            )
            source = await in_thread(archive.large, keyed.digest)
            try:
                await Upload(self._connection, header, source, None, _DAY).run(dedup=True)
            except AlreadyExists:
                if self._keep:
                    return False
                raise
        self._counts[fate] += 1
        return True

    def _fate(self, keyed: Keyed, head: Entry | None, is_same: bool) -> str:
        if keyed.expiry_ms is not None and keyed.expiry_ms <= time.time_ns() // 1_000_000:
            return "expired"
        if head is not None and is_same and _is_said_of(keyed, head):
            return "unchanged"
        return "kept" if head is not None and self._keep else "written"



def _together(entries: list[Entry]) -> Iterator[list[Entry]]:
    """The entries in the parts of which the values are read at once."""
    some: list[Entry] = []
    size = 0
    for entry in entries:
        if some and (size + entry.size > _BYTES_MAX or entry.size > CHUNKED_SIZE):
            yield some
            some, size = [], 0
        if entry.size > CHUNKED_SIZE:
            yield [entry]
            continue
        some.append(entry)
        size += entry.size
    if some:
        yield some


def _write_all(writer: Writer, entries: list[Entry], values: list[bytes]) -> None:
    for entry, value in zip(entries, values, strict=True):
        if xxhash.xxh64_intdigest(value) != entry.sum64:
            raise DataLoss(
                f"the value of key {entry.key!r} is not what its checksum says: read it again",
                reason="SUM64_MISMATCH",
            )
        writer.value(entry, value)


def _some(checking: Iterator[int]) -> bool:
    """Goes on with a check for a while, and tells whether there is more."""
    return any(True for _ in islice(checking, 1000))


def _batch(keys: Iterator[tuple[int, Keyed]]) -> list[tuple[int, Keyed]]:
    """The next keys that are written at once."""
    batch = []
    size = 0
    for position, keyed in keys:
        batch.append((position, keyed))
        size += len(keyed.data) if keyed.data is not None else _BYTES_MAX
        if len(batch) == _KEYS_MAX or size >= _BYTES_MAX:
            break
    return batch


def _is_said_of(keyed: Keyed, head: Entry) -> bool:
    return (
        (head.size, head.sum64) == (keyed.size, keyed.sum64)
        and expiry_ms(head) == keyed.expiry_ms
        and (head.value_type, head.metadata) == (keyed.value_type, keyed.metadata)
    )


def _operation(keyed: Keyed) -> transaction_pb2.Operation:
    put = transaction_pb2.PutOperation(
        value=keyed.data,
        expiry=_expiry(keyed),
        sum64=keyed.sum64,
        value_type=pb.ValueType.Name(keyed.value_type),
        metadata=keyed.metadata,
    )
    return transaction_pb2.Operation(key=keyed.key, put=put)


def _expiry(keyed: Keyed) -> pb.Expiry | None:
    if keyed.expiry_ms is None:
        return None
    at = Timestamp()
    at.FromMilliseconds(keyed.expiry_ms)
    return pb.Expiry(expire_time=at)
