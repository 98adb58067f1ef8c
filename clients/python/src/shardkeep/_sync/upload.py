# Made by tools/generate.py from shardkeep/_async: change it there.
"""Files that go to the server."""

from __future__ import annotations

from collections.abc import Iterator, Callable

from .. import methods
from ..errors import Conflict, NotFound
from ..files import CHUNKED_SIZE, PIECE_SIZE, OnBytes, Piece, Source, UploadResult
from ..types import put_result
from ..v1 import blob_pb2 as pb
from .connection import Connection
from .runtime import in_thread

# Digests that are asked for at once, and chunks of a stream, at most.
_DIGESTS_MAX = 10_000
_CHUNKS_MAX = 65_536


class Upload:
    """A file on its way.

    Where its digests can be told, those are sent first, and then only what the server does not have;
    else, or if that comes to nothing, it is sent whole.
    """

    def __init__(
        self,
        connection: Connection,
        header: pb.UploadHeader,
        source: Source,
        on_progress: OnBytes | None,
        timeout: float,
    ) -> None:
        self._connection = connection
        self._header = header
        self._source = source
        self._on_progress = on_progress
        self._timeout = timeout
        self._idempotent = not header.HasField("condition")
        self._broken: Exception | None = None

    def run(self, *, dedup: bool) -> UploadResult:
        """Sends it."""
        self._header.size = self._source.size
        digest = in_thread(self._source.digest) if dedup else None
        if digest:
            self._header.digest = digest
            found = self._without_bytes()
            if found is None and self._source.size > CHUNKED_SIZE:
                found = self._in_chunks()
            if found is not None:
                self._tell(self._source.size)
                return found
        return self._whole()

    def _without_bytes(self) -> UploadResult | None:
        """What the server did if it has all of it already."""
        if self._missing([self._header.digest]):
            return None
        return self._put_content([], 0)

    def _in_chunks(self) -> UploadResult | None:
        """Sends the chunks that are missing, and puts them together."""
        chunks = in_thread(self._source.chunks)
        if chunks is None or len(chunks) > _CHUNKS_MAX:
            return None
        by_digest = {chunk.digest: chunk for chunk in chunks}
        missing = [by_digest[digest] for digest in self._missing(list(by_digest))]
        if missing:
            self._send(methods.UPLOAD_CHUNKS, lambda: self._chunk_requests(missing))
        return self._put_content(chunks, sum(chunk.size for chunk in missing))

    def _whole(self) -> UploadResult:
        response = self._send(methods.UPLOAD, self._requests)
        return UploadResult(
            put_result(response.put), response.size, response.sum64, response.new_bytes
        )

    def _missing(self, digests: list[bytes]) -> list[bytes]:
        missing: list[bytes] = []
        for begin in range(0, len(digests), _DIGESTS_MAX):
            request = pb.FindMissingRequest(digests=digests[begin : begin + _DIGESTS_MAX])
            response = self._connection.call(
                methods.FIND_MISSING, request, timeout=None, idempotent=True
            )
            missing.extend(response.missing_digests)
        return missing

    def _put_content(self, chunks: list[Piece], new_bytes: int) -> UploadResult | None:
        header = self._header
        request = pb.PutContentRequest(
            namespace=header.namespace,
            key=header.key,
            condition=header.condition if header.HasField("condition") else None,
            expiry=header.expiry if header.HasField("expiry") else None,
            digest=header.digest,
            chunks=[pb.Chunk(digest=chunk.digest, size=chunk.size) for chunk in chunks],
            size=header.size,
            value_type=header.value_type,
            metadata=header.metadata,
        )
        try:
            done = self._connection.call(
                methods.PUT_CONTENT, request, timeout=self._timeout, idempotent=self._idempotent
            )
        except (NotFound, Conflict) as error:
            if error.reason not in ("CONTENT_NOT_FOUND", "CHUNKS_MISSING"):
                raise
            # It was reclaimed meanwhile.
            return None
        return UploadResult(put_result(done.put), done.size, done.sum64, new_bytes)

    def _send(
        self,
        method: methods.Method[methods.Request, methods.Response],
        requests: Callable[[], Iterator[methods.Request]],
    ) -> methods.Response:
        try:
            return self._connection.send(
                method, requests, timeout=self._timeout, idempotent=self._idempotent
            )
        except BaseException:
            # What reading the file has raised, of which gRPC says nothing.
            broken, self._broken = self._broken, None
            if broken is not None:
                raise broken from None
            raise

    def _requests(self) -> Iterator[pb.UploadRequest]:
        yield pb.UploadRequest(header=self._header)
        for offset in range(0, self._source.size, PIECE_SIZE):
            size = min(PIECE_SIZE, self._source.size - offset)
            yield pb.UploadRequest(data=self._read(offset, size))
            self._tell(offset + size)

    def _chunk_requests(self, chunks: list[Piece]) -> Iterator[pb.UploadChunksRequest]:
        done = self._source.size - sum(chunk.size for chunk in chunks)
        for chunk in chunks:
            data = self._read(chunk.offset, chunk.size)
            yield pb.UploadChunksRequest(data=data, digest=chunk.digest)
            done += chunk.size
            self._tell(done)

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return in_thread(self._source.read, offset, size)
        except Exception as error:
            self._broken = error
            raise

    def _tell(self, done: int) -> None:
        if self._on_progress is not None:
            self._on_progress(done, self._source.size)
