//! The no-op server as a process: the same runtime, listener and ready line as the real one, and no
//! store.

use super::cores::Cores;
use super::{listen, runtime, say_ready, signals, told_to_stop};
use crate::config::Config;
use crate::gateway::grpc::Gateway;
use crate::gateway::grpc::noop::{Answers, Pieces, Values, serve_stock};
use crate::model::{Error, Result};
use crate::telemetry;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tokio::sync::watch;

pub use crate::gateway::grpc::noop::Stack;

/// What the server that does nothing answers.
#[derive(Debug, Clone)]
pub struct NoopOptions {
    /// What stands around it.
    pub stack: Stack,
    /// Bytes of a value.
    pub size: usize,
    /// Keys of a scan.
    pub keys: u64,
    /// Read them from this file rather than from memory.
    pub pread: Option<PathBuf>,
}

/// Runs the no-op server until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub fn run(config: &Config, options: &NoopOptions) -> Result<()> {
    let _logs = telemetry::init(&config.log)
        .map_err(|error| Error::invalid("LOG", format!("cannot start logging: {error}")))?;
    let values = match &options.pread {
        Some(path) => Values::File(pieces(path, options.size)?),
        None => Values::Fixed(options.size, OnceLock::new()),
    };
    let answers = Answers {
        values,
        size: options.size,
        keys: options.keys,
    };
    let runtime = runtime()?;
    let cores = Cores::start()?;
    let outcome = runtime.block_on(serve(config, &cores, answers, options.stack));
    runtime.shutdown_background();
    outcome
}

fn pieces(path: &Path, size: usize) -> Result<Pieces> {
    let pieces = File::open(path).and_then(|file| Pieces::new(file, size));
    pieces.map_err(|error| {
        Error::invalid(
            "NOOP_FILE",
            format!("cannot answer from {}: {error}", path.display()),
        )
    })
}

async fn serve(config: &Config, cores: &Cores, answers: Answers, stack: Stack) -> Result<()> {
    let (stop, stopping) = watch::channel(false);
    signals::watch(stop)?;
    let (listener, address) = listen(config).await?;
    let stopped = told_to_stop(stopping);
    if stack == Stack::Stock {
        say_ready(address);
        let served = serve_stock(listener, answers, stopped).await;
        return served
            .map_err(|error| Error::internal("SERVE", format!("the gRPC server failed: {error}")));
    }
    let gateway = Gateway::noop(&config.server, &config.admission, answers, stack).await;
    say_ready(address);
    gateway.serve(listener, cores.handles(), stopped).await;
    Ok(())
}
