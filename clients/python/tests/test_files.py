"""Values of any size: files that go to the server and come back."""

import asyncio
import hashlib
import io
import os
import signal

import pytest

import shardkeep
from shardkeep import sync

MIB = 1 << 20
PATIENT = shardkeep.Retry(attempts=100)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(20 * MIB + 12_345))
    return path


@pytest.mark.parametrize("dedup", [False, True])
async def test_a_file_goes_and_comes_back(ns, file, tmp_path, dedup):
    sent, came = [], []
    done = await ns.upload(
        "file",
        file,
        dedup=dedup,
        metadata={"name": "file"},
        progress=lambda *progress: sent.append(progress),
    )
    size = file.stat().st_size
    assert (done.put.created, done.size, done.new_bytes) == (True, size, size)
    target = tmp_path / "target"
    entry = await ns.download("file", target, progress=lambda *progress: came.append(progress))
    assert target.read_bytes() == file.read_bytes()
    assert (entry.size, entry.version, entry.metadata) == (size, done.put.version, {"name": "file"})
    for told in (sent, came):
        assert told == sorted(told) and told[-1] == (size, size) and len(told) > 10
    assert sorted(path.name for path in tmp_path.iterdir() if "target" in path.name) == ["target"]


@pytest.mark.parametrize("size", [0, 1, 1_000, 100_000, 8 * MIB, 8 * MIB + 1])
async def test_files_of_every_size(ns, size):
    data = os.urandom(size)
    for dedup in (False, True):
        done = await ns.upload("file", io.BytesIO(data), dedup=dedup)
        assert done.size == size
        target = io.BytesIO()
        await ns.download("file", target)
        assert target.getvalue() == data
    assert b"".join([piece async for piece in ns.pieces("file")]) == data


async def test_what_is_there_is_not_sent_again(ns, file):
    size = file.stat().st_size
    await ns.upload("one", file, dedup=False)
    again = await ns.upload("two", file)
    assert (again.size, again.new_bytes) == (size, 0)
    data = file.read_bytes()
    # The server has cut the first one, this package the second: in the same places.
    changed = data[: 10 * MIB] + b"inserted" + data[10 * MIB :]
    more = await ns.upload("three", io.BytesIO(changed))
    assert 0 < more.new_bytes < 4 * MIB
    target = io.BytesIO()
    await ns.download("three", target)
    assert target.getvalue() == changed


async def test_without_the_packages_for_it_everything_is_sent(ns, file, monkeypatch):
    monkeypatch.setattr("shardkeep.files._package", lambda name: None)
    for key in ("one", "two"):
        await ns.upload(key, file)
    assert (await ns.head("two")).size == file.stat().st_size


async def test_parts_of_a_value(ns, file):
    data = file.read_bytes()
    await ns.upload("file", file)
    for offset, length in [(0, 5), (5 * MIB - 1, 3 * MIB), (len(data) - 7, 100), (123, None), (9, 0)]:
        pieces = [piece async for piece in ns.pieces("file", offset, length)]
        end = None if length is None else offset + length
        assert b"".join(pieces) == data[offset:end]
    with pytest.raises(shardkeep.InvalidArgument) as behind:
        await anext(ns.pieces("file", len(data) + 1))
    assert behind.value.reason == "RANGE_BEYOND_VALUE"


async def test_conditions_hold_for_files_too(ns, file):
    await ns.upload("file", file, when=shardkeep.if_absent())
    for dedup in (False, True):
        with pytest.raises(shardkeep.AlreadyExists):
            await ns.upload("file", file, when=shardkeep.if_absent(), dedup=dedup)


async def test_a_file_goes_and_comes_over_the_death_of_its_server(server, file, tmp_path):
    async with shardkeep.connect(server.target, retry=PATIENT) as db:
        ns = db.default
        kills = []

        def kill_in_the_middle(done, total):
            if done > total // 2 and len(kills) < 2:
                kills.append(done)
                server.end(signal.SIGKILL)
                server.start()

        await ns.upload("file", file, dedup=False, progress=kill_in_the_middle)
        assert len(kills) == 2
        kills.clear()
        await ns.download("file", tmp_path / "target", progress=kill_in_the_middle)
        assert len(kills) == 2
    assert (tmp_path / "target").read_bytes() == file.read_bytes()


async def test_a_value_that_changes_on_its_way_is_not_mixed(server, file, tmp_path):
    async with shardkeep.connect(server.target, retry=PATIENT) as db:
        ns = db.default
        await ns.upload("file", file)
        pieces = ns.pieces("file")
        await anext(pieces)
        await ns.put("file", b"another")
        server.end(signal.SIGKILL)
        server.start()
        with pytest.raises(shardkeep.Error) as changed:
            async for _ in pieces:
                pass
        assert changed.value.reason in ("VALUE_CHANGED", "RANGE_BEYOND_VALUE")


async def test_what_reading_the_file_raises_is_raised(ns):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 5 * MIB:
                raise OSError("the disk is gone")
            return super().read(size)

    with pytest.raises(OSError, match="the disk is gone"):
        await ns.upload("file", Broken(bytes(9 * MIB)), dedup=False)
    shorter = io.BytesIO(bytes(9 * MIB))
    with pytest.raises(ValueError, match="ends 3145728 bytes too soon|bytes too soon"):
        await ns.upload(
            "file", shorter, dedup=False, progress=lambda done, _: shorter.truncate(6 * MIB)
        )
    assert not await ns.contains("file")


async def test_a_download_that_fails_leaves_nothing(ns, file, tmp_path):
    target = tmp_path / "target"
    with pytest.raises(shardkeep.NotFound):
        await ns.download("nothing", target)
    await ns.upload("file", file)

    def give_up(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await ns.download("file", target, progress=give_up)
    loading = asyncio.create_task(ns.download("file", target))
    await asyncio.sleep(0)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert [path.name for path in tmp_path.iterdir() if "target" in path.name] == []


def test_the_twin_sends_files_too(server, file, tmp_path):
    with sync.connect(server.target) as db:
        ns = db.default
        for dedup in (False, True):
            ns.upload("file", file, dedup=dedup)
        with db.snapshot() as then:
            ns.delete("file")
            then.default.download("file", tmp_path / "target")
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in (file, tmp_path / "target")]
    assert digests[0] == digests[1]
