//! A backup that zstdb wrote. The stream has no checksums, so everything after the first byte is
//! reached without any mending.

use super::{RAW_MAX, with_scratch};
use shardkeep::backup::{BackupFile, Kind, ZstdbReader, ZstdbRecord};
use shardkeep::codec::unfold;
use shardkeep::model::Result;

/// Reads these bytes as a backup of zstdb's.
pub fn zstdb(data: &[u8]) {
    with_scratch(|dir| {
        // One name states a range, which is compared with what is inside; the other states none.
        for name in ["x_[24_27].zstdb.bak", "x.zstdb.bak"] {
            let path = dir.join(name);
            std::fs::write(&path, data).unwrap();
            let _any = BackupFile::open(&path).and_then(read);
            std::fs::remove_file(path).unwrap();
        }
    });
}

fn read(file: BackupFile) -> Result<()> {
    if file.recognise()? != Kind::Zstdb {
        return Ok(());
    }
    let mut reader = ZstdbReader::open(file);
    let summary = reader.verify(
        &mut |record| {
            unfolded(record);
            Ok(())
        },
        &mut |done, of| assert!(done <= of),
    )?;
    assert!(summary.since <= summary.max && summary.max <= summary.highest);
    let entries = reader
        .entries()
        .map(|record| record.expect("what was verified"));
    assert_eq!(entries.count() as u64, summary.records);
    Ok(())
}

fn unfolded(record: &ZstdbRecord) {
    let Some(value) = &record.value else { return };
    if let Ok(raw) = unfold(&value.payload, value.raw_len_max.min(RAW_MAX)) {
        assert!(raw.len() as u64 <= value.raw_len_max);
    }
}
