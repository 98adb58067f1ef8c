"""Administration of a server."""

from __future__ import annotations

from collections.abc import Callable

from .. import methods
from ..v1 import admin_pb2 as pb
from .connection import Connection, Metadata


class Admin:
    """Figures, settings and upkeep; see ``Database.admin``."""

    def __init__(self, connection: Connection, metadata: Metadata) -> None:
        self._connection = connection
        self._metadata = metadata

    async def stats(self) -> pb.Stats:
        """What the store holds, and what its writes are like."""
        return await self._call(methods.GET_STATS, pb.GetStatsRequest())

    async def settings(self) -> pb.Settings:
        """What can be changed while the server runs."""
        return await self._call(methods.GET_SETTINGS, pb.GetSettingsRequest())

    async def update_settings(
        self,
        *,
        set_disabled: bool | None = None,
        delete_disabled: bool | None = None,
        log_level: str | None = None,
    ) -> pb.Settings:
        """Changes what is named, until the server stops."""
        request = pb.UpdateSettingsRequest()
        if set_disabled is not None:
            request.set_disabled = set_disabled
        if delete_disabled is not None:
            request.delete_disabled = delete_disabled
        if log_level is not None:
            request.log_level = log_level
        return await self._call(methods.UPDATE_SETTINGS, request)

    async def sync(self) -> None:
        """Makes everything durable that was acknowledged."""
        await self._call(methods.SYNC, pb.SyncRequest())

    async def compact(self) -> bool:
        """Collects segments that are mostly dead; whether any is gone."""
        return (await self._call(methods.COMPACT, pb.CompactRequest(), timeout=_HOURS)).collected

    async def purge_tombstones(self) -> None:
        """Lets the marks of all deletes so far go. The next increment becomes a full backup."""
        await self._call(methods.PURGE_TOMBSTONES, pb.PurgeTombstonesRequest())

    async def verify(
        self, progress: Callable[[int, int], object] | None = None
    ) -> list[pb.Problem]:
        """Checks the running store; what is wrong. ``progress`` hears bytes done, and in all."""
        problems: list[pb.Problem] = []
        with self._connection.stream(
            methods.VERIFY, pb.VerifyRequest(), metadata=self._metadata
        ) as responses:
            async for response in responses:
                problems.extend(response.problems)
                if progress is not None:
                    progress(response.done_bytes, response.total_bytes)
        return problems

    async def scrub_report(self) -> pb.ScrubReport:
        """What the scrubber has done and found since the start."""
        return await self._call(methods.GET_SCRUB_REPORT, pb.GetScrubReportRequest())

    async def stop(self) -> None:
        """Shuts the server down in order."""
        # Not twice: a supervisor may have started it anew.
        await self._connection.call(
            methods.STOP, pb.StopRequest(), timeout=None, idempotent=False, metadata=self._metadata
        )

    async def _call(
        self,
        method: methods.Method[methods.Request, methods.Response],
        request: methods.Request,
        timeout: float | None = None,
    ) -> methods.Response:
        return await self._connection.call(
            method, request, timeout=timeout, idempotent=True, metadata=self._metadata
        )


# What takes as long as it takes.
_HOURS = 24 * 3600.0
