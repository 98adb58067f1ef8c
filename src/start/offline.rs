//! What works on a data directory without a server.

use super::data_dir::DataDir;
use super::engine::{self, Engine, Shared};
use super::manifest::Manifest;
use crate::config::{Config, Layers};
use crate::model::{Error, RestoreReport, Result, ShardId, VerifyReport};
use crate::service::RestoreSource;
use crate::shard::{Counts, ShardOptions, StoreVerdict, Transactions, verify_store};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Progress: bytes done, bytes in all.
pub type OnProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// Builds a data directory from backups, or merges them into one that no server has open.
///
/// # Errors
/// As [`crate::service::Service::restore`]; files before the one that failed are in.
pub fn restore(dir: &Path, files: &[PathBuf], progress: OnProgress<'_>) -> Result<RestoreReport> {
    let config = config_of(dir)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        Error::internal("RUNTIME", format!("cannot start the runtime: {error}"))
    })?;
    runtime.block_on(async {
        let store = engine::open_store(&config)?;
        let (stop, _stopping) = watch::channel(false);
        let engine = Engine::open(store, &config, stop, None).await?;
        let merged = merge_all(&engine, files, progress).await;
        let closed = engine.close().await;
        merged.and_then(|report| closed.map(|()| report))
    })
}

async fn merge_all(
    engine: &Engine,
    files: &[PathBuf],
    progress: OnProgress<'_>,
) -> Result<RestoreReport> {
    let sizes = files
        .iter()
        .map(|file| std::fs::metadata(file).map_or(0, |found| found.len()));
    let total: u64 = sizes.sum();
    let mut report = RestoreReport::default();
    for file in files {
        let checked = Arc::new(Mutex::new(0));
        let seen = checked.clone();
        let note = move |done, _| {
            *seen
                .lock()
                .expect("no code panics while it holds this lock") = done
        };
        let work = engine
            .service()
            .restore(RestoreSource::Operator(file.clone()), note);
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done?,
                _ = ticks.tick() => {
                    let read = *checked.lock().expect("no code panics while it holds this lock");
                    progress(report.bytes + read, total);
                }
            }
        };
        report.files += 1;
        report.records += done.records;
        report.bytes += done.bytes;
        report.max_version = done.max.0;
        progress(report.bytes, total);
    }
    Ok(report)
}

/// The defaults, over this data directory.
fn config_of(dir: &Path) -> Result<Config> {
    let dir = dir.to_string_lossy().into_owned();
    let flags = vec![("storage.data_dir", dir, "DIR")];
    let loaded = Layers::new().flags(flags).load();
    Ok(loaded
        .map_err(|error| Error::invalid("CONFIG", error.to_string()))?
        .config)
}

/// Checks a data directory that no server has open: every record, every reference, log against
/// index. With `repair` the indexes are rebuilt from the logs first.
///
/// # Errors
/// When the directory is in use or no store; what is wrong inside stands in the report.
pub fn verify(dir: &Path, repair: bool, progress: OnProgress<'_>) -> Result<VerifyReport> {
    let config = config_of(dir)?;
    let refused = |error: String| Error::invalid("DATA_DIR", error);
    let dir = DataDir::open_existing(dir).map_err(|error| refused(error.to_string()))?;
    let manifest = Manifest::load(&dir.manifest()).map_err(|error| refused(error.to_string()))?;
    let transactions = Transactions::one_by_one(manifest.shards());
    let shared = Shared::new(&dir, &manifest, &config, transactions);
    let options = |id| shared.shard_options(&dir, &manifest, &config, ShardId(id));
    let shards: Vec<ShardOptions> = (0..manifest.shards()).map(options).collect();
    Ok(report_of(&verify_store(&shards, repair, progress), repair))
}

fn report_of(verdict: &StoreVerdict, repaired: bool) -> VerifyReport {
    let counts = |count: fn(&Counts) -> u64| -> u64 {
        verdict
            .shards
            .iter()
            .map(|shard| count(&shard.counts))
            .sum()
    };
    VerifyReport {
        segments: counts(|counts| counts.segments),
        records: counts(|counts| counts.records),
        blobs: counts(|counts| counts.blobs),
        references: counts(|counts| counts.references),
        bytes: counts(|counts| counts.payload_bytes),
        repaired,
        problems: verdict.problems().cloned().collect(),
    }
}
