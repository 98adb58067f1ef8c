"""Calls over a channel: deadlines, retries, errors."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from ..errors import Unavailable, of_rpc
from ..methods import Method, Request, Response
from ..retry import Retries, Retry
from .runtime import Channel, open_channel, ready, sleep

#: Names and values that go with a call.
Metadata = tuple[tuple[str, str | bytes], ...]

# The server bounds messages. A server that restarts is back within a second, not after gRPC's
# pauses of up to two minutes.
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Connection:
    """A connection to a server, made when it is opened or first used."""

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None,
        timeout: float,
        retry: Retry,
    ) -> None:
        self.target = target
        self._credentials = credentials
        self._timeout = timeout
        self._retries = Retries(retry)
        self._channel: Channel | None = None
        self._calls: dict[str, Any] = {}

    async def open(self, timeout: float) -> None:
        """Connects, or says that nobody answers."""
        if not await ready(self._connected(), timeout):
            await self.close()
            raise Unavailable(
                f"nothing answers at {self.target} within {timeout} s: is the server running?",
                code=grpc.StatusCode.UNAVAILABLE,
            )

    async def close(self) -> None:
        """Ends the connection and what is under way on it."""
        channel, self._channel = self._channel, None
        self._calls.clear()
        if channel is not None:
            await channel.close()

    async def call(
        self,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout: float | None,
        idempotent: bool,
        metadata: Metadata | None = None,
    ) -> Response:
        """The response, after as many tries as it takes and `timeout` seconds allow."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        tries = 0
        while True:
            tries += 1
            try:
                call = self._call(method, streaming=False)
                left = deadline - time.monotonic()
                response: Response = await call(request, timeout=left, metadata=metadata)
                self._retries.succeeded()
                return response
            except grpc.RpcError as failed:
                error = of_rpc(failed)
                pause = self._retries.pause(error, tries, idempotent=idempotent)
                if pause is None or time.monotonic() + pause >= deadline:
                    raise error from failed
            await sleep(pause)

    async def stream(
        self,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout: float | None,
        idempotent: bool = True,
        metadata: Metadata | None = None,
    ) -> AsyncIterator[Response]:
        """The responses of a call that streams; tried again only while none has come."""
        tries, begun = 0, False
        while True:
            tries += 1
            call = self._call(method, streaming=True)
            responses = call(request, timeout=timeout, metadata=metadata)
            try:
                async for response in responses:
                    begun = True
                    yield response
                self._retries.succeeded()
                return
            except grpc.RpcError as failed:
                error = of_rpc(failed)
                pause = self._retries.pause(error, tries, idempotent=idempotent)
                pause = None if begun else pause
                if pause is None:
                    raise error from failed
            finally:
                responses.cancel()
            await sleep(pause)

    def _call(self, method: Method[Request, Response], *, streaming: bool) -> Any:
        call = self._calls.get(method.path)
        if call is None:
            channel: Any = self._connected()
            make = channel.unary_stream if streaming else channel.unary_unary
            call = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._calls[method.path] = call
        return call

    def _connected(self) -> Channel:
        if self._channel is None:
            self._channel = open_channel(self.target, self._credentials, _OPTIONS)
        return self._channel
