//! A bar or a spinner on a terminal, and nothing at all elsewhere.

use super::terminal::Terminal;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

const BAR: &str =
    "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes}  {binary_bytes_per_sec}  eta {eta}";
const NO_TOTAL: &str = "{spinner} {msg}  {bytes}  {binary_bytes_per_sec}  {elapsed}";
const SPINNER: &str = "{spinner} {msg}  {elapsed}";
const TICK: Duration = Duration::from_millis(120);

/// The progress of one command; it disappears when dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Counts bytes; the total may come later.
    #[must_use]
    pub fn bytes(terminal: Terminal, total: Option<u64>) -> Self {
        let progress = Self::styled(terminal, NO_TOTAL);
        if let Some(total) = total {
            progress.set_total(total);
        }
        progress
    }

    /// Shows only that something is going on, and for how long.
    #[must_use]
    pub fn spinner(terminal: Terminal, message: impl Into<String>) -> Self {
        let progress = Self::styled(terminal, SPINNER);
        progress.message(message.into());
        progress
    }

    fn styled(terminal: Terminal, template: &str) -> Self {
        if !terminal.shows_progress() {
            return Self::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(style(template));
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// One that nobody sees.
    #[must_use]
    pub fn hidden() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }

    /// A handle for another thread that finds out the total.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            bar: self.bar.clone(),
        }
    }

    /// Turns the count into a bar with a share and an estimate.
    pub fn set_total(&self, total: u64) {
        self.bar.set_length(total);
        if !self.bar.is_hidden() {
            self.bar.set_style(style(BAR));
        }
    }

    /// Whether anybody sees it.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Says what is going on.
    pub fn message(&self, message: impl Into<String>) {
        if self.is_visible() {
            self.bar.set_message(message.into());
        }
    }

    /// More bytes are done.
    pub fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// This many bytes are done, of that many: the callback of commands that know both.
    pub fn at(&self, done: u64, total: u64) {
        if self.bar.length() != Some(total) {
            self.set_total(total);
        }
        self.bar.set_position(done);
    }

    /// Writes to the terminal without tearing the bar.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.is_visible() {
            self.bar.suspend(write)
        } else {
            write()
        }
    }

    /// Removes it from the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file are valid")
        .progress_chars("=> ")
}
