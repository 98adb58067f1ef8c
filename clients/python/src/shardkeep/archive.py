"""The file that `export` writes, here and on the command line: an archive of version 4.

Its format is drawn in `src/backup/FORMAT.md` of the server. All numbers are little-endian; every part
has a checksum. Nothing here speaks to a server.
"""

from __future__ import annotations

import os
import secrets
import struct
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import xxhash

from . import files
from .errors import DataLoss
from .files import Piece, Source
from .rules import NamespaceInfo
from .types import Entry
from .values import ValueType

_HEADER = struct.Struct("<8sII16s16sQQQQQ")
_HEADER_SIZE = _HEADER.size + 8
_HEAD = struct.Struct("<B3sIQ")
_HEAD_SIZE = _HEAD.size + 8
_FOOTER = struct.Struct("<8s6Q16s")
_FOOTER_SIZE = _FOOTER.size + 16
_BLOB = struct.Struct("<32sB7xQQQ")
_VALUE = struct.Struct("<QQQQQHBBHH")
_REFERENCE = struct.Struct("<QQQQ32sB5xH")
_NAMESPACE = struct.Struct("<QBB6x16xQQQ")
_CHUNK = struct.Struct("<32sI")

_VERSION = 4
_MAGIC, _FOOTER_MAGIC, _END = b"skbackup", b"skfooter", b"skbakend"
_KIND_BLOB, _KIND_VALUE, _KIND_REFERENCE, _KIND_NAMESPACE = 1, 2, 3, 5
_CODEC_RAW, _CODEC_ZSTD, _CODEC_CHUNKS = 0, 1, 2
_HAS_EXPIRY, _HAS_DIGEST = 1, 2
_BY_CONTENT, _OVERWRITE, _COMPRESS, _DEDUP = 1, 2, 4, 8
_BODY_SIZE_MAX = 1100 << 20
# A list's references have names in a store, and none in a file.
_REF_ID = bytes(16)
# Attributes: what the value is, and a text with its name.
_VALUE_TYPE, _METADATA = 1, 2
# Smaller values hardly get smaller.
_ZSTD_MIN = 64


@dataclass(frozen=True)
class Keyed:
    """A key of a file."""

    key: bytes
    #: Bytes of the value.
    size: int
    #: xxh64 of the value.
    sum64: int
    #: Milliseconds since 1970; None for never.
    expiry_ms: int | None
    value_type: ValueType
    metadata: dict[str, str]
    #: The value; None for one that stands in the file by its digest.
    data: bytes | None
    digest: bytes = b""


