//! Backups by the clock: `@every 1h30m` counts from the start, a cron expression is in UTC.
//!
//! UTC, because a server's local time skips an hour and repeats one every year, and the same
//! configuration should mean the same on every machine. Runs never overlap: times that pass while
//! one is under way are left out, and those that pass while the machine is suspended are made up
//! for by a single run.
//!
//! Times are wall-clock times and a wall clock is set now and then, so nothing sleeps until a time
//! hours away; the clock is read at least once a minute. A jump ahead over a due time runs it; a
//! jump back brings the next run forward to what the new time says.

use crate::config::Schedule;
use crate::model::Result;
use crate::service::BackupDone;
use chrono::{DateTime, Utc};
use std::future::Future;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

/// The longest sleep between two looks at the clock. The clock counts as set back when it has lost
/// more than this: less is a correction, and must not repeat the run that has just been.
const LOOK_PAUSE: Duration = Duration::from_secs(60);

/// The first time after `now` that a schedule names. `None` for one that never comes, such as the
/// 30th of February.
#[must_use]
pub fn next_after(schedule: &Schedule, now: SystemTime) -> Option<SystemTime> {
    match schedule {
        Schedule::Every(pause) => now.checked_add(*pause),
        Schedule::Cron(cron) => {
            let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            let seconds = i64::try_from(since_epoch.as_secs()).ok()?;
            let now = DateTime::<Utc>::from_timestamp(seconds, 0)?;
            let next = cron.find_next_occurrence(&now, false).ok()?;
            let seconds = u64::try_from(next.timestamp()).ok()?;
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
        }
    }
}

/// Runs `job` at the times of a schedule and logs what came of it, until `shutdown` says true, its
/// sender is gone, or the schedule names no more times. A job that is under way then is dropped; a
/// job that panics is reported and does not end the schedule.
pub async fn run_backups<J, F>(schedule: Schedule, shutdown: watch::Receiver<bool>, job: J)
where
    J: FnMut() -> F,
    F: Future<Output = Result<BackupDone>> + Send + 'static,
{
    run(Timer::new(schedule, SystemTime::now), shutdown, job).await;
}

async fn run<J, F>(mut timer: Timer, mut shutdown: watch::Receiver<bool>, mut job: J)
where
    J: FnMut() -> F,
    F: Future<Output = Result<BackupDone>> + Send + 'static,
{
    loop {
        let is_due = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            is_due = timer.tick() => is_due,
        };
        if !is_due {
            tracing::warn!(
                "the schedule of backups names no time that ever comes: there will be none \
                 (backup.auto_every)"
            );
            return;
        }
        // A task of its own, so that its panic ends there; the set ends it when this is dropped.
        let mut jobs = JoinSet::new();
        jobs.spawn(job());
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            Some(done) = jobs.join_next() => report(done),
        }
    }
}

fn report(done: std::result::Result<Result<BackupDone>, JoinError>) {
    match done {
        Ok(Ok(done)) => tracing::info!(
            file = %done.target.display(),
            since = done.since.0,
            max = done.max.0,
            records = done.records,
            "scheduled backup done"
        ),
        Ok(Err(error)) => tracing::error!(
            reason = error.reason(),
            %error,
            "scheduled backup failed; it is tried again at the next time of the schedule"
        ),
        Err(error) => tracing::error!(%error, "scheduled backup panicked: this is a bug"),
    }
}

/// Waits for one time of a schedule after the other, by a wall clock that may jump.
struct Timer {
    schedule: Schedule,
    wall: Box<dyn Fn() -> SystemTime + Send + Sync>,
    due: Option<SystemTime>,
    /// Whether `due` has been handed out already.
    is_spent: bool,
    /// The time at the last look.
    seen: SystemTime,
}

impl Timer {
    fn new(schedule: Schedule, wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let seen = wall();
        Self {
            due: next_after(&schedule, seen),
            schedule,
            wall: Box::new(wall),
            is_spent: false,
            seen,
        }
    }

