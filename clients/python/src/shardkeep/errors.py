"""What can go wrong, as the server's table of errors has it.

Programs match the class, or ``reason``, a documented word such as ``KEY_EXISTS``. The text names
the thing, the value, the limit and the remedy.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import message
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"


class Error(Exception):
    """An error of the server, or of the way to it."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        field: str | None = None,
        retry_after: float | None = None,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
    ) -> None:
        super().__init__(message)
        #: The documented word for what went wrong; empty when the server did not say one.
        self.reason = reason
        #: The field of the request that is wrong.
        self.field = field
        #: Seconds after which the same request is worth another try; it changed nothing.
        self.retry_after = retry_after
        #: The status of gRPC.
        self.code = code
        #: Whether the call itself was sent, rather than what must be known before it.
        self.was_sent = True

    @property
    def outcome_unknown(self) -> bool:
        """Whether a write may have happened all the same: read before you write again."""
        return self.was_sent and self.retry_after is None and self.code in _OPEN


class NotFound(Error):
    """The key, or the namespace, is not there."""


class AlreadyExists(Error):
    """The key, or the namespace, is there already."""


class Conflict(Error):
    """A condition does not hold, or others were faster: read again, then retry."""


class WatchTooSlow(Conflict):
    """A watch was cut off because nobody took its changes: walk it again, and it goes on."""

    #: The version up to which it has given every change.
    version: int = 0


class WatchLost(Conflict):
    """A watch cannot go on: what comes after ``version`` is not in the server's log any more, or came
    by a restore. Read what is there from a snapshot, and watch after that snapshot's version."""

    #: The version up to which it has given every change.
    version: int = 0


class FailedPrecondition(Error):
    """The operator, or the namespace, does not allow it."""


class PermissionDenied(Error):
    """The caller may not do this."""


class ResourceExhausted(Error):
    """The disk is full, or too much is in flight; see ``retry_after``."""


class InvalidArgument(Error, ValueError):
    """The request can never succeed as it is; see ``field``."""


class DataLoss(Error):
    """Stored data is damaged, or a value arrived that is not what its checksum says."""


class DecodeError(Error, ValueError):
    """The codec of a key cannot read what is stored there: another one has written it."""


class Unavailable(Error):
    """The server cannot be reached or cannot answer now; see ``outcome_unknown``."""


class DeadlineExceeded(Error, TimeoutError):
    """The time was up. Whether a write happened is not known."""


class Unimplemented(Error):
    """The server is older than this call."""


class Internal(Error):
    """A bug of the server."""


_OPEN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}

_CLASSES: dict[grpc.StatusCode, type[Error]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.DATA_LOSS: DataLoss,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.INTERNAL: Internal,
    # A server that ends a call on its way.
    grpc.StatusCode.CANCELLED: Unavailable,
}

# What asyncio's gRPC says, not the server, of a call that could not go on because its connection broke.
_BROKEN_CALL = "Internal error from Core"

# Where a reason has a class of its own.
_OF_REASON: dict[str, type[Error]] = {
    "WATCH_TOO_SLOW": WatchTooSlow,
    "WATCH_COMPACTED": WatchLost,
    "WATCH_RESTORED": WatchLost,
}


def of_rpc(error: grpc.RpcError) -> Error:
    """The error that a call ended with."""
    call: Any = error
    code: grpc.StatusCode = call.code()
    reason, field, retry_after = "", None, None
    for detail in _details(call.trailing_metadata()):
        if isinstance(detail, error_details_pb2.ErrorInfo):
            reason = detail.reason
        elif isinstance(detail, error_details_pb2.BadRequest):
            field = next((violation.field for violation in detail.field_violations), None)
        elif isinstance(detail, error_details_pb2.RetryInfo):
            retry_after = detail.retry_delay.ToTimedelta().total_seconds()
    if code is grpc.StatusCode.INTERNAL and call.details() == _BROKEN_CALL:
        code = grpc.StatusCode.UNAVAILABLE
    kind = _OF_REASON.get(reason) or _CLASSES.get(code, Error)
    return kind(
        call.details() or code.name,
        reason=reason,
        field=field,
        retry_after=retry_after,
        code=code,
    )


def _details(metadata: Any) -> list[Any]:
    """The ``google.rpc`` details that stand in the trailers; none when they are not readable."""
    packed = next((value for name, value in metadata or () if name == _DETAILS), b"")
    try:
        status = status_pb2.Status.FromString(packed)
    except message.DecodeError:
        return []
    known = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
    details = []
    for packed_detail in status.details:
        for kind in known:
            detail = kind()
            if packed_detail.Unpack(detail):
                details.append(detail)
    return details
