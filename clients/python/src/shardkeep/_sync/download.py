# Made by tools/generate.py from shardkeep/_async: change it there.
"""Values of any size that come from the server."""

from __future__ import annotations

from types import TracebackType

import xxhash

from ..errors import Conflict, DataLoss
from ..methods import DOWNLOAD
from ..types import Entry, entry_of
from ..v1 import blob_pb2 as pb
from .connection import Connection


class Download:
    """The bytes of a value on their way, to be walked inside ``with``, which ends the call.

    After a break it goes on with the byte that comes next, of the same version.
    """

    def __init__(self, connection: Connection, request: pb.DownloadRequest) -> None:
        self._request = request
        self._stream = connection.stream(DOWNLOAD, request, resumes=True)
        self._sum = xxhash.xxh64()
        self._entry: Entry | None = None
        #: Bytes that have come.
        self.done = 0

    def __enter__(self) -> Download:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.end()

    def __iter__(self) -> Download:
        return self

    def __next__(self) -> bytes:
        while True:
            response = next(self._stream)
            if response.HasField("entry"):
                self._begin(entry_of(response.entry))
                continue
            self._advance(response.data)
            return response.data

    @property
    def entry(self) -> Entry:
        """What is known of the value, once the first bytes have come."""
        if self._entry is None:
            raise RuntimeError("nothing has come yet")
        return self._entry

    def whole(self) -> Entry:
        """What is known of the value, all of which has come; ``DataLoss`` if it is not that."""
        found = self._sum.intdigest()
        if found != self.entry.sum64:
            raise DataLoss(
                f"what came of key {self.entry.key!r} has xxh64 {found:016x}, not "
                f"{self.entry.sum64:016x}: it was damaged on its way; read it again",
                reason="SUM64_MISMATCH",
            )
        return self.entry

    def _begin(self, entry: Entry) -> None:
        if self._entry is not None and self._entry.version != entry.version:
            raise Conflict(
                f"key {entry.key!r} has another value, of version {entry.version}, than the one of "
                f"version {self._entry.version} that was on its way: read it again",
                reason="VALUE_CHANGED",
            )
        self._entry = entry

    def _advance(self, data: bytes) -> None:
        self.done += len(data)
        self._sum.update(data)
        part = self._request.range
        part.offset += len(data)
        left = self.entry.size - part.offset
        if part.length:
            left = min(left, part.length - len(data))
            part.length = max(left, 0)
        if left <= 0:
            # All has come. A range of nothing would be one up to the end.
            self._stream.end()
