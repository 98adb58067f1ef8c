"""From Python's values to bytes and back.

A value's type stands with it on the server (``value_type``), so that what was stored as a number is
read as a number, by any client. A codec decides for all keys with a prefix instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Protocol

_INT64 = range(-(2**63), 2**63)


class ValueType(IntEnum):
    """What a value is to its client."""

    UNSPECIFIED = 0
    BYTES = 1
    TEXT = 2
    INT64 = 3
    DOUBLE = 4
    BOOL = 5
    JSON = 6


class Codec(Protocol):
    """Turns values into bytes and back, for keys with a prefix."""

    def encode(self, value: Any) -> tuple[bytes, ValueType]:
        """The bytes of a value, and what other clients are to take them for."""

    def decode(self, data: bytes, value_type: ValueType) -> Any:
        """The value of bytes that stand with this type."""


class TypedCodec:
    """Each value as what it is: bytes, text, integer, float, truth value; all else as JSON."""

    def encode(self, value: Any) -> tuple[bytes, ValueType]:
        match value:
            case bytes() | bytearray() | memoryview():
                return bytes(value), ValueType.BYTES
            case str():
                return value.encode(), ValueType.TEXT
            case bool():
                return (b"true" if value else b"false"), ValueType.BOOL
            case int():
                return _digits(value), ValueType.INT64
            case float():
                return _decimal(value), ValueType.DOUBLE
            case _:
                return _json(value), ValueType.JSON

    def decode(self, data: bytes, value_type: ValueType) -> Any:
        match value_type:
            case ValueType.TEXT:
                return data.decode()
            case ValueType.INT64:
                return int(data)
            case ValueType.DOUBLE:
                return float(data)
            case ValueType.BOOL:
                return data == b"true"
            case ValueType.JSON:
                return json.loads(data)
            case _:
                return data


class BytesCodec:
    """Bytes as they are, whatever type stands with them."""

    def encode(self, value: Any) -> tuple[bytes, ValueType]:
        return bytes(memoryview(value)), ValueType.BYTES

    def decode(self, data: bytes, value_type: ValueType) -> bytes:
        return data


class JsonCodec:
    """Everything as JSON, numbers and texts too."""

    def encode(self, value: Any) -> tuple[bytes, ValueType]:
        return _json(value), ValueType.JSON

    def decode(self, data: bytes, value_type: ValueType) -> Any:
        return json.loads(data)


class MsgpackCodec:
    """Everything as MessagePack. Needs ``pip install shardkeep[msgpack]``."""

    def __init__(self) -> None:
        try:
            import msgpack
        except ImportError as missing:
            raise ImportError("MsgpackCodec needs msgpack: pip install shardkeep[msgpack]") from missing
        self._msgpack: Any = msgpack

    def encode(self, value: Any) -> tuple[bytes, ValueType]:
        return self._msgpack.packb(value), ValueType.BYTES

    def decode(self, data: bytes, value_type: ValueType) -> Any:
        return self._msgpack.unpackb(data)


#: Codecs by key prefix.
CodecTable = Mapping["bytes | str", Codec]


class Codecs:
    """Which codec a key has: that of its longest prefix in the table, else by the value's type."""

    def __init__(self, table: CodecTable | None) -> None:
        by_prefix = {key_bytes(prefix): codec for prefix, codec in (table or {}).items()}
        self._by_length = sorted(by_prefix.items(), key=lambda row: -len(row[0]))
        self._typed = TypedCodec()

    def of(self, key: bytes) -> Codec:
        """The codec of a key."""
        for prefix, codec in self._by_length:
            if key.startswith(prefix):
                return codec
        return self._typed


def key_bytes(key: bytes | str) -> bytes:
    """A key as it goes over the wire: text in UTF-8."""
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bytes | bytearray | memoryview):
        return bytes(key)
    raise TypeError(f"a key is bytes or text, not {type(key).__name__}: {key!r}")


def _digits(value: int) -> bytes:
    if value not in _INT64:
        raise ValueError(f"{value} is no 64-bit number: store it as text, or under a codec")
    return b"%d" % value


def _decimal(value: float) -> bytes:
    if not math.isfinite(value):
        raise ValueError(f"{value} has no decimal digits: store it as text, or under a codec")
    # Of float itself: subclasses, such as those of numpy, say more than digits.
    return float.__repr__(value).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
