"""A store, seen from its client."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType

import grpc

from ..retry import NO_RETRY, Retry
from ..values import Codecs, CodecTable
from .admin import Admin
from .backups import Backups
from .connection import Connection, Metadata
from .namespace import Namespace
from .snapshot import Snapshot


class Database:
    """A store behind a connection; see ``connect``."""

    def __init__(
        self,
        connection: Connection,
        codecs: CodecTable,
        connect_timeout: float,
        admin_password: str | None = None,
    ) -> None:
        self._connection = connection
        self._admin: Metadata = ()
        if admin_password is not None:
            self._admin = (("admin-password-bin", admin_password.encode()),)
        self._codecs = codecs
        self._connect_timeout = connect_timeout

    async def __aenter__(self) -> Database:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Database at {self._connection.target}>"

    async def open(self) -> None:
        """Connects; ``Unavailable`` when nobody answers. ``async with`` does it."""
        await self._connection.open(self._connect_timeout)

    async def close(self) -> None:
        """Ends the connection. ``async with`` does it."""
        await self._connection.close()

    def __getitem__(self, name: str) -> Namespace:
        return self.namespace(name)

    @property
    def default(self) -> Namespace:
        """The namespace that is always there."""
        return self.namespace("")

    def namespace(self, name: str, *, codecs: CodecTable | None = None) -> Namespace:
        """A namespace, with codecs of its own beside those of the connection."""
        return Namespace(self._connection, name, Codecs({**self._codecs, **(codecs or {})}))

    def snapshot(self, lease: timedelta = timedelta(minutes=1)) -> Snapshot:
        """The store at one moment, to be used in ``async with``: 1 s to 1 hour, unless renewed."""
        return Snapshot(self._connection, self._codecs, lease)

    @property
    def admin(self) -> Admin:
        """Administration, with the ``admin_password`` of ``connect``."""
        return Admin(self._connection, self._admin)

    @property
    def backups(self) -> Backups:
        """Backups, with the ``admin_password`` of ``connect``."""
        return Backups(self._connection, self._admin)


def connect(
    target: str = "127.0.0.1:8282",
    *,
    codecs: CodecTable | None = None,
    timeout: float = 60.0,
    connect_timeout: float = 5.0,
    retry: Retry | None = Retry(),
    credentials: grpc.ChannelCredentials | None = None,
    admin_password: str | None = None,
) -> Database:
    """A store at ``HOST:PORT``, to be used in ``async with``.

    ``codecs``: how values are stored, by key prefix. ``timeout``: seconds for a call that names
    none. ``connect_timeout``: seconds until the server must have answered for the first time.
    ``retry``: how calls are tried again; None for not at all. ``credentials``: for a TLS proxy in
    front of the server. ``admin_password``: for ``admin`` and ``backups``; a server without a
    password asks for none on its own machine.
    """
    connection = Connection(
        target, credentials=credentials, timeout=timeout, retry=retry or NO_RETRY
    )
    return Database(connection, codecs or {}, connect_timeout, admin_password)