class Writer:
    """Writes a file, from its header to its end. Large values stand in it once."""

    def __init__(self, file: BinaryIO, version: int, namespace: NamespaceInfo | None) -> None:
        self._file = file
        self._salt = secrets.randbits(64)
        self._hash = xxhash.xxh3_128(seed=self._salt)
        self._number = 0 if namespace is None else 1
        self._contents: set[bytes] = set()
        self._counts = dict.fromkeys(
            (_KIND_BLOB, _KIND_VALUE, _KIND_REFERENCE, _KIND_NAMESPACE), 0
        )
        self._payload_bytes = 0
        #: Bytes that were written.
        self.position = 0
        none = bytes(16)
        now = time.time_ns() // 1_000_000
        header = _HEADER.pack(_MAGIC, _VERSION, 0, none, none, 0, version, 0, now, self._salt)
        self._put(header + struct.pack("<Q", xxhash.xxh3_64_intdigest(header)))
        if namespace is not None:
            self._frame(_KIND_NAMESPACE, 1, _namespace_bytes(namespace), b"")

    def has(self, digest: bytes) -> bool:
        """Whether a large value stands in it."""
        return digest in self._contents

    def value(self, entry: Entry, data: bytes) -> None:
        """A key with its value."""
        codec, payload = _smaller(data)
        attributes = _attributes(entry)
        front = _VALUE.pack(
            entry.version,
            expiry_ms(entry) or 0,
            len(data),
            entry.sum64,
            xxhash.xxh3_64_intdigest(payload),
            len(entry.key),
            _HAS_EXPIRY if entry.expire_time else 0,
            codec,
            len(attributes),
            0,
        )
        self._frame(_KIND_VALUE, self._number, front + entry.key + attributes, payload)

    def chunk(self, data: bytes) -> Piece:
        """A part of a large value; it is written unless it is there."""
        digest = digest_of(data)
        if digest not in self._contents:
            codec, payload = _smaller(data)
            sum64 = xxhash.xxh64_intdigest(data)
            self._blob(digest, codec, (len(data), sum64), payload)
        return Piece(digest, 0, len(data))

    def large(self, digest: bytes, size: int, sum64: int, chunks: list[Piece]) -> None:
        """A large value of chunks that were written."""
        names = b"".join(_CHUNK.pack(chunk.digest, chunk.size) for chunk in chunks)
        self._blob(digest, _CODEC_CHUNKS, (size, sum64), _REF_ID + names)

    def reference(self, entry: Entry, digest: bytes) -> None:
        """A key with a large value that was written."""
        attributes = _attributes(entry)
        front = _REFERENCE.pack(
            entry.version,
            expiry_ms(entry) or 0,
            entry.size,
            entry.sum64,
            digest,
            _HAS_EXPIRY if entry.expire_time else 0,
            len(attributes),
        )
        self._frame(_KIND_REFERENCE, self._number, front + entry.key + attributes, b"")

    def finish(self) -> int:
        """Writes the end; how many keys it holds."""
        counts = self._counts
        keys = counts[_KIND_VALUE] + counts[_KIND_REFERENCE]
        footer = _FOOTER.pack(
            _FOOTER_MAGIC,
            counts[_KIND_BLOB],
            counts[_KIND_VALUE],
            counts[_KIND_REFERENCE],
            0,
            self._payload_bytes,
            self.position + _FOOTER_SIZE,
            self._hash.intdigest().to_bytes(16, "little"),
        )
        checksum = xxhash.xxh3_64_intdigest(footer, seed=self._salt)
        self._put(footer + struct.pack("<Q", checksum) + _END)
        self._file.flush()
        return keys

    def _blob(
        self, digest: bytes, codec: int, info: tuple[int, int], payload: bytes
    ) -> None:
        front = _BLOB.pack(digest, codec, *info, xxhash.xxh3_64_intdigest(payload))
        self._frame(_KIND_BLOB, 0, front, payload)
        self._contents.add(digest)

    def _frame(self, kind: int, number: int, front: bytes, payload: bytes) -> None:
        length = len(front) + len(payload)
        head = _HEAD.pack(kind, number.to_bytes(3, "little"), length, self.position)
        checksum = xxhash.xxh3_64(head, seed=self._salt)
        checksum.update(front)
        checksum.update(payload)
        self._put(head + struct.pack("<Q", checksum.intdigest()) + front)
        self._put(payload)
        self._counts[kind] += 1
        self._payload_bytes += len(payload)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.position += len(data)


