//! A small pool of HTTP/2 connections to one server.
//!
//! One connection is one TCP stream and, on the server, one task that frames and checks every
//! message: a few of them let large values move in parallel.

use super::error::cause_of;
use super::retry::{Repeat, RetryBudget, pause_after, repeated};
use super::{ClientError, Result, VALUE_SIZE_MAX};
use crate::proto::zstdb::badger_client::BadgerClient;
use std::future::Future;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

/// The generated client over one connection.
pub(super) type Badger = BadgerClient<Channel>;

/// Room for several 1 MiB values in flight on a stream, and on a connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const FRAME_SIZE_MAX: u32 = 1 << 20;
/// A value of the largest size, its key and the message's own fields.
pub(super) const MESSAGE_SIZE_MAX: usize = VALUE_SIZE_MAX as usize + (1 << 20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that is gone without a word is noticed after these two together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections that take turns, what their calls may spend on second tries, and which run of the
/// server they reach. Clones share all.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    address: Arc<str>,
    connections: Arc<[Channel]>,
    turn: Arc<AtomicUsize>,
    budget: Arc<RetryBudget>,
    run: Arc<AtomicU64>,
}

impl Pool {
    /// Opens the first connection now and the others on their first use.
    pub(super) async fn connect(address: &str, connections: usize) -> Result<Self> {
        let first = channel(address).await?;
        let endpoint = endpoint(address)?;
        let later = (1..connections).map(|_| endpoint.connect_lazy());
        Ok(Self {
            address: address.into(),
            connections: std::iter::once(first).chain(later).collect(),
            turn: Arc::default(),
            budget: Arc::default(),
            run: Arc::default(),
        })
    }

    /// The server's address, as it was given.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The connection whose turn it is.
    pub(super) fn next(&self) -> Channel {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.connections[turn % self.connections.len()].clone()
    }

    /// Makes a call on the connection whose turn it is, again on the next one where it may be.
    pub(super) async fn call<T, F, A>(&self, repeat: Repeat, call: F) -> Result<T, Status>
    where
        F: Fn(Channel) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let answer = repeated(&self.budget, repeat, || call(self.next())).await;
        answer.map(Response::into_inner)
    }

    /// Waits until a stream that broke may be opened again, after so many tries since something came.
    ///
    /// # Errors
    /// That of the break, when it is final, was met often enough, or the budget is spent.
    pub(super) async fn pause(
        &self,
        call: &'static str,
        status: &Status,
        tries: usize,
    ) -> Result<()> {
        let pause = pause_after(Repeat::Always, status, tries);
        let pause = pause.filter(|_| self.budget.spend());
        let pause = pause.ok_or_else(|| self.failed(call, status))?;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Which run of the server answered last, as far as an answer told.
    pub(super) fn run(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.run.load(Ordering::Relaxed))
    }

    /// Remembers which run of the server has answered; 0 says nothing.
    pub(super) fn heard_of(&self, run: u64) {
        if run != 0 {
            self.run.store(run, Ordering::Relaxed);
        }
    }

    /// The error of a call that failed for good.
    pub(super) fn failed(&self, call: &'static str, status: &Status) -> ClientError {
        ClientError::from_status(call, self.address(), status)
    }
}

/// One open connection.
pub(super) async fn channel(address: &str) -> Result<Channel> {
    let connected = endpoint(address)?.connect().await;
    connected.map_err(|error| ClientError::Unreachable {
        address: address.to_owned(),
        cause: cause_of(&error),
    })
}

fn endpoint(address: &str) -> Result<Endpoint> {
    let bad_address = || ClientError::Address {
        address: address.to_owned(),
    };
    let host_port = address.strip_prefix("http://").unwrap_or(address);
    let host_port = host_port.strip_suffix('/').unwrap_or(host_port);
    let uri: http::Uri = format!("http://{host_port}/")
        .parse()
        .map_err(|_| bad_address())?;
    if uri.port_u16().is_none() || uri.host().is_none_or(str::is_empty) || uri.path() != "/" {
        return Err(bad_address());
    }
    Ok(Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE_MAX))
}

/// The generated client with room for the largest values.
pub(super) fn sized(channel: Channel) -> Badger {
    BadgerClient::new(channel)
        .max_decoding_message_size(MESSAGE_SIZE_MAX)
        .max_encoding_message_size(MESSAGE_SIZE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_host_and_a_port_and_nothing_else() {
        for good in [
            "127.0.0.1:8282",
            "localhost:1",
            "[::1]:8282",
            "http://host:9/",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost",
            ":8282",
            "host:port",
            "host:1/path",
            "a b:1",
            "https://x:1",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
