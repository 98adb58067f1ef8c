//! Accepted connections on the core that serves them, each with a deadline for its first bytes, and
//! what the rest of the front knows and orders of it: its calls, that it should leave, that it is cut.
//!
//! It can be cut because HTTP/2 keepalive finds dead peers, but not one that answers pings and takes
//! no data.

use super::accept::{Dealt, Seat};
use super::budget::Lane;
use super::calls::{Call, Calls, Use};
use super::line::Line;
use super::turn::Turns;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::Sleep;

/// Bytes of the HTTP/2 connection preface, which a peer owes in its first moments.
const PREFACE_SIZE: usize = 24;

/// What requests know of the connection they came by.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    address: Option<SocketAddr>,
    wire: Arc<Wire>,
}

#[derive(Debug)]
struct Wire {
    written: AtomicU64,
    calls: Arc<Calls>,
    leave: Notify,
    cut: Notify,
    owed: Lane,
    turns: Turns,
}

/// What every connection gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// The time for its first bytes.
    pub(super) preface_timeout: Duration,
    /// Bytes of large replies that may be on their way to it at once.
    pub(super) reply_share: usize,
}

impl Peer {
    fn new(address: SocketAddr, reply_share: usize, line: Arc<Line>) -> Self {
        Self {
            address: Some(address),
            wire: Arc::new(Wire {
                written: AtomicU64::new(0),
                calls: Arc::default(),
                leave: Notify::new(),
                cut: Notify::new(),
                owed: Lane::new(reply_share),
                turns: Turns::new(line),
            }),
        }
    }

    /// This connection's share of the large replies that are on their way.
    pub(super) fn owed(&self) -> &Lane {
        &self.wire.owed
    }

    /// When the connection and its calls are run.
    pub(super) fn turns(&self) -> &Turns {
        &self.wire.turns
    }

    /// Whether the peer is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.address
            .is_some_and(|address| address.ip().to_canonical().is_loopback())
    }

    /// Bytes written to the peer so far.
    pub(super) fn written(&self) -> u64 {
        self.wire.written.load(Ordering::Relaxed)
    }

    /// Ends the connection with everything on it.
    pub(super) fn cut(&self) {
        self.wire.cut.notify_one();
    }

    /// Resolves when the connection is to be cut; for one waiter.
    pub(super) async fn is_cut(&self) {
        self.wire.cut.notified().await;
    }

    /// Asks the peer to take its next calls to another connection; those that it has begun are
    /// answered.
    pub(super) fn leave(&self) {
        self.wire.leave.notify_one();
    }

    /// Resolves when the peer is to be asked to leave; for one waiter.
    pub(super) async fn is_leaving(&self) {
        self.wire.leave.notified().await;
    }

    /// A call that begins.
    pub(super) fn begin_call(&self) -> Call {
        Calls::begin(&self.wire.calls)
    }

    /// Whether no call is open.
    pub(super) fn is_idle(&self) -> bool {
        self.calls().open == 0
    }

    /// What calls there were and are.
    pub(super) fn calls(&self) -> Use {
        self.wire.calls.read()
    }

    /// As long as the connection is open, a way to it that does not keep anything of it.
    pub(super) fn downgrade(&self) -> Absent {
        Absent {
            address: self.address,
            wire: Arc::downgrade(&self.wire),
        }
    }

    /// A peer without a connection.
    #[cfg(test)]
    pub(super) fn at(address: SocketAddr) -> Self {
        Self::new(address, 1 << 20, Arc::default())
    }
}

/// A connection that may have ended.
#[derive(Debug)]
pub(super) struct Absent {
    address: Option<SocketAddr>,
    wire: Weak<Wire>,
}

impl Absent {
    /// The connection, unless it has ended.
    pub(super) fn upgrade(&self) -> Option<Peer> {
        Some(Peer {
            address: self.address,
            wire: self.wire.upgrade()?,
        })
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.wire.strong_count() == 0
    }
}

/// The connections that were dealt to one core.
pub(super) struct Incoming {
    dealt: mpsc::UnboundedReceiver<Dealt>,
    allowance: Allowance,
    line: Arc<Line>,
}

