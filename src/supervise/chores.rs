//! Work that comes round again: segment GC, sweeps, reclaims, expiries, syncs.

use crate::router::Router;
use crate::service::Service;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Runs `job` every `interval`, never twice at once, until told to stop. The first comes after one
/// interval: nothing of this is urgent at a start.
pub(super) async fn every<F: Future<Output = ()>>(
    interval: Duration,
    mut stopping: watch::Receiver<bool>,
    mut job: impl FnMut() -> F,
) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = job() => {}
        }
    }
}

/// Collects segments that are mostly dead. A chore that is running already does it too.
pub(super) async fn collect(service: Service) {
    match service.gc().await {
        Ok(_) => {}
        Err(error) if error.reason() == "CHORE_BUSY" || error.reason() == "GC_BUSY" => {}
        Err(error) => tracing::warn!(%error, "segment gc did not finish; it is tried again"),
    }
}

/// Drops references that no record names.
pub(super) async fn sweep(service: Service) {
    match service.sweep().await {
        Ok(report) if report.stale > 0 => {
            tracing::info!(
                stale = report.stale,
                orphans = report.orphans,
                "stale references dropped"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the sweep did not finish; it is tried again"),
    }
}

/// Expired keys are looked for this often; no read sees them meanwhile.
pub(super) const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Removes keys that have expired.
pub(super) async fn expire(service: Service) {
    match service.expire_due().await {
        Ok(0) => {}
        Ok(keys) => tracing::debug!(keys, "expired keys removed"),
        Err(error) => tracing::warn!(%error, "expired keys were not removed; it is tried again"),
    }
}

/// Removes what namespaces held that were dropped.
pub(super) async fn clear(service: Service) {
    match service.clear_dropped().await {
        Ok(0) => {}
        Ok(keys) => tracing::info!(keys, "keys of dropped namespaces removed"),
        Err(error) => {
            tracing::warn!(%error, "a dropped namespace was not cleared; it is tried again");
        }
    }
}

/// Makes what was acknowledged from memory durable.
pub(super) async fn sync(router: Router) {
    if let Err(error) = router.sync().await {
        tracing::warn!(%error, "a shard did not sync; its supervisor reopens it");
    }
}

/// Reclaims are looked for a few times per grace time.
pub(super) fn tidy_interval(grace: Duration) -> Duration {
    const SHORTEST: Duration = Duration::from_secs(1);
    (grace / 4).max(SHORTEST)
}
