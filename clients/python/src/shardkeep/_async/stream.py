"""Calls that stream their responses."""

from __future__ import annotations

from threading import Lock
from types import TracebackType
from typing import Any, Generic

import grpc

from ..errors import of_rpc
from ..methods import Method, Request, Response
from ..retry import Retries
from .runtime import Cancelled, is_cancelled, sleep
from .wire import Line, Wire


class Stream(Generic[Request, Response]):
    """The responses of a call, to be walked inside ``with``, which ends the call.

    It is begun again where that may be: before the first response, or after any for a call that
    ``resumes``, whose request then says where to go on.
    """

    def __init__(
        self,
        wire: Wire,
        retries: Retries,
        method: Method[Request, Response],
        request: Request,
        options: dict[str, Any],
        *,
        idempotent: bool,
        resumes: bool,
    ) -> None:
        self._wire = wire
        self._retries = retries
        self._method = method
        self._request = request
        self._options = options
        self._idempotent = idempotent
        self._resumes = resumes
        self._lock = Lock()
        self._line: Line | None = None
        self._call: Any = None
        self._responses: Any = None
        self._tries = 0
        self._has_begun = False
        self._is_over = False

    def __enter__(self) -> Stream[Request, Response]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def __aiter__(self) -> Stream[Request, Response]:
        return self

    async def __anext__(self) -> Response:
        while not self._is_over:
            try:
                response = await self._next()
                # This call is the first try of what comes next.
                self._tries, self._has_begun = 1, True
                return response
            except StopAsyncIteration:
                self._retries.succeeded()
                self.end()
            except Cancelled:
                self._drop()
                if is_cancelled() or not (self._is_over or self._wire.is_closed):
                    raise
                self._check_connection()
            except grpc.RpcError as failed:
                self._drop()
                if not self._is_over:
                    self._check_connection()
                    await sleep(self._pause(failed))
        raise StopAsyncIteration

    def end(self) -> None:
        """Ends the call, whoever walks it: the walk stops."""
        self._is_over = True
        self._drop()

    async def _next(self) -> Response:
        if self._call is None:
            self._tries += 1
            self._line = self._wire.line_of_stream()
            start = self._line.call(self._method, "unary_stream")
            self._call = start(self._request, **self._options)
            self._responses = self._call.__aiter__()
            if self._is_over:
                # Another thread has ended it just now, and did not see this call.
                raise StopAsyncIteration
        response: Response = await anext(self._responses)
        return response

    def _pause(self, failed: grpc.RpcError) -> float:
        """Seconds until the next try; raises the error when there is none."""
        error = of_rpc(failed)
        pause = self._retries.pause(error, self._tries, idempotent=self._idempotent)
        if pause is None or (self._has_begun and not self._resumes):
            raise error from failed
        return pause

    def _check_connection(self) -> None:
        if self._wire.is_closed and not self._is_over:
            raise self._wire.closed() from None

    def _drop(self) -> None:
        with self._lock:
            call, self._call = self._call, None
            line, self._line = self._line, None
        if call is not None:
            call.cancel()
        if line is not None:
            self._wire.end_stream(line)