class Archive:
    """A file that was exported, to be read; ``DataLoss`` for what is not as it was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        #: Bytes of the file.
        self.size = file.seek(0, os.SEEK_END)
        self._end = self.size - _FOOTER_SIZE
        self._places: dict[bytes, int] = {}
        if self.size < _HEADER_SIZE + _FOOTER_SIZE:
            raise self._damaged(self.size, "it is shorter than an empty archive")
        header = self._read(0, _HEADER_SIZE)
        magic, version, flags, store, chain, since, _, _, _, self._salt = _HEADER.unpack_from(header)
        if magic != _MAGIC:
            raise self._damaged(0, "it is no archive")
        if version > _VERSION:
            raise ValueError(f"the file is of version {version}: this package reads up to {_VERSION}")
        if xxhash.xxh3_64_intdigest(header[: _HEADER.size]) != _u64(header, _HEADER.size) or flags:
            raise self._damaged(0, "its header is not what its checksum says")
        if any(store) or any(chain) or since:
            raise ValueError("the file is a backup, no export: it is taken by a restore")
        footer = self._read(self._end, _FOOTER_SIZE)
        checksum = xxhash.xxh3_64_intdigest(footer[: _FOOTER.size], seed=self._salt)
        if not footer.endswith(_END) or checksum != _u64(footer, _FOOTER.size):
            raise self._damaged(self._end, "it is cut, or was never finished")
        _, *counts, _, length, self._whole = _FOOTER.unpack_from(footer)
        if length != self.size:
            raise self._damaged(self._end, f"it ends a file of {length} bytes")
        self._counts = tuple(counts)

    def check(self) -> Iterator[int]:
        """Reads all of it, every value too, and gives how many bytes that are, again and again."""
        whole = xxhash.xxh3_128(self._read(0, _HEADER_SIZE), seed=self._salt)
        counts = dict.fromkeys((_KIND_BLOB, _KIND_VALUE, _KIND_REFERENCE, 4), 0)
        position = _HEADER_SIZE
        while position < self._end:
            kind, frame = self._frame(position)
            whole.update(frame)
            self._note(kind, position, frame[_HEAD_SIZE:])
            if kind in counts:
                counts[kind] += 1
            position += len(frame)
            yield position
        if whole.intdigest().to_bytes(16, "little") != self._whole:
            raise self._damaged(self._end, "its hash is not that of all before it")
        if tuple(counts.values()) != self._counts:
            raise self._damaged(self._end, "it counts other entries than there are")

    def keys(self) -> Iterator[tuple[int, Keyed]]:
        """The keys in their order, each with where the next begins. ``check`` comes first."""
        position = _HEADER_SIZE
        while position < self._end:
            kind, frame = self._frame(position)
            position += len(frame)
            keyed = self._keyed(kind, position - len(frame), frame[_HEAD_SIZE:])
            if keyed is not None:
                yield position, keyed

    def large(self, digest: bytes) -> Stored:
        """A large value, of which every part can be read."""
        codec, (size, _), payload = self._content(digest)
        if codec != _CODEC_CHUNKS:
            return Stored(self, digest, [Piece(digest, 0, size)])
        pieces, offset = [], 0
        for at in range(len(_REF_ID), len(payload), _CHUNK.size):
            chunk, length = _CHUNK.unpack_from(payload, at)
            pieces.append(Piece(chunk, offset, length))
            offset += length
        if offset != size:
            raise self._damaged(self._places[digest], "a list of chunks does not add up")
        return Stored(self, digest, pieces)

    def content(self, digest: bytes) -> bytes:
        """The bytes of a chunk."""
        codec, (size, sum64), payload = self._content(digest)
        return self._opened(self._places[digest], codec, payload, (size, sum64))

    def _note(self, kind: int, position: int, body: bytes) -> None:
        if kind != _KIND_BLOB:
            keyed = self._keyed(kind, position, body)
            if keyed is not None and keyed.data is None and keyed.digest not in self._places:
                raise self._damaged(position, "a key's value is not in the file")
            return
        digest, codec, size, sum64, payload_sum = _BLOB.unpack_from(body)
        self._places[digest] = position
        if codec == _CODEC_CHUNKS:
            pieces = self.large(digest).pieces
            if any(piece.digest not in self._places for piece in pieces):
                raise self._damaged(position, "a chunk of a value is not in the file")
        else:
            data = self._opened(position, codec, body[_BLOB.size :], (size, sum64))
            if _blake3() is not None and digest_of(data) != digest:
                raise self._damaged(position, "a content is not what its digest says")

    def _content(self, digest: bytes) -> tuple[int, tuple[int, int], bytes]:
        _, frame = self._frame(self._places[digest])
        body = frame[_HEAD_SIZE:]
        _, codec, size, sum64, _ = _BLOB.unpack_from(body)
        return codec, (size, sum64), body[_BLOB.size :]

    def _keyed(self, kind: int, position: int, body: bytes) -> Keyed | None:
        if kind == _KIND_VALUE:
            _, expiry, size, sum64, _, key_size, flags, codec, said, _ = _VALUE.unpack_from(body)
            key_at = _VALUE.size + (32 if flags & _HAS_DIGEST else 0)
            said_at = key_at + key_size
            data = self._opened(position, codec, body[said_at + said :], (size, sum64))
            key, attributes, digest = body[key_at:said_at], body[said_at : said_at + said], b""
        elif kind == _KIND_REFERENCE:
            _, expiry, size, sum64, digest, flags, said = _REFERENCE.unpack_from(body)
            said_at = len(body) - said
            key, attributes, data = body[_REFERENCE.size : said_at], body[said_at:], None
        elif kind in (_KIND_BLOB, _KIND_NAMESPACE):
            return None
        else:
            raise self._damaged(position, "an entry that no export holds")
        value_type, metadata = _said(attributes)
        return Keyed(
            key=key,
            size=size,
            sum64=sum64,
            expiry_ms=expiry if flags & _HAS_EXPIRY else None,
            value_type=value_type,
            metadata=metadata,
            data=data,
            digest=digest,
        )

    def _opened(self, position: int, codec: int, payload: bytes, info: tuple[int, int]) -> bytes:
        size, sum64 = info
        data = payload
        if codec == _CODEC_ZSTD:
            zstd = _zstd()
            if zstd is None:
                raise ImportError(
                    "values of the file are compressed: pip install shardkeep[archive]"
                )
            data = zstd.ZstdDecompressor().decompress(payload, max_output_size=size)
        elif codec != _CODEC_RAW:
            raise self._damaged(position, f"a value of codec {codec}, which no export has")
        if len(data) != size or xxhash.xxh64_intdigest(data) != sum64:
            raise self._damaged(position, "a value is not what its checksum says")
        return data

    def _frame(self, position: int) -> tuple[int, bytes]:
        head = self._read(position, min(_HEAD_SIZE, self._end - position))
        if len(head) < _HEAD_SIZE:
            raise self._damaged(position, "what stands before the end is no entry")
        kind, _, length, own = _HEAD.unpack_from(head)
        if own != position or length > min(_BODY_SIZE_MAX, self._end - position - _HEAD_SIZE):
            raise self._damaged(position, "an entry's head is wrong")
        body = self._read(position + _HEAD_SIZE, length)
        checksum = xxhash.xxh3_64(head[: _HEAD.size], seed=self._salt)
        checksum.update(body)
        if checksum.intdigest() != _u64(head, _HEAD.size):
            raise self._damaged(position, "an entry is not what its checksum says")
        return kind, head + body

    def _read(self, position: int, size: int) -> bytes:
        self._file.seek(position)
        data = self._file.read(size)
        if len(data) != size:
            raise self._damaged(position, "it ends in the middle")
        return data

    def _damaged(self, position: int, what: str) -> DataLoss:
        return DataLoss(
            f"the file is damaged at {position}: {what}; export it again", reason="ARCHIVE_DAMAGED"
        )


class Stored(Source):
    """A large value of a file, to be sent."""

    def __init__(self, archive: Archive, digest: bytes, pieces: list[Piece]) -> None:
        self._archive = archive
        self._digest = digest
        #: Its parts in their order.
        self.pieces = pieces
        self._begins = [piece.offset for piece in pieces]
        self.size = sum(piece.size for piece in pieces)

    def read(self, offset: int, size: int) -> bytes:
        """A part of it."""
        parts, end = [], offset + size
        at = bisect_right(self._begins, offset) - 1
        while offset < end:
            piece = self.pieces[at]
            data = self._archive.content(piece.digest)
            part = data[offset - piece.offset : end - piece.offset]
            parts.append(part)
            offset += len(part)
            at += 1
        return b"".join(parts)

    def digest(self) -> bytes | None:
        """Its BLAKE3, as the file says."""
        return self._digest

    def chunks(self) -> list[Piece] | None:
        """Its parts, as they stand in the file."""
        return self.pieces


def digest_of(data: bytes) -> bytes:
    """The BLAKE3 of some bytes."""
    blake3 = _blake3()
    if blake3 is None:
        raise ImportError("values of more than 8 MiB need their digests: pip install shardkeep[archive]")
    digest: bytes = blake3.blake3(data).digest()
    return digest


def expiry_ms(entry: Entry) -> int | None:
    """When a key goes, in milliseconds since 1970."""
    if entry.expire_time is None:
        return None
    return round(entry.expire_time.timestamp() * 1000)


def _namespace_bytes(namespace: NamespaceInfo) -> bytes:
    rules = namespace.rules
    flags = (
        rules.by_content * _BY_CONTENT
        + rules.overwrite * _OVERWRITE
        + rules.compress * _COMPRESS
        + rules.dedup * _DEDUP
    )
    made = namespace.create_time
    ttl = rules.default_ttl
    fixed = _NAMESPACE.pack(
        namespace.version,
        0,
        flags,
        round(made.timestamp() * 1000) if made else 0,
        round(ttl.total_seconds() * 1000) if ttl else 0,
        rules.value_size_max or 0,
    )
    return fixed + namespace.name.encode()


def _attributes(entry: Entry) -> bytes:
    out = bytearray()
    if entry.value_type != ValueType.UNSPECIFIED:
        out += bytes([_VALUE_TYPE, 1, entry.value_type])
    # In the order of their bytes, as the server keeps them.
    for name, text in sorted(entry.metadata.items(), key=lambda item: item[0].encode()):
        named = _varint(len(name.encode())) + name.encode() + text.encode()
        out += bytes([_METADATA]) + _varint(len(named)) + named
    return bytes(out)


def _said(attributes: bytes) -> tuple[ValueType, dict[str, str]]:
    value_type, metadata, at = ValueType.UNSPECIFIED, {}, 0
    while at < len(attributes):
        tag = attributes[at]
        size, at = _take_varint(attributes, at + 1)
        field, at = attributes[at : at + size], at + size
        if tag == _VALUE_TYPE:
            value_type = ValueType(field[0])
        elif tag == _METADATA:
            length, begin = _take_varint(field, 0)
            name = field[begin : begin + length].decode()
            metadata[name] = field[begin + length :].decode()
    return value_type, metadata


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _take_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return number, at


def _smaller(data: bytes) -> tuple[int, bytes]:
    """The codec and the payload of a value: compressed where that is there and gains 5 %."""
    zstd = _zstd()
    if zstd is None or len(data) < _ZSTD_MIN:
        return _CODEC_RAW, data
    compressed: bytes = zstd.ZstdCompressor(level=3).compress(data)
    if len(compressed) * 20 > len(data) * 19:
        return _CODEC_RAW, data
    return _CODEC_ZSTD, compressed


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _zstd() -> Any:
    return files._package("zstandard")


def _blake3() -> Any:
    return files._package("blake3")
