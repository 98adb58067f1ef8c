"""Administration and backups."""

import pytest
from conftest import Server

import shardkeep


async def test_settings_are_changed_while_the_server_runs(db, ns):
    admin = db.admin
    await ns.put("k", 1)
    changed = await admin.update_settings(set_disabled=True)
    assert changed.set_disabled and not changed.delete_disabled
    with pytest.raises(shardkeep.FailedPrecondition) as refused:
        await ns.put("k", 2)
    assert refused.value.reason == "SET_DISABLED"
    await admin.update_settings(set_disabled=False, log_level="debug")
    assert (await admin.settings()).log_level == "debug"
    await ns.put("k", 2)
    with pytest.raises(shardkeep.InvalidArgument) as wrong:
        await admin.update_settings(log_level="loud")
    assert (wrong.value.reason, wrong.value.field) == ("LOG_LEVEL", "log_level")
    stats = await admin.stats()
    assert (stats.store.key_count, stats.store.shards) == (1, 2)
    await admin.sync()
    await admin.purge_tombstones()
    assert isinstance(await admin.compact(), bool)
    told = []
    assert await admin.verify(lambda done, total: told.append((done, total))) == []
    assert told == sorted(told) and all(done <= total for done, total in told)
    assert list((await admin.scrub_report()).problems) == []


async def test_a_password_is_asked_for(tmp_path):
    server = Server(tmp_path, '[admin]\npassword = "pässword"\n')
    for wrong in (None, "password"):
        async with shardkeep.connect(server.target, admin_password=wrong) as db:
            with pytest.raises(shardkeep.PermissionDenied) as refused:
                await db.admin.sync()
            assert refused.value.reason == "PASSWORD_MISMATCH"
            with pytest.raises(shardkeep.PermissionDenied):
                await db.backups.create("daily")
    async with shardkeep.connect(server.target, admin_password="pässword") as db:
        await db.admin.sync()
        await db.admin.stop()
    server.ended()


async def test_backups_are_made_listed_checked_restored_and_deleted(db, ns, tmp_path):
    for number in range(20):
        await ns.put(f"k{number}", b"x" * 20_000 + bytes([number]))
    told = []
    full = await db.backups.create("day/full", progress=told.append)
    assert all(isinstance(progress, shardkeep.BackupProgress) for progress in told)
    assert full.path == f"day/full_[0-{full.max_version}].zstdb.bak"
    assert (full.since_version, full.records, full.problem) == (0, 20, "")
    await ns.put("k0", "changed")
    increment = await db.backups.create("day/more", since=full.max_version)
    assert (increment.since_version, increment.chain) == (full.max_version, full.chain)
    assert [backup async for backup in db.backups.list()] == [full, increment]
    assert await db.backups.verify(full.path) == full
    await ns.delete("k0")
    assert await db.backups.restore(full.path) == 20
    assert await ns.get("k0") is None
    assert await db.backups.purge(1) == ()
    await db.backups.delete(increment.path)
    with pytest.raises(shardkeep.NotFound) as missing:
        await db.backups.verify(increment.path)
    assert missing.value.reason == "BACKUP_MISSING"
    with pytest.raises(shardkeep.InvalidArgument) as outside:
        await db.backups.create("../outside")
    assert (outside.value.reason, outside.value.field) == ("BACKUP_PATH", "path")
    file = tmp_path / "data/backups" / full.path
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(shardkeep.DataLoss):
        await db.backups.verify(full.path)
