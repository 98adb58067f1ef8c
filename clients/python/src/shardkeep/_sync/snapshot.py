# Made by tools/generate.py from shardkeep/_async: change it there.
"""The store at one moment."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from types import TracebackType

from .. import methods
from ..errors import DeadlineExceeded, NotFound, Unavailable
from ..v1 import snapshot_pb2 as pb
from ..values import Codecs, CodecTable
from .connection import Connection
from .view import View

# Seconds to let a snapshot go: nobody's work is kept waiting for it long.
_PATIENCE = 5.0


class Snapshot:
    """The store as it was when ``with`` was entered, for reads that belong together.

    It is held under a lease, and let go at the end of the block, when the lease ends, and when the
    server starts anew; reads then raise ``NotFound`` (``SNAPSHOT_NOT_FOUND``).
    """

    def __init__(self, connection: Connection, codecs: CodecTable, lease: timedelta) -> None:
        self._connection = connection
        self._codecs = codecs
        self._lease = lease
        self._held: pb.Snapshot | None = None
        self._renew_at = 0.0

    def __enter__(self) -> Snapshot:
        self.hold()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getitem__(self, name: str) -> View:
        return self.namespace(name)

    @property
    def id(self) -> str:
        """Its name on the server."""
        return self._taken().id

    @property
    def version(self) -> int:
        """Every change up to this version is in it, and none after."""
        return self._taken().version

    @property
    def expire_time(self) -> datetime:
        """When its lease ends, in UTC."""
        return self._taken().expire_time.ToDatetime(timezone.utc)

    @property
    def default(self) -> View:
        """The namespace that is always there, as it was."""
        return self.namespace("")

    def namespace(self, name: str, *, codecs: CodecTable | None = None) -> View:
        """A namespace as it was, with codecs of its own beside those of the connection."""
        codecs = {**self._codecs, **(codecs or {})}
        return View(self._connection, name, Codecs(codecs), self.id)

    def renew(self, lease: timedelta | None = None) -> None:
        """Gives it a new lease from now on."""
        request = pb.RenewSnapshotRequest(id=self.id)
        self._lease = lease or self._lease
        request.lease.FromTimedelta(self._lease)
        self._held = self._connection.call(
            methods.RENEW_SNAPSHOT, request, timeout=None, idempotent=True
        )
        self._renew_at = self._half_a_lease_on()

    def hold(self) -> None:
        """Takes it, unless it is taken; then renews a lease that is half over."""
        if self._held is not None:
            if time.monotonic() >= self._renew_at:
                self.renew()
            return
        request = pb.CreateSnapshotRequest()
        request.lease.FromTimedelta(self._lease)
        self._held = self._connection.call(
            methods.CREATE_SNAPSHOT, request, timeout=None, idempotent=True
        )
        self._renew_at = self._half_a_lease_on()

    def close(self) -> None:
        """Lets it go. ``with`` does it.

        Where that cannot be said to the server now, the end of the lease does it.
        """
        held, self._held = self._held, None
        if held is None:
            return
        request = pb.DeleteSnapshotRequest(id=held.id)
        try:
            self._connection.call(
                methods.DELETE_SNAPSHOT, request, timeout=_PATIENCE, idempotent=False
            )
        except (NotFound, Unavailable, DeadlineExceeded):
            pass

    def _half_a_lease_on(self) -> float:
        return time.monotonic() + self._lease.total_seconds() / 2

    def _taken(self) -> pb.Snapshot:
        if self._held is None:
            raise RuntimeError("the snapshot is not taken: use it in `with`")
        return self._held
