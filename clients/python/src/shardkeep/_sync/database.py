# Made by tools/generate.py from shardkeep/_async: change it there.
"""A store, seen from its client."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Any

import grpc

from .. import methods
from ..retry import NO_RETRY, Retry
from ..rules import CHANGEABLE, NamespaceInfo, Rules, namespace_of, options_message
from ..v1 import namespace_pb2 as pb
from ..values import Codecs, CodecTable
from .admin import Admin
from .backups import Backups
from .connection import Connection, Metadata
from .namespace import Namespace
from .snapshot import Snapshot
from .transaction import Transaction


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

    def __enter__(self) -> Database:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Database at {self._connection.target}>"

    def open(self) -> None:
        """Connects; ``Unavailable`` when nobody answers. ``with`` does it."""
        self._connection.open(self._connect_timeout)

    def close(self) -> None:
        """Ends the connection. ``with`` does it."""
        self._connection.close()

    def __getitem__(self, name: str) -> Namespace:
        return self.namespace(name)

    @property
    def default(self) -> Namespace:
        """The namespace that is always there."""
        return self.namespace("")

    def transaction(self) -> Transaction:
        """A transaction in the default namespace; see ``Namespace.transaction``."""
        return self.default.transaction()

    def namespace(self, name: str, *, codecs: CodecTable | None = None) -> Namespace:
        """A namespace, with codecs of its own beside those of the connection."""
        return Namespace(self._connection, name, Codecs({**self._codecs, **(codecs or {})}))

    def snapshot(self, lease: timedelta = timedelta(minutes=1)) -> Snapshot:
        """The store at one moment, to be used in ``with``: 1 s to 1 hour, unless renewed."""
        return Snapshot(self._connection, self._codecs, lease)

    @property
    def admin(self) -> Admin:
        """Administration, with the ``admin_password`` of ``connect``."""
        return Admin(self._connection, self._admin)

    @property
    def backups(self) -> Backups:
        """Backups, with the ``admin_password`` of ``connect``."""
        return Backups(self._connection, self._admin)

    def create_namespace(
        self, name: str, rules: Rules = Rules(), *, timeout: float | None = None
    ) -> Namespace:
        """Makes a namespace; ``AlreadyExists`` when it is there."""
        request = pb.CreateNamespaceRequest(name=name, options=options_message(rules))
        self._connection.call(
            methods.CREATE_NAMESPACE, request, timeout=timeout, idempotent=False
        )
        return self.namespace(name)

    def describe_namespace(
        self, name: str = "", *, timeout: float | None = None
    ) -> NamespaceInfo:
        """What a namespace is and holds; ``NotFound`` when it is not there."""
        request = pb.GetNamespaceRequest(name=name)
        told = self._connection.call(
            methods.GET_NAMESPACE, request, timeout=timeout, idempotent=True
        )
        return namespace_of(told)

    def list_namespaces(self, *, timeout: float | None = None) -> list[NamespaceInfo]:
        """All namespaces in the order of their names; ``timeout`` is for each page of them."""
        request = pb.ListNamespacesRequest(page_size=1000)
        found: list[NamespaceInfo] = []
        while True:
            page = self._connection.call(
                methods.LIST_NAMESPACES, request, timeout=timeout, idempotent=True
            )
            found.extend(namespace_of(message) for message in page.namespaces)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def update_namespace(
        self, name: str, *, timeout: float | None = None, **changes: Any
    ) -> NamespaceInfo:
        """Changes rules of a namespace, those of ``Rules`` but ``by_content``, by their names."""
        for rule in changes:
            if rule not in CHANGEABLE:
                raise ValueError(f"{rule} cannot be changed: only {', '.join(CHANGEABLE)} can")
        request = pb.UpdateNamespaceRequest(
            namespace=pb.Namespace(name=name, options=options_message(Rules(**changes)))
        )
        request.update_mask.paths.extend(f"options.{rule}" for rule in changes)
        changed = self._connection.call(
            methods.UPDATE_NAMESPACE, request, timeout=timeout, idempotent=True
        )
        return namespace_of(changed)

    def drop_namespace(self, name: str, *, timeout: float | None = None) -> None:
        """Drops a namespace with everything in it; ``NotFound`` when it is not there."""
        request = pb.DropNamespaceRequest(name=name)
        self._connection.call(
            methods.DROP_NAMESPACE, request, timeout=timeout, idempotent=False
        )


def connect(
    target: str = "127.0.0.1:8282",
    *,
    codecs: CodecTable | None = None,
    timeout: float = 60.0,
    connect_timeout: float = 5.0,
    keepalive: float = 20.0,
    retry: Retry | None = Retry(),
    credentials: grpc.ChannelCredentials | None = None,
    admin_password: str | None = None,
) -> Database:
    """A store at ``HOST:PORT``, to be used in ``with``.

    ``codecs``: how values are stored, by key prefix. ``timeout``: seconds for a call that names
    none. ``connect_timeout``: seconds until the server must have answered for the first time.
    ``keepalive``: seconds after which a silent server is asked whether it still lives, and within
    which it has to say so. ``retry``: how calls are tried again; None for not at all.
    ``credentials``: for a TLS proxy in front of the server. ``admin_password``: for ``admin`` and
    ``backups``; a server without a password asks for none on its own machine.
    """
    connection = Connection(
        target,
        credentials=credentials,
        timeout=timeout,
        keepalive=keepalive,
        retry=retry or NO_RETRY,
    )
    return Database(connection, codecs or {}, connect_timeout, admin_password)
