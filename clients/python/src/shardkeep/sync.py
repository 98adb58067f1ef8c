"""The synchronous twin: the same names, without ``async`` and ``await``, for any thread."""

from ._sync.database import Database, connect
from ._sync.namespace import Namespace
from ._sync.range import Range

__all__ = ["Database", "Namespace", "Range", "connect"]
