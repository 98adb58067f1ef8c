# Made by tools/generate.py from shardkeep/_async: change it there.
"""Backups of a server."""

from __future__ import annotations

from collections.abc import Iterator

from .. import methods
from ..errors import Internal
from ..reports import Backup, OnProgress, backup_of, progress_of
from ..v1 import backup_pb2 as pb
from .connection import Connection, Metadata


class Backups:
    """The backups in the server's backup root; see ``Database.backups``.

    Paths are relative to the root. Work is done on the server, which goes on with a backup or a
    restore even if its client goes away.
    """

    def __init__(self, connection: Connection, metadata: Metadata) -> None:
        self._connection = connection
        self._metadata = metadata

    def create(
        self, path: str, *, since: int = 0, progress: OnProgress | None = None
    ) -> Backup:
        """Writes a full backup, or the changes since the ``max_version`` of the one before."""
        request = pb.CreateBackupRequest(path=path, since_version=since)
        last = self._watch(methods.CREATE_BACKUP, request, progress, idempotent=False)
        return backup_of(last.backup)

    def list(self) -> Iterator[Backup]:
        """All backups, in order of their paths."""
        request = pb.ListBackupsRequest()
        while True:
            page = self._connection.call(
                methods.LIST_BACKUPS,
                request,
                timeout=None,
                idempotent=True,
                metadata=self._metadata,
            )
            for backup in page.backups:
                yield backup_of(backup)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def verify(self, path: str, *, progress: OnProgress | None = None) -> Backup:
        """Reads a backup whole; ``DataLoss`` when it is damaged."""
        request = pb.VerifyBackupRequest(path=path)
        last = self._watch(methods.VERIFY_BACKUP, request, progress, idempotent=True)
        return backup_of(last.backup)

    def restore(self, path: str, *, progress: OnProgress | None = None) -> int:
        """Merges a backup into the store; how many records it held."""
        request = pb.RestoreBackupRequest(path=path)
        last = self._watch(methods.RESTORE_BACKUP, request, progress, idempotent=True)
        return last.restored.record_count

    def delete(self, path: str) -> None:
        """Deletes a backup. Increments that continue it cannot be restored any more."""
        self._connection.call(
            methods.DELETE_BACKUP,
            pb.DeleteBackupRequest(path=path),
            timeout=None,
            idempotent=False,
            metadata=self._metadata,
        )

    def purge(self, keep: int, *, folder: str = "") -> tuple[str, ...]:
        """Deletes all but the newest, and what these continue; the paths of what is gone."""
        response = self._connection.call(
            methods.PURGE_BACKUPS,
            pb.PurgeBackupsRequest(keep=keep, folder=folder),
            timeout=None,
            idempotent=True,
            metadata=self._metadata,
        )
        return tuple(response.paths)

    def _watch(
        self,
        method: methods.Method[methods.Request, methods.Response],
        request: methods.Request,
        on_progress: OnProgress | None,
        *,
        idempotent: bool,
    ) -> methods.Response:
        """The last message of a stream that tells how far the work is."""
        last: methods.Response | None = None
        with self._connection.stream(
            method, request, idempotent=idempotent, metadata=self._metadata
        ) as responses:
            for response in responses:
                last = response
                progress = progress_of(response)
                if progress is not None and on_progress is not None:
                    on_progress(progress)
        if last is None or progress_of(last) is not None:
            raise Internal("the server ended the work without saying what came of it")
        return last
