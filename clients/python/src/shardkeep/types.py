"""What calls take and give."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from .v1 import key_value_pb2 as pb
from .v1 import transaction_pb2
from .values import ValueType, key_bytes


@dataclass(frozen=True)
class Entry:
    """What is known of a key."""

    key: bytes
    #: Of the whole store: each change takes the next one.
    version: int
    #: Bytes of the value.
    size: int
    #: xxh64 of the value.
    sum64: int
    #: BLAKE3 of the value; scans leave it empty where finding it would mean to read the value.
    digest: bytes
    #: When the key goes by itself, in UTC; None for never.
    expire_time: datetime | None
    value_type: ValueType
    metadata: dict[str, str]


@dataclass(frozen=True)
class Record:
    """A value, and what is known of its key."""

    entry: Entry
    value: Any
    #: The value as it is stored.
    data: bytes

    @property
    def key(self) -> bytes:
        """The key."""
        return self.entry.key

    @property
    def version(self) -> int:
        """The version, for ``if_version``."""
        return self.entry.version


@dataclass(frozen=True)
class PutResult:
    """What a put did."""

    #: The key under which the value stands.
    key: bytes
    version: int
    digest: bytes
    #: Whether the key was not there before.
    created: bool
    #: Whether the value's bytes were there already, so that none were stored.
    deduplicated: bool
    #: The version that was replaced; 0 for none.
    previous_version: int


@dataclass(frozen=True)
class DeleteResult:
    """What a delete did."""

    #: Whether the key was there.
    deleted: bool
    #: The version that the delete took; 0 for none.
    version: int
    #: The version that was removed; 0 for none.
    previous_version: int


@dataclass(frozen=True)
class CommitResult:
    """What a batch or a transaction did."""

    #: Whether all that was required was so; else these are the results of what was to happen
    #: otherwise.
    succeeded: bool
    #: The version that all changes took; 0 when nothing has changed.
    version: int
    #: One for each key that was changed, in the order of the first changes.
    #: Of a touch: what is known of the key then. Of an increment: what the counter is then.
    results: list[PutResult | DeleteResult | Entry | int]


@dataclass(frozen=True)
class Page:
    """Some keys in order, as of one moment."""

    records: list[Record]
    #: Where the next page begins, for ``Range.page``; empty at the end.
    next_token: str


@dataclass(frozen=True)
class Condition:
    """What must be so under a key for a change to happen."""

    message: pb.Condition


def if_absent() -> Condition:
    """The key is not there; else ``AlreadyExists``."""
    return Condition(pb.Condition(absent=True))


def if_present() -> Condition:
    """The key is there; else ``NotFound``."""
    return Condition(pb.Condition(present=True))


def if_version(version: int) -> Condition:
    """The key is at this version; else ``Conflict``."""
    return Condition(pb.Condition(version=version))


def if_digest(digest: bytes) -> Condition:
    """The key's value has this BLAKE3 digest; else ``Conflict``, or ``NotFound``."""
    return Condition(pb.Condition(digest=digest))


class Keep:
    """See ``KEEP``."""


#: As long as the record that is replaced.
KEEP = Keep()

#: How long a key stays: a time from now on, a moment with its time zone, as before, or for ever.
Expires = timedelta | datetime | Keep | None


def condition_message(when: Condition | None) -> pb.Condition | None:
    """A condition on the wire."""
    return when.message if when else None


def expiry_message(expires: Expires) -> pb.Expiry | None:
    """An expiry on the wire."""
    message = pb.Expiry()
    match expires:
        case None:
            return None
        case timedelta():
            message.ttl.FromTimedelta(expires)
        case datetime():
            if expires.tzinfo is None:
                raise ValueError(f"{expires} has no time zone: give it one, such as timezone.utc")
            message.expire_time.FromDatetime(expires)
        case Keep():
            message.keep = True
    return message


def selection_message(
    start: bytes | str, stop: bytes | str, prefix: bytes | str
) -> pb.KeySelection:
    """A range of keys on the wire."""
    return pb.KeySelection(
        start_key=key_bytes(start), end_key=key_bytes(stop), prefix=key_bytes(prefix)
    )


def put_result(message: pb.PutResponse) -> PutResult:
    """A put's result as it came."""
    return PutResult(
        key=message.key,
        version=message.version,
        digest=message.digest,
        created=message.created,
        deduplicated=message.deduplicated,
        previous_version=message.previous_version,
    )


def delete_result(message: pb.DeleteResponse) -> DeleteResult:
    """A delete's result as it came."""
    return DeleteResult(message.deleted, message.version, message.previous_version)


def commit_result(message: transaction_pb2.CommitResponse) -> CommitResult:
    """A commit's result as it came."""
    return CommitResult(
        succeeded=message.succeeded,
        version=message.version,
        results=[_operation_result(result) for result in message.results],
    )


def _operation_result(
    message: transaction_pb2.OperationResult,
) -> PutResult | DeleteResult | Entry | int:
    match message.WhichOneof("result"):
        case "put":
            return put_result(message.put)
        case "touch":
            return entry_of(message.touch.entry)
        case "increment":
            return message.increment.value
        case _:
            return delete_result(message.delete)


def entry_of(message: pb.Entry) -> Entry:
    """An entry as it came."""
    expires = message.HasField("expire_time")
    return Entry(
        key=message.key,
        version=message.version,
        size=message.size,
        sum64=message.sum64,
        digest=message.digest,
        expire_time=message.expire_time.ToDatetime(timezone.utc) if expires else None,
        value_type=value_type_of(message.value_type),
        metadata=dict(message.metadata),
    )


def value_type_of(number: int) -> ValueType:
    """A type of a newer server is as good as none."""
    return _VALUE_TYPES.get(number, ValueType.UNSPECIFIED)


_VALUE_TYPES = {int(value_type): value_type for value_type in ValueType}
