"""Changes as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType

from ..changes import Change, ChangePage, change_of
from ..errors import Unavailable, WatchLost, WatchTooSlow
from ..methods import WATCH
from ..records import Reader
from ..v1 import watch_pb2 as pb
from .connection import Connection
from .stream import Stream


class Watch:
    """The changes of a range, in the order of their versions, each once and none left out.

    ``async with`` returns when the watch has begun, and ends it; a watch that is walked without has
    begun when it gives its first change. It goes on by itself after a break. When the walk ends,
    with an error or a ``break``, another one over the same watch goes on where that one was.

    One task walks it at a time; anybody may ``close`` it.
    """

    def __init__(self, connection: Connection, reader: Reader, request: pb.WatchRequest) -> None:
        self._connection = connection
        self._reader = reader
        self._request = request
        self._stream: Stream[pb.WatchRequest, pb.WatchResponse] | None = None
        self._events: deque[pb.WatchEvent] = deque()
        # The version once these events are given.
        self._next_version = 0
        # Of a batch that takes several messages: what was given of it. A watch that begins anew in
        # the middle gets all of it.
        self._given: set[tuple[int, bytes]] = set()
        self._is_closed = False
        self._is_walked = False

    async def __aenter__(self) -> Watch:
        if self._stream is None and not self._events:
            await self._take()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        while not self._events:
            if not await self._take():
                raise StopAsyncIteration
        return self._give()

    async def pages(self) -> AsyncIterator[ChangePage]:
        """Changes as they come together, and without any, now and then, how far the watch is."""
        while self._events or await self._take():
            changes = [self._give() for _ in range(len(self._events))]
            yield ChangePage(changes, self._next_version)

    @property
    def version(self) -> int | None:
        """Every change up to this version was given: ``after`` of a watch that goes on.

        It stands still in the middle of a batch. None before the watch has begun, if that is from
        now on.
        """
        return self._request.after_version if self._request.HasField("after_version") else None

    def close(self) -> None:
        """Ends the watch, from any task: whoever walks it is at the end. ``async with`` does it."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.end()

    def _give(self) -> Change:
        event = self._events.popleft()
        if event.version > self._next_version:
            self._given.add((event.version, event.key))
        if not self._events:
            self._advance()
        return change_of(event, self._reader)

    async def _take(self) -> bool:
        """The next message; False at the end."""
        if self._is_walked:
            raise RuntimeError("the watch is walked by another already: make one for each")
        if self._stream is None:
            self._stream = self._connection.stream(WATCH, self._request, resumes=True)
        if self._is_closed:
            return False
        self._is_walked, has_ended = True, True
        try:
            message = await anext(self._stream)
            has_ended = False
        except StopAsyncIteration:
            if self._is_closed:
                return False
            raise Unavailable("the server ended the watch and said nothing: walk it again") from None
        except (WatchTooSlow, WatchLost) as error:
            error.version = self.version or 0
            raise
        finally:
            self._is_walked = False
            if has_ended:
                # Another walk begins another stream.
                self._stream.end()
                self._stream = None
        self._events.extend(
            event for event in message.events if (event.version, event.key) not in self._given
        )
        self._next_version = message.version
        if not self._events:
            self._advance()
        return True

    def _advance(self) -> None:
        """All of a message was given."""
        if self.version is None or self._next_version > self.version:
            self._request.after_version = self._next_version
            self._given = {row for row in self._given if row[0] > self._next_version}
