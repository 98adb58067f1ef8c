"""Client of the storage server shardkeep, for asyncio; ``shardkeep.sync`` is its synchronous twin."""

from ._async.admin import Admin
from ._async.backups import Backups
from ._async.database import Database, connect
from ._async.ids import Ids
from ._async.list import List
from ._async.namespace import Namespace
from ._async.range import Range
from ._async.snapshot import Snapshot
from ._async.transaction import Batch, Changes, Transaction
from ._async.view import View
from ._async.watch import Watch
from .changes import Change, ChangeKind, ChangePage
from .errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    DeadlineExceeded,
    DecodeError,
    Error,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    WatchLost,
    WatchTooSlow,
)
from .files import ExportResult, ImportResult, OnBytes, UploadResult
from .reports import Backup, BackupProgress
from .retry import Retry
from .rules import NamespaceInfo, Rules
from .types import (
    KEEP,
    CommitResult,
    Condition,
    DeleteResult,
    Entry,
    Expires,
    Page,
    PutResult,
    Record,
    if_absent,
    if_digest,
    if_present,
    if_version,
)
from .values import BytesCodec, Codec, JsonCodec, MsgpackCodec, TypedCodec, ValueType

__all__ = [
    "KEEP",
    "Admin",
    "AlreadyExists",
    "Backup",
    "BackupProgress",
    "Backups",
    "Batch",
    "BytesCodec",
    "Change",
    "ChangeKind",
    "ChangePage",
    "Changes",
    "Codec",
    "CommitResult",
    "Condition",
    "Conflict",
    "DataLoss",
    "Database",
    "DeadlineExceeded",
    "DecodeError",
    "DeleteResult",
    "Entry",
    "Error",
    "Expires",
    "ExportResult",
    "FailedPrecondition",
    "Ids",
    "ImportResult",
    "Internal",
    "InvalidArgument",
    "JsonCodec",
    "List",
    "MsgpackCodec",
    "Namespace",
    "NamespaceInfo",
    "NotFound",
    "OnBytes",
    "Page",
    "PermissionDenied",
    "PutResult",
    "Range",
    "Record",
    "ResourceExhausted",
    "Retry",
    "Rules",
    "Snapshot",
    "Transaction",
    "TypedCodec",
    "Unavailable",
    "Unimplemented",
    "UploadResult",
    "ValueType",
    "View",
    "Watch",
    "WatchLost",
    "WatchTooSlow",
    "connect",
    "if_absent",
    "if_digest",
    "if_present",
    "if_version",
]
