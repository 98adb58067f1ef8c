"""The synchronous twin: the same names, without ``async`` and ``await``, for any thread."""

from ._sync.admin import Admin
from ._sync.backups import Backups
from ._sync.database import Database, connect
from ._sync.ids import Ids
from ._sync.list import List
from ._sync.namespace import Namespace
from ._sync.range import Range
from ._sync.snapshot import Snapshot
from ._sync.transaction import Batch, Changes, Transaction
from ._sync.view import View
from ._sync.watch import Watch

__all__ = [
    "Admin",
    "Backups",
    "Batch",
    "Changes",
    "Database",
    "Ids",
    "List",
    "Namespace",
    "Range",
    "Snapshot",
    "Transaction",
    "View",
    "Watch",
    "connect",
]
