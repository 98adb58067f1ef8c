//! The composition root: open, recover, spawn, listen, drain, close. One function per phase, read
//! from top to bottom.

mod book;
mod cores;
pub mod data_dir;
mod engine;
mod handles;
pub mod manifest;
mod memory;
pub mod noop;
pub mod offline;
mod running;
mod signals;

use crate::config::Config;
use crate::gateway::grpc::{Gateway, GatewayHandle};
use crate::model::{Error, Result};
use crate::telemetry::{self, Level};
use cores::Cores;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use running::Running;

/// Runs the server until it is told to stop.
///
/// # Errors
/// When it cannot start; what is printed then says why and what to do.
pub fn run(mut config: Config) -> Result<()> {
    let logs = telemetry::init(&config.log)
        .map_err(|error| Error::invalid("LOG", format!("cannot start logging: {error}")))?;
    config.server.max_connections = handles::connections_max(config.server.max_connections);
    memory::fit(&mut config);
    let runtime = runtime()?;
    let cores = Cores::start()?;
    let outcome = runtime.block_on(serve(config, &cores, logs.level()));
    // What still runs by now is a request whose client was cut, and has nothing left to lose.
    runtime.shutdown_background();
    outcome
}

/// The threads of everything but requests: recovery, supervisors, the acceptor.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("server")
        .build()
        .map_err(|error| Error::internal("RUNTIME", format!("cannot start the runtime: {error}")))
}

async fn serve(config: Config, cores: &Cores, level: Level) -> Result<()> {
    let (stop, stopping) = watch::channel(false);
    signals::watch(stop.clone())?;
    let store = engine::open_store(&config)?;
    let (listener, address) = listen(&config).await?;
    let gateway = Gateway::new(&config.server, &config.admission, &config.admin).await;
    let handle = gateway.handle();
    let (cores, stopped) = (cores.handles().to_vec(), told_to_stop(stopping.clone()));
    let front = tokio::spawn(async move { gateway.serve(listener, &cores, stopped).await });
    let mut opening = std::pin::pin!(Running::of(store, &config, stop.clone(), Some(level)));
    let running = tokio::select! {
        opened = &mut opening => opened?,
        () = told_to_stop(stopping.clone()) => stop_while_opening(),
    };
    announce(&handle, &running, address).await;
    let served = front.await;
    running.close().await?;
    tracing::info!("stopped");
    served.map_err(|error| Error::internal("SERVE", format!("the gRPC server was lost: {error}")))
}

/// Ends the process at once, still holding the data directory's lock: threads that recover a shard
/// cannot be called off, nobody may have the directory beside them, and a recovery that is cut off
/// is begun again by the next start.
fn stop_while_opening() -> ! {
    tracing::info!("stopped while the store was being opened; the next start begins again");
    std::process::exit(0)
}

async fn listen(config: &Config) -> Result<(TcpListener, SocketAddr)> {
    let wanted = SocketAddr::new(config.server.host, config.server.port);
    let failed = |error: std::io::Error| {
        let message = format!(
            "cannot listen on {wanted}: {error}; is another server running there? choose another --port"
        );
        Error::unavailable("LISTEN", message)
    };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, "listening; calls are told to wait until the store is open");
    Ok((listener, address))
}

async fn told_to_stop(mut stopping: watch::Receiver<bool>) {
    // An error means that nobody can tell any more, which is as good as being told.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Lets requests in, and says so.
async fn announce(handle: &GatewayHandle, running: &Running, address: SocketAddr) {
    handle.open(running.service().clone()).await;
    say_ready(address);
}

/// Says on standard output that requests are answered: scripts wait for this line.
fn say_ready(address: SocketAddr) {
    use std::io::Write as _;
    let pid = std::process::id();
    tracing::info!(%address, pid, "ready");
    let mut out = std::io::stdout().lock();
    let written =
        writeln!(out, "shardkeep ready on {address} pid={pid}").and_then(|()| out.flush());
    if let Err(error) = written {
        tracing::warn!(%error, "standard output takes no more");
    }
}
