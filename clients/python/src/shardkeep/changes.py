"""What a watch tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from .records import Reader
from .types import Entry, entry_of
from .v1 import watch_pb2 as pb


class ChangeKind(Enum):
    """What became of a key."""

    #: It has another value, expiry or metadata.
    PUT = "put"
    DELETE = "delete"
    #: It went by itself, shortly after nobody could read it any more.
    EXPIRE = "expire"


@dataclass(frozen=True)
class Change:
    """A change of a key."""

    kind: ChangeKind
    key: bytes
    #: All changes of a batch have the same one.
    version: int
    #: Of a put: what is known of the value.
    entry: Entry | None
    #: Of a put: the value as it is stored, where it came.
    data: bytes | None
    _message: pb.WatchEvent = field(repr=False, compare=False)
    _reader: Reader = field(repr=False, compare=False)

    @cached_property
    def value(self) -> Any:
        """The value that came with a put; None where none did (``data`` is None)."""
        if self.data is None:
            return None
        return self._reader.value(self._message.entry, self.data)


@dataclass(frozen=True)
class ChangePage:
    """Changes that came together; none in one that only tells how far the watch is."""

    changes: list[Change]
    #: Every change up to this version is in this page or those before.
    version: int


_KINDS = {
    pb.WATCH_EVENT_TYPE_PUT: ChangeKind.PUT,
    pb.WATCH_EVENT_TYPE_DELETE: ChangeKind.DELETE,
    pb.WATCH_EVENT_TYPE_EXPIRE: ChangeKind.EXPIRE,
}


def change_of(event: pb.WatchEvent, reader: Reader) -> Change:
    """A change as it came."""
    return Change(
        kind=_KINDS[event.type],
        key=event.key,
        version=event.version,
        entry=entry_of(event.entry) if event.HasField("entry") else None,
        data=event.value if event.value_included else None,
        _message=event,
        _reader=reader,
    )