    /// Waits until the next time has come; `false` if there is none. Nothing is lost when the wait
    /// is dropped and begun again.
    async fn tick(&mut self) -> bool {
        loop {
            self.look();
            let Some(due) = self.due else {
                return false;
            };
            match due.duration_since(self.seen) {
                Ok(rest) if !rest.is_zero() => tokio::time::sleep(rest.min(LOOK_PAUSE)).await,
                _ => {
                    self.is_spent = true;
                    return true;
                }
            }
        }
    }

    /// Reads the clock, and works out what is due by it.
    fn look(&mut self) {
        let now = (self.wall)();
        let lost = self.seen.duration_since(now).unwrap_or_default();
        self.seen = now;
        if std::mem::take(&mut self.is_spent) {
            // From the due time rather than from now: `@every` does not drift, and a clock that was
            // corrected by a second does not repeat the run. Times that passed meanwhile are missed.
            let following = self.due.and_then(|due| next_after(&self.schedule, due));
            self.due = following
                .filter(|due| *due > now)
                .or_else(|| next_after(&self.schedule, now));
        }
        if lost > LOOK_PAUSE {
            let next = next_after(&self.schedule, now);
            self.due = self.due.into_iter().chain(next).min();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Error, Version};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    /// 2026-01-01T00:00:00Z, a Thursday.
    const NEW_YEAR: u64 = 1_767_225_600;
    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NEW_YEAR + seconds)
    }

    /// Seconds after the new year of the next time.
    fn next(schedule: &str, now: u64) -> Option<u64> {
        let next = next_after(&schedule.parse().unwrap(), at(now))?;
        Some(next.duration_since(at(0)).unwrap().as_secs())
    }

    #[test]
    fn the_next_time_of_a_schedule_is_after_now_and_in_utc() {
        for (schedule, now, expected) in [
            ("@every 90s", 0, 90),
            ("0 3 * * *", 0, 3 * 3600),
            ("0 3 * * *", 3 * 3600, DAY + 3 * 3600),
            ("@daily", 1, DAY),
            ("@weekly", 0, 3 * DAY),
            ("*/10 * * * * *", 9, 10),
            ("0 0 1 1 *", 0, 365 * DAY),
        ] {
            assert_eq!(next(schedule, now), Some(expected), "{schedule} at {now}");
        }
    }

    #[test]
    fn a_fraction_of_a_second_is_no_reason_to_run_twice() {
        let schedule = "0 3 * * *".parse().unwrap();
        let now = at(3 * 3600) + Duration::from_millis(400);
        assert_eq!(next_after(&schedule, now), Some(at(DAY + 3 * 3600)));
    }

    #[test]
    fn times_that_never_come_are_none() {
        assert_eq!(next("0 0 30 2 *", 0), None);
        let every = Schedule::Every(Duration::MAX);
        assert_eq!(next_after(&every, at(0)), None);
    }

    /// A schedule that runs by tokio's paused clock and a wall clock that the test can set.
    struct Setup {
        /// Seconds to add to the wall clock; starts at a day, so that it can be set back.
        offset: Arc<AtomicU64>,
        /// When runs began, by the wall clock, in seconds after the new year.
        runs: mpsc::UnboundedReceiver<u64>,
        stop: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Setup {
        fn start(schedule: &str, work: fn(usize) -> Work) -> Self {
            let offset = Arc::new(AtomicU64::new(DAY));
            let (start, added) = (Instant::now(), Arc::clone(&offset));
            let wall = move || {
                let added = Duration::from_secs(added.load(Ordering::Relaxed));
                at(0) + start.elapsed() + added
            };
            let (sender, runs) = mpsc::unbounded_channel();
            let (stop, shutdown) = watch::channel(false);
            let timer = Timer::new(schedule.parse().unwrap(), wall.clone());
            let mut count = 0;
            let job = move || {
                let now = wall().duration_since(at(0)).unwrap().as_secs();
                sender.send(now).unwrap();
                count += 1;
                work(count).run()
            };
            let task = tokio::spawn(run(timer, shutdown, job));
            Self {
                offset,
                runs,
                stop,
                task,
            }
        }

        async fn runs<const N: usize>(&mut self) -> [u64; N] {
            let mut runs = [0; N];
            for run in &mut runs {
                *run = self.runs.recv().await.unwrap() - DAY;
            }
            runs
        }
    }

    enum Work {
        Done,
        Takes(u64),
        Fails,
        Panics,
    }

    impl Work {
        async fn run(self) -> Result<BackupDone> {
            match self {
                Self::Done => {}
                Self::Takes(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                Self::Fails => return Err(Error::internal("TEST", "no luck")),
                Self::Panics => panic!("a bug in a backup"),
            }
            Ok(BackupDone {
                target: "/backups/x_[0-1].zstdb.bak".into(),
                since: Version(0),
                max: Version(1),
                records: 1,
                bytes: 1,
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn runs_follow_the_schedule() {
        let mut every = Setup::start("@every 1h30m", |_| Work::Takes(10));
        assert_eq!(every.runs().await, [5400, 10_800, 16_200]);
        let mut cron = Setup::start("0 3 * * *", |_| Work::Done);
        let [first, second] = cron.runs().await;
        assert_eq!(first % DAY, 3 * 3600);
        assert_eq!(second, first + DAY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_takes_too_long_is_never_overlapped() {
        let mut setup = Setup::start("@every 60s", |_| Work::Takes(100));
        assert_eq!(setup.runs().await, [60, 220, 380]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_fails_or_panics_does_not_end_the_schedule() {
        let mut setup = Setup::start("@every 60s", |count| match count {
            1 => Work::Fails,
            2 => Work::Panics,
            _ => Work::Done,
        });
        assert_eq!(setup.runs().await, [60, 120, 180]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_ahead_runs_once_what_it_jumped_over() {
        let mut setup = Setup::start("0 * * * *", |_| Work::Done);
        assert_eq!(setup.runs().await, [3600]);
        setup.offset.fetch_add(5 * 3600, Ordering::Relaxed);
        let [late, next] = setup.runs().await;
        assert!((6 * 3600..=6 * 3600 + 60).contains(&late), "{late}");
        assert_eq!(next, 7 * 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_does_not_stop_backups() {
        for (schedule, pause) in [("0 * * * *", 3600), ("@every 1h", 3600)] {
            let mut setup = Setup::start(schedule, |_| Work::Done);
            assert_eq!(setup.runs().await, [pause]);
            let before = Instant::now();
            setup.offset.fetch_sub(DAY / 2, Ordering::Relaxed);
            setup.runs.recv().await.unwrap();
            let waited = before.elapsed();
            assert!(waited <= Duration::from_secs(pause + 61), "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_corrected_by_a_second_repeats_nothing() {
        let mut setup = Setup::start("0 * * * *", |_| Work::Done);
        assert_eq!(setup.runs().await, [3600]);
        setup.offset.fetch_sub(1, Ordering::Relaxed);
        assert_eq!(setup.runs().await, [7200]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_ends_the_wait_and_the_run_that_is_under_way() {
        let setup = Setup::start("@every 24h", |_| Work::Done);
        setup.stop.send(true).unwrap();
        setup.task.await.unwrap();
        let mut setup = Setup::start("@every 60s", |_| Work::Takes(10 * DAY));
        setup.runs::<1>().await;
        let before = Instant::now();
        drop(setup.stop);
        setup.task.await.unwrap();
        assert!(before.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_schedule_without_a_time_ends_at_once() {
        Setup::start("0 0 30 2 *", |_| Work::Done)
            .task
            .await
            .unwrap();
    }
}
