"""Files that are sent, and that receive.

What a file is made of is told by digests (BLAKE3) and cut as the server cuts (FastCDC), where the
packages for that are there: `pip install shardkeep[dedup]`. Both are of native code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from .types import PutResult

#: Bytes of a message.
PIECE_SIZE = 1 << 20
#: From this size on the server keeps a value in chunks.
CHUNKED_SIZE = 8 << 20
# As the server cuts, or else nothing would be found there again.
_CHUNK_MIN, _CHUNK_USUAL, _CHUNK_MAX = 64 << 10, 256 << 10, 1 << 20

#: Hears how many bytes are done, and how many there are in all.
OnBytes = Callable[[int, int], object]


@dataclass(frozen=True)
class UploadResult:
    """What an upload did."""

    put: PutResult
    #: Bytes of the value.
    size: int
    #: xxh64 of the value.
    sum64: int
    #: Bytes of it that were not there before, as far as they had to be sent.
    new_bytes: int


@dataclass(frozen=True)
class ExportResult:
    """What an export did."""

    #: Keys in the file.
    keys: int
    #: Bytes of the file.
    size: int
    #: The version as of which they are.
    version: int


@dataclass(frozen=True)
class ImportResult:
    """What became of the keys of a file."""

    written: int = 0
    #: Were so already.
    unchanged: int = 0
    #: Had another value, and were to be kept.
    kept: int = 0
    #: Their time was over.
    expired: int = 0


@dataclass(frozen=True)
class Piece:
    """A part of a file."""

    digest: bytes
    offset: int
    size: int


class Source:
    """A file that is sent, from where it stands."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begin = file.tell()
        #: Bytes from there to its end.
        self.size = file.seek(0, os.SEEK_END) - self._begin

    def read(self, offset: int, size: int) -> bytes:
        """A part of it; ``ValueError`` when the file has become shorter."""
        self._file.seek(self._begin + offset)
        data = self._file.read(size)
        if len(data) != size:
            raise ValueError(
                f"the file ends {size - len(data)} bytes too soon: it was changed while it was sent"
            )
        return data

    def digest(self) -> bytes | None:
        """Its BLAKE3; None without the package for that."""
        blake3 = _package("blake3")
        if blake3 is None:
            return None
        hasher = blake3.blake3(max_threads=blake3.blake3.AUTO)
        for offset in range(0, self.size, 16 * PIECE_SIZE):
            hasher.update(self.read(offset, min(16 * PIECE_SIZE, self.size - offset)))
        digest: bytes = hasher.digest()
        return digest

    def chunks(self) -> list[Piece] | None:
        """How the server would cut it; None without the packages for that."""
        blake3, pyfastcdc = _package("blake3"), _package("pyfastcdc")
        if blake3 is None or pyfastcdc is None:
            return None
        cutter = pyfastcdc.FastCDC(
            avg_size=_CHUNK_USUAL, min_size=_CHUNK_MIN, max_size=_CHUNK_MAX, normalized_chunking=1
        )
        self._file.seek(self._begin)
        return [
            Piece(blake3.blake3(chunk.data).digest(), chunk.offset, chunk.length)
            for chunk in cutter.cut_stream(self._file)
        ]


@contextmanager
def opened(file: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    """A file to read, by its path or open."""
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as own:
            yield own
    else:
        yield file


@contextmanager
def source_of(file: str | os.PathLike[str] | BinaryIO) -> Iterator[Source]:
    """A file to send, by its path or open."""
    with opened(file) as source:
        yield Source(source)


@contextmanager
def target_of(file: str | os.PathLike[str] | BinaryIO) -> Iterator[Any]:
    """A file to receive, open or by its path; under its path it is there whole or not at all."""
    if not isinstance(file, str | os.PathLike):
        yield file
        return
    path = Path(file)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with part.open("xb") as opened:
            yield opened
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _package(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        return None
