# Made by tools/generate.py from shardkeep/_async: change it there.
"""The channels to a server, and what can be called on them."""

from __future__ import annotations

from threading import Lock
from typing import Any

import grpc

from ..errors import Unavailable
from ..methods import Method, Request, Response
from .runtime import Channel, Home, home, open_channel, ready

# Responses that stream stay open while their readers think, so they never share a channel with
# other calls: the server takes 256 calls of a channel at once, and the next ones wait.
_STREAMS_OF_A_LINE = 100


class Line:
    """A channel, and its calls."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        #: Streams that are open.
        self.streams = 0
        self._calls: dict[str, Any] = {}

    def call(self, method: Method[Request, Response], kind: str = "unary_unary") -> Any:
        """What makes calls of a method, which takes and gives one message each, or streams."""
        call = self._calls.get(method.path)
        if call is None:
            make: Any = getattr(self.channel, kind)
            call = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._calls[method.path] = call
        return call


class Wire:
    """A way to a server, made when it is opened or first used, and gone when it is closed."""

    def __init__(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None,
        options: list[tuple[str, Any]],
    ) -> None:
        self.target = target
        self.is_closed = False
        self._credentials = credentials
        self._options = options
        self._lock = Lock()
        # The first one is for single responses.
        self._lines: list[Line] = []
        self._home: Home = None

    def open(self, timeout: float) -> None:
        """Connects, or says that nobody answers."""
        self.is_closed = False
        try:
            if not ready(self.line().channel, timeout):
                raise Unavailable(
                    f"nothing answers at {self.target} within {timeout} s: is the server running?",
                    code=grpc.StatusCode.UNAVAILABLE,
                )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends what is under way; nothing can be called any more."""
        self.is_closed = True
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            line.channel.close()

    def closed(self) -> Unavailable:
        """What a call ends with that was under way."""
        return Unavailable(
            f"the connection to {self.target} was closed meanwhile",
            code=grpc.StatusCode.CANCELLED,
        )

    def line(self) -> Line:
        """The channel for single responses."""
        # Without the lock where nothing is to be done, as nearly always.
        lines = self._lines
        if lines and self._home is home():
            return lines[0]
        with self._lock:
            return self._lines_here()[0]

    def line_of_stream(self) -> Line:
        """A channel for another stream, which is counted there."""
        with self._lock:
            lines = self._lines_here()
            for line in lines[1:]:
                if line.streams < _STREAMS_OF_A_LINE:
                    break
            else:
                line = self._new_line()
                lines.append(line)
            line.streams += 1
            return line

    def end_stream(self, line: Line) -> None:
        """A stream is open no more."""
        with self._lock:
            line.streams -= 1

    def _lines_here(self) -> list[Line]:
        if self.is_closed:
            raise RuntimeError(f"the connection to {self.target} is closed: open it again")
        here = home()
        if self._lines and self._home is not here:
            if not self._home.is_closed():
                raise RuntimeError(
                    f"the connection to {self.target} is of another event loop: "
                    "make one in each loop"
                )
            # Its loop is gone, and its channels with it.
            self._lines = []
        if not self._lines:
            self._home = here
            self._lines = [self._new_line()]
        return self._lines

    def _new_line(self) -> Line:
        return Line(open_channel(self.target, self._credentials, self._options))
