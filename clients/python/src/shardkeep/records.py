"""From what came over the wire to records."""

from __future__ import annotations

from typing import Any

import xxhash

from .errors import DataLoss, DecodeError, InvalidArgument
from .types import Record, entry_of, value_type_of
from .v1 import key_value_pb2 as pb
from .v1 import transaction_pb2
from .values import Codecs, ValueType


class Reader:
    """Makes records of a namespace, with its codecs, and checks each value's checksum."""

    def __init__(self, namespace: str, codecs: Codecs) -> None:
        self.namespace = namespace
        self.codecs = codecs

    def written(self, key: bytes, put: transaction_pb2.PutOperation) -> Any:
        """The value of a put that was not sent yet."""
        return self._decoded(key, put.value, value_type_of(put.value_type))

    def record(self, message: pb.Entry, data: bytes) -> Record:
        """A record; ``DataLoss`` when the value is not what its checksum says."""
        return Record(entry_of(message), self.value(message, data), data)

    def value(self, message: pb.Entry, data: bytes) -> Any:
        """The value of a record alone, for those who do not ask what else is known of it."""
        found = xxhash.xxh64_intdigest(data)
        if found != message.sum64:
            raise DataLoss(
                f"the value of key {message.key!r} has xxh64 {found:016x}, not "
                f"{message.sum64:016x}: it was damaged on its way; read it again",
                reason="SUM64_MISMATCH",
            )
        return self._decoded(message.key, data, value_type_of(message.value_type))

    def _decoded(self, key: bytes, data: bytes, value_type: ValueType) -> Any:
        try:
            return self.codecs.of(key).decode(data, value_type)
        except Exception as error:
            # Whatever a codec raises: one of somebody else's making, too.
            raise DecodeError(
                f"the value of key {key!r}, of type {value_type.name}, is not what its codec takes: "
                f"{error}; read it with BytesCodec, or with the codec that wrote it",
                reason="DECODE_FAILED",
            ) from error


def counted(record: Record | None, step: transaction_pb2.IncrementOperation) -> int:
    """What a counter is after an increment that was not sent yet."""
    try:
        before = int(record.data) if record else step.initial_value
    except ValueError as error:
        raise InvalidArgument(
            f"a value of {len(record.data) if record else 0} bytes is no counter: it is not a number "
            "in decimal digits",
            reason="NOT_A_COUNTER",
        ) from error
    return before + step.delta
