"""Calls to a server: deadlines, retries, errors."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import chain, repeat
from typing import Any

import grpc

from ..errors import Error, of_rpc
from ..methods import COMMIT, Method, Request, Response
from ..retry import Retries, Retry
from .runtime import Cancelled, is_cancelled, sleep
from .stream import Stream
from .wire import Wire

#: Names and values that go with a call.
Metadata = tuple[tuple[str, str | bytes], ...]


def _options(keepalive: float) -> list[tuple[str, Any]]:
    """The server bounds messages. One that restarts is back within a second, not after gRPC's pauses
    of up to two minutes. One that vanished without a word is noticed.

    gRPC's own retries are off, for ours do it all: gRPC puts a call that met a connection's GOAWAY onto
    the next connection, and where that one has its GOAWAY already the call is never answered.
    """
    return [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.min_reconnect_backoff_ms", 5000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.keepalive_time_ms", int(keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", int(keepalive * 1000)),
        ("grpc.http2.ping_timeout_ms", int(keepalive * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_retries", 0),
        # Each channel is a connection of its own.
        ("grpc.use_local_subchannel_pool", 1),
    ]


class Connection:
    """A connection to a server, made when it is opened or first used."""

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None,
        timeout: float,
        keepalive: float,
        retry: Retry,
    ) -> None:
        self.target = target
        self._timeout = timeout
        self._retries = Retries(retry)
        #: Which run of the server answered the last write; 0 while that is not known.
        self.run = 0
        self._wire = Wire(target, credentials, _options(keepalive))

    async def open(self, timeout: float) -> None:
        """Connects, or says that nobody answers."""
        await self._wire.open(timeout)

    async def close(self) -> None:
        """Ends the connection and what is under way on it."""
        await self._wire.close()

    async def call(
        self,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout: float | None,
        idempotent: bool,
        metadata: Metadata | None = None,
        again: Request | None = None,
    ) -> Response:
        """The response, after as many tries as it takes and `timeout` seconds allow.

        ``again``: what is sent from the second try on, if that is something else.
        """
        requests = chain([request], repeat(again or request))

        async def once(left: float) -> Response:
            call = self._wire.line().call(method)
            response: Response = await call(next(requests), timeout=left, metadata=metadata)
            return response

        return await self._tried(once, timeout, idempotent=idempotent)

    async def write(
        self,
        method: Method[Any, Response],
        request: Any,
        *,
        timeout: float | None,
        same: bool,
        named: bool = False,
    ) -> Response:
        """As ``call``, of a write under a name.

        ``same``: whether a second one leaves what the first has left. Else it is sent again only to the
        run of the server that knows it, which is asked for before the first such write. ``named``: the
        name is the caller's own, and whichever run gets it does it.
        """
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        again = None
        if not same and self._retries.may_repeat:
            if not self.run:
                await self._ask_for_run(deadline - time.monotonic())
            if self.run:
                again = type(request)(only_run=self.run)
                again.MergeFrom(request)
        response = await self.call(
            method,
            request,
            timeout=deadline - time.monotonic(),
            idempotent=same or named or again is not None,
            again=again,
        )
        self.run = getattr(response, "run", 0) or self.run
        return response

    async def _ask_for_run(self, timeout: float) -> None:
        """Learns which run of the server answers: a commit of nothing tells, and does nothing."""
        try:
            nothing = await self.call(COMMIT, COMMIT.request(), timeout=timeout, idempotent=True)
        except Error as error:
            error.was_sent = False
            raise
        self.run = nothing.run

    async def send(
        self,
        method: Method[Request, Response],
        requests: Callable[[], AsyncIterator[Request]],
        *,
        timeout: float,
        idempotent: bool,
    ) -> Response:
        """As ``call``, of a call that takes a stream, which is made anew for each try."""

        async def once(left: float) -> Response:
            line = self._wire.line_of_stream()
            try:
                call = line.call(method, "stream_unary")
                response: Response = await call(requests(), timeout=left)
                return response
            finally:
                self._wire.end_stream(line)

        return await self._tried(once, timeout, idempotent=idempotent)

    async def _tried(
        self,
        once: Callable[[float], Awaitable[Response]],
        timeout: float | None,
        *,
        idempotent: bool,
    ) -> Response:
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        tries = 0
        while True:
            tries += 1
            try:
                response = await once(deadline - time.monotonic())
                self._retries.succeeded()
                return response
            except Cancelled:
                if is_cancelled() or not self._wire.is_closed:
                    raise
                raise self._wire.closed() from None
            except grpc.RpcError as failed:
                if self._wire.is_closed:
                    raise self._wire.closed() from failed
                error = of_rpc(failed)
                pause = self._retries.pause(error, tries, idempotent=idempotent)
                if pause is None or time.monotonic() + pause >= deadline:
                    raise error from failed
            await sleep(pause)

    def stream(
        self,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout: float | None = None,
        idempotent: bool = True,
        resumes: bool = False,
        metadata: Metadata | None = None,
    ) -> Stream[Request, Response]:
        """The responses of a call that streams, begun again as ``Stream`` has it."""
        return Stream(
            self._wire,
            self._retries,
            method,
            request,
            {"timeout": timeout, "metadata": metadata},
            idempotent=idempotent,
            resumes=resumes,
        )