impl Incoming {
    /// Makes connections of what is dealt.
    pub(super) fn new(dealt: mpsc::UnboundedReceiver<Dealt>, allowance: Allowance) -> Self {
        Self {
            dealt,
            allowance,
            line: Arc::default(),
        }
    }

    /// The next connection; `None` when nothing is dealt any more. What was dealt is not lost when
    /// this is dropped before it resolves.
    pub(super) async fn next(&mut self) -> Option<Connection> {
        loop {
            let dealt = self.dealt.recv().await?;
            let address = dealt.address;
            match self.open(dealt) {
                Ok(connection) => return Some(connection),
                Err(error) => tracing::warn!(peer = %address, %error, "cannot serve a connection"),
            }
        }
    }

    /// The connection, registered with the core that polls this.
    fn open(&self, dealt: Dealt) -> io::Result<Connection> {
        let Dealt {
            stream,
            address,
            seat,
        } = dealt;
        let stream = TcpStream::from_std(stream)?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(peer = %address, %error, "cannot set TCP_NODELAY");
        }
        Ok(Connection {
            preface: Some(Preface {
                deadline: Box::pin(tokio::time::sleep(self.allowance.preface_timeout)),
                missing: PREFACE_SIZE,
            }),
            stream,
            peer: Peer::new(address, self.allowance.reply_share, self.line.clone()),
            _seat: seat,
        })
    }
}

/// One accepted connection.
pub(super) struct Connection {
    stream: TcpStream,
    peer: Peer,
    preface: Option<Preface>,
    _seat: Seat,
}

struct Preface {
    deadline: Pin<Box<Sleep>>,
    missing: usize,
}

impl Connection {
    /// What the rest of the front knows of it.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    fn check_preface(&mut self, cx: &mut Context<'_>, received: usize) -> io::Result<()> {
        let Some(preface) = &mut self.preface else {
            return Ok(());
        };
        preface.missing = preface.missing.saturating_sub(received);
        if preface.missing == 0 {
            self.preface = None;
        } else if preface.deadline.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            let bytes = u64::try_from(*bytes).unwrap_or(u64::MAX);
            self.peer.wire.written.fetch_add(bytes, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.peer.turns().may_read(cx) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer)?;
        let received = buffer.filled().len() - before;
        self.peer.turns().note_read(received);
        self.check_preface(cx, received)?;
        read.map(Ok)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::accept::{Table, accept};
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    async fn listen(slots: usize, preface_timeout: Duration) -> (Incoming, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (table, mut lanes) = Table::new(1);
        tokio::spawn(accept(listener, Arc::new(Semaphore::new(slots)), table));
        let allowance = Allowance {
            preface_timeout,
            reply_share: 1 << 20,
        };
        let incoming = Incoming::new(lanes.pop().unwrap(), allowance);
        (incoming, address)
    }

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_connection_too_many_is_closed_and_a_slot_comes_back() {
        let (mut incoming, address) = listen(1, LONG).await;
        let _first_client = TcpStream::connect(address).await.unwrap();
        let first = incoming.next().await.unwrap();
        let mut second_client = TcpStream::connect(address).await.unwrap();
        let third = tokio::spawn(async move {
            let connection = incoming.next().await;
            (incoming, connection)
        });
        assert_eq!(second_client.read(&mut [0; 1]).await.unwrap_or(0), 0);
        drop(first);
        let _third_client = TcpStream::connect(address).await.unwrap();
        assert!(third.await.unwrap().1.is_some());
    }

    #[tokio::test]
    async fn a_peer_that_never_says_http2_is_timed_out() {
        let (mut incoming, address) = listen(1, Duration::from_millis(20)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"PRI * ").await.unwrap();
        let mut connection = incoming.next().await.unwrap();
        let error = connection.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_preface_lifts_the_deadline() {
        let (mut incoming, address) = listen(1, Duration::from_millis(20)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&[b'x'; PREFACE_SIZE]).await.unwrap();
        let mut connection = incoming.next().await.unwrap();
        connection.read_exact(&mut [0; PREFACE_SIZE]).await.unwrap();
        assert!(connection.preface.is_none());
    }
}
