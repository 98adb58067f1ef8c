"""What namespaces are: their rules, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone

from .v1 import namespace_pb2 as pb


@dataclass(frozen=True)
class Rules:
    """The rules of a namespace."""

    #: Whether values stand under their digest; it cannot be changed later.
    by_content: bool = False
    #: Whether a key takes another value.
    overwrite: bool = True
    #: How long a key stays whose put says nothing of it; None for ever.
    default_ttl: timedelta | None = None
    #: Bytes of the largest value; None for what the server takes.
    value_size_max: int | None = None
    #: Whether values are compressed.
    compress: bool = True
    #: Whether a large value that is in the store already is shared.
    dedup: bool = True


@dataclass(frozen=True)
class NamespaceInfo:
    """A namespace, and what it holds."""

    name: str
    rules: Rules
    #: When it was made, in UTC; None for the default one.
    create_time: datetime | None
    #: The version of its last change; 0 for the default one.
    version: int
    keys: int
    #: Bytes of all values.
    logical_bytes: int
    #: Bytes of the values that stand with their keys: large ones that are shared count with the
    #: default namespace.
    unique_bytes: int
    #: Of the same values, the bytes that are stored.
    stored_bytes: int


#: The rules that can be changed.
CHANGEABLE = [field.name for field in fields(Rules) if field.name != "by_content"]


def options_message(rules: Rules) -> pb.NamespaceOptions:
    """Rules on the wire."""
    message = pb.NamespaceOptions(
        key_mode=pb.KEY_MODE_CONTENT if rules.by_content else pb.KEY_MODE_USER,
        overwrite=rules.overwrite,
        value_size_max=rules.value_size_max or 0,
        compress=rules.compress,
        dedup=rules.dedup,
    )
    if rules.default_ttl is not None:
        message.default_ttl.FromTimedelta(rules.default_ttl)
    return message


def namespace_of(message: pb.Namespace) -> NamespaceInfo:
    """A namespace as it came."""
    options, counts = message.options, message.counts
    made = message.HasField("create_time")
    expires = options.HasField("default_ttl")
    return NamespaceInfo(
        name=message.name,
        rules=Rules(
            by_content=options.key_mode == pb.KEY_MODE_CONTENT,
            overwrite=options.overwrite,
            default_ttl=options.default_ttl.ToTimedelta() if expires else None,
            value_size_max=options.value_size_max or None,
            compress=options.compress,
            dedup=options.dedup,
        ),
        create_time=message.create_time.ToDatetime(timezone.utc) if made else None,
        version=message.version,
        keys=counts.keys,
        logical_bytes=counts.logical_bytes,
        unique_bytes=counts.unique_bytes,
        stored_bytes=counts.stored_bytes,
    )
