//! What looks after a running store: shards that fail, the disk, segment GC, backups, scrubbing.
//!
//! Every supervisor is a task that ends when it is told to and is waited for. News travels up only
//! as values on channels; nobody imports this room but `start`.

mod chores;
mod disk;
mod doubt;
mod schedule;
mod scrub;
mod shards;
mod window;

pub use scrub::scrub;
pub use shards::ShardKeeper;

use crate::config::{Config, Durability};
use crate::log::Ballast;
use crate::model::{ScrubReport, Version};
use crate::router::Router;
use crate::service::{DiskGate, Service};
use disk::DiskWatchdog;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the supervisors look after.
#[derive(Debug)]
pub struct Watched {
    /// The service, for chores that a user could ask for too.
    pub service: Service,
    /// The shards.
    pub router: Router,
    /// Whether the disk has room.
    pub disk: Arc<DiskGate>,
    /// The reserve.
    pub ballast: Arc<Ballast>,
    /// One for each shard.
    pub keepers: Vec<ShardKeeper>,
    /// Where the scrubber tells what it has done and found.
    pub scrubbed: watch::Sender<ScrubReport>,
}

/// The running supervisors.
#[derive(Debug)]
pub struct Supervisors(JoinSet<()>);

impl Supervisors {
    /// Waits until all have ended; they were told to before.
    pub async fn join(mut self) {
        while let Some(ended) = self.0.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a supervisor panicked");
            }
        }
    }
}

/// Starts all supervisors; they end when `stopping` turns true.
#[must_use]
pub fn start(watched: &Watched, config: &Config, stopping: &watch::Receiver<bool>) -> Supervisors {
    let mut tasks = JoinSet::new();
    for keeper in &watched.keepers {
        tasks.spawn(keeper.clone().run(stopping.clone()));
        tasks.spawn(keeper.clone().watch_writer(stopping.clone()));
    }
    let watchdog = DiskWatchdog {
        gate: watched.disk.clone(),
        ballast: watched.ballast.clone(),
    };
    tasks.spawn(watchdog.run(config.disk.check_interval, stopping.clone()));
    start_chores(&mut tasks, watched, config, stopping);
    start_backups(&mut tasks, watched, config, stopping);
    tasks.spawn(scrub(
        watched.router.clone(),
        config.scrub.clone(),
        watched.scrubbed.clone(),
        stopping.clone(),
    ));
    Supervisors(tasks)
}

fn start_chores(
    tasks: &mut JoinSet<()>,
    watched: &Watched,
    config: &Config,
    stopping: &watch::Receiver<bool>,
) {
    let service = watched.service.clone();
    let collect = move || chores::collect(service.clone());
    tasks.spawn(chores::every(
        config.gc.check_interval,
        stopping.clone(),
        collect,
    ));
    let service = watched.service.clone();
    let sweep = move || chores::sweep(service.clone());
    tasks.spawn(chores::every(
        config.dedup.sweep_interval,
        stopping.clone(),
        sweep,
    ));
    let service = watched.service.clone();
    let tidy = move || {
        service.tidy();
        std::future::ready(())
    };
    tasks.spawn(chores::every(
        chores::tidy_interval(config.dedup.grace),
        stopping.clone(),
        tidy,
    ));
    let service = watched.service.clone();
    let expire = move || chores::expire(service.clone());
    tasks.spawn(chores::every(
        chores::EXPIRY_INTERVAL,
        stopping.clone(),
        expire,
    ));
    let service = watched.service.clone();
    let clear = move || chores::clear(service.clone());
    tasks.spawn(chores::every(
        chores::EXPIRY_INTERVAL,
        stopping.clone(),
        clear,
    ));
    if config.storage.durability == Durability::Os {
        let router = watched.router.clone();
        let sync = move || chores::sync(router.clone());
        tasks.spawn(chores::every(
            config.storage.sync_interval,
            stopping.clone(),
            sync,
        ));
    }
}

fn start_backups(
    tasks: &mut JoinSet<()>,
    watched: &Watched,
    config: &Config,
    stopping: &watch::Receiver<bool>,
) {
    let (Some(dir), Some(schedule)) = (&config.backup.auto_dir, &config.backup.auto_every) else {
        return;
    };
    let (service, dir) = (watched.service.clone(), dir.clone());
    let job = move || {
        let (service, path) = (service.clone(), auto_path(&dir));
        async move { service.backup(&path, Version(0)).await }
    };
    tasks.spawn(schedule::run_backups(
        schedule.clone(),
        stopping.clone(),
        job,
    ));
}

/// `<dir>/auto-20261120T101500Z`: names that sort by time.
fn auto_path(dir: &Path) -> String {
    use time::macros::format_description;
    let format = format_description!("auto-[year][month][day]T[hour][minute][second]Z");
    let name = time::OffsetDateTime::now_utc()
        .format(&format)
        .unwrap_or_else(|_| "auto".to_owned());
    dir.join(name).to_string_lossy().into_owned()
}
