//! SIGTERM and SIGINT: the first asks for an orderly stop, the second ends the process at once.

use crate::model::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The exit code of a process that a second signal ended: 128 + SIGTERM.
const EXIT_AT_ONCE: i32 = 143;

/// Sets `stop` at the first signal.
pub(super) fn watch(stop: watch::Sender<bool>) -> Result<()> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Error::internal("SIGNALS", format!("cannot listen for signals: {error}"))
        })
    };
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        next(&mut terminate, &mut interrupt).await;
        tracing::info!("asked to stop: finishing what was accepted; ask again to stop at once");
        stop.send_replace(true);
        next(&mut terminate, &mut interrupt).await;
        tracing::warn!("asked again: stopping at once; what was acknowledged is safe");
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
