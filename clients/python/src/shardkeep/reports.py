"""What is told of backups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .v1 import backup_pb2 as pb


@dataclass(frozen=True)
class Backup:
    """A file in the backup root."""

    #: Relative to the backup root.
    path: str
    #: Bytes of the file.
    size: int
    create_time: datetime
    #: It holds the changes after this version, 0 for a full backup; None when it does not say.
    since_version: int | None
    #: The version up to which it is complete: the ``since`` of the next increment.
    max_version: int | None
    #: Backups of a chain continue each other.
    chain: str
    #: Of keys, deletes included.
    records: int
    #: Why it cannot be restored, as far as its two ends show; empty if it can.
    problem: str


@dataclass(frozen=True)
class BackupProgress:
    """How far a backup, a check or a restore is, in bytes of the file."""

    written: int
    #: Read back and checked.
    checked: int
    #: 0 while it is not known.
    total: int


#: Hears how far the work is, a few times a second.
OnProgress = Callable[[BackupProgress], object]


def backup_of(message: pb.Backup) -> Backup:
    """A backup as it came."""
    return Backup(
        path=message.path,
        size=message.size_bytes,
        create_time=message.create_time.ToDatetime(timezone.utc),
        since_version=message.since_version if message.HasField("since_version") else None,
        max_version=message.max_version if message.HasField("max_version") else None,
        chain=message.chain,
        records=message.record_count,
        problem=message.problem,
    )


def progress_of(event: Any) -> BackupProgress | None:
    """The progress that an event tells; None for the last one."""
    if not event.HasField("progress"):
        return None
    progress: pb.BackupProgress = event.progress
    return BackupProgress(
        progress.written_bytes, progress.checked_bytes, progress.total_bytes
    )
