"""Lists, of which both ends can be changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from ..errors import Conflict, DecodeError, NotFound
from ..types import Condition, if_absent, if_version
from ..values import Codec, Codecs, TypedCodec

if TYPE_CHECKING:
    from .namespace import Namespace
    from .transaction import Batch

# A name in eight bytes whose order is that of the places, which may be below 0.
_MIDDLE = 2**63
# A cleared list goes on so far behind its old places that those can be removed meanwhile.
_GAP = 2**32
_ATTEMPTS = 100


class List:
    """A list under a key: ``ns.list(key)``. Each call happens as one, whoever else is at work.

    Under the key itself stands where the list begins and ends, ``[first, end]``; the element of a
    place stands under the key, a zero byte and the place in eight bytes.
    """

    def __init__(self, namespace: Namespace, key: bytes) -> None:
        self._namespace = namespace
        self._key = key

    async def length(self) -> int:
        """How many elements there are."""
        first, end, _ = await self._bounds()
        return end - first

    async def push(self, value: Any) -> int:
        """Adds an element at the end; how many there are then."""
        return await self._push(value, at_end=True)

    async def push_left(self, value: Any) -> int:
        """Adds an element at the beginning; how many there are then."""
        return await self._push(value, at_end=False)

    async def pop(self, default: Any = None) -> Any:
        """Takes the last element, or gives ``default`` when there is none."""
        return await self._pop(default, at_end=True)

    async def pop_left(self, default: Any = None) -> Any:
        """Takes the first element, or gives ``default`` when there is none."""
        return await self._pop(default, at_end=False)

    async def get(self, index: int, default: Any = None) -> Any:
        """An element, counted from 0, or from the end below 0; ``default`` when there is none."""
        for _ in range(_ATTEMPTS):
            first, end, _was = await self._bounds()
            place = _place(index, first, end)
            if place is None:
                return default
            try:
                return (await self._namespace.read(self._element(place))).value
            except NotFound as error:
                if error.reason != "KEY_NOT_FOUND":
                    raise
            # It was taken meanwhile.
        raise _contended(self._key)

    async def set(self, index: int, value: Any) -> None:
        """Replaces an element; ``IndexError`` when there is none."""
        for _ in range(_ATTEMPTS):
            first, end, was = await self._bounds()
            place = _place(index, first, end)
            if place is None:
                raise IndexError(f"index {index} of a list of {end - first}")
            batch = self._namespace.batch()
            batch.put(self._element(place), value)
            if await self._done(batch, was):
                return
        raise _contended(self._key)

    async def values(self) -> AsyncIterator[Any]:
        """All elements from the first to the last, as of one moment."""
        first, end = None, None
        async for record in self._namespace.range(self._key, self._key + b"\1").records():
            if record.key == self._key:
                first, end = map(self._element, record.value)
            elif first is not None and end is not None and first <= record.key < end:
                yield record.value

    async def clear(self) -> int:
        """Removes all elements; how many."""
        for _ in range(_ATTEMPTS):
            first, end, was = await self._bounds()
            if first == end:
                return 0
            batch = self._namespace.batch()
            batch.put(self._key, [end + _GAP, end + _GAP])
            if await self._done(batch, was):
                await self._namespace.delete_range(self._element(first), self._element(end))
                return end - first
        raise _contended(self._key)

    async def _push(self, value: Any, *, at_end: bool) -> int:
        for _ in range(_ATTEMPTS):
            first, end, was = await self._bounds()
            place = end if at_end else first - 1
            first, end = (first, end + 1) if at_end else (first - 1, end)
            batch = self._namespace.batch()
            batch.put(self._element(place), value)
            batch.put(self._key, [first, end])
            if await self._done(batch, was):
                return end - first
        raise _contended(self._key)

    async def _pop(self, default: Any, *, at_end: bool) -> Any:
        for _ in range(_ATTEMPTS):
            first, end, was = await self._bounds()
            if first == end:
                return default
            place = end - 1 if at_end else first
            first, end = (first, end - 1) if at_end else (first + 1, end)
            (element,) = await self._namespace.read_many([self._element(place)])
            if element is None:
                # Taken meanwhile.
                continue
            batch = self._namespace.batch()
            # Setting an element leaves the ends as they are.
            batch.require(element.key, if_version(element.version))
            batch.delete(element.key)
            batch.put(self._key, [first, end])
            if await self._done(batch, was):
                return element.value
        raise _contended(self._key)

    async def _bounds(self) -> tuple[int, int, Condition]:
        """The first place and the one behind the last, and what says that they are still so."""
        try:
            record = await self._namespace.read(self._key)
        except NotFound as error:
            if error.reason != "KEY_NOT_FOUND":
                raise
            return 0, 0, if_absent()
        match record.value:
            case [int(first), int(end)]:
                return first, end, if_version(record.version)
        raise DecodeError(
            f"under key {self._key!r} stands something else than a list", reason="NOT_A_LIST"
        )

    async def _done(self, batch: Batch, was: Condition) -> bool:
        """Commits it if nobody else has changed the list's ends."""
        batch.require(self._key, was)
        try:
            await batch.commit()
        except Conflict:
            return False
        return True

    def _element(self, place: int) -> bytes:
        return self._key + b"\0" + (place + _MIDDLE).to_bytes(8, "big")


class CodecsOfList(Codecs):
    """Those of the namespace for the elements; where the list begins and ends is JSON always."""

    def __init__(self, codecs: Codecs, key: bytes) -> None:
        super().__init__(None)
        self._codecs = codecs
        self._key = key
        self._ends = TypedCodec()

    def of(self, key: bytes) -> Codec:
        return self._ends if key == self._key else self._codecs.of(key)


def _place(index: int, first: int, end: int) -> int | None:
    place = first + index if index >= 0 else end + index
    return place if first <= place < end else None


def _contended(key: bytes) -> Conflict:
    return Conflict(
        f"others changed the list {key!r} faster {_ATTEMPTS} times", reason="LIST_CONTENDED"
    )
