//! Accepted connections on the core that serves them, each with a deadline for its first bytes and
//! a switch to cut it.
//!
//! The switch exists because HTTP/2 keepalive finds dead peers, but not one that answers pings and
//! takes no data; and because a drain has to end.

use super::accept::{Dealt, Seat};
use super::budget::Lane;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

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
    cut: Notify,
    owed: Lane,
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
    fn new(address: SocketAddr, reply_share: usize) -> Self {
        Self {
            address: Some(address),
            wire: Arc::new(Wire {
                written: AtomicU64::new(0),
                cut: Notify::new(),
                owed: Lane::new(reply_share),
            }),
        }
    }

    /// This connection's share of the large replies that are on their way.
    pub(super) fn owed(&self) -> &Lane {
        &self.wire.owed
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

    /// Resolves when the connection is cut.
    #[cfg(test)]
    pub(super) async fn is_cut(&self) {
        self.wire.cut.notified().await;
    }

    /// A peer without a connection.
    #[cfg(test)]
    pub(super) fn at(address: SocketAddr) -> Self {
        Self::new(address, 1 << 20)
    }
}

/// The connections that were dealt to one core, as a stream.
pub(super) struct Incoming {
    dealt: mpsc::UnboundedReceiver<Dealt>,
    allowance: Allowance,
    cut_all: watch::Receiver<bool>,
}

impl Incoming {
    /// Makes connections of what is dealt. All of them end when `cut_all` turns true.
    pub(super) fn new(
        dealt: mpsc::UnboundedReceiver<Dealt>,
        allowance: Allowance,
        cut_all: watch::Receiver<bool>,
    ) -> Self {
        Self {
            dealt,
            allowance,
            cut_all,
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
        let peer = Peer::new(address, self.allowance.reply_share);
        Ok(Connection {
            cut: Box::pin(cut(Arc::clone(&peer.wire), self.cut_all.clone())),
            is_cut: false,
            preface: Some(Preface {
                deadline: Box::pin(tokio::time::sleep(self.allowance.preface_timeout)),
                missing: PREFACE_SIZE,
            }),
            stream,
            peer,
            _seat: seat,
        })
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(dealt) = ready!(self.dealt.poll_recv(cx)) else {
                return Poll::Ready(None);
            };
            let address = dealt.address;
            match self.open(dealt) {
                Ok(connection) => return Poll::Ready(Some(Ok(connection))),
                Err(error) => tracing::warn!(peer = %address, %error, "cannot serve a connection"),
            }
        }
    }
}

async fn cut(wire: Arc<Wire>, mut all: watch::Receiver<bool>) {
    tokio::select! {
        () = wire.cut.notified() => {}
        // An error means that the server is gone, which cuts as well.
        _ = all.wait_for(|cut| *cut) => {}
    }
}

/// One accepted connection.
pub(super) struct Connection {
    stream: TcpStream,
    peer: Peer,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_cut: bool,
    preface: Option<Preface>,
    _seat: Seat,
}

struct Preface {
    deadline: Pin<Box<Sleep>>,
    missing: usize,
}

impl Connection {
    fn check_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_cut || self.cut.as_mut().poll(cx).is_ready() {
            self.is_cut = true;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
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

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer)?;
        self.check_preface(cx, buffer.filled().len() - before)?;
        read.map(Ok)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
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
    use tokio_stream::StreamExt as _;

    async fn listen(
        slots: usize,
        preface_timeout: Duration,
    ) -> (Incoming, SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut_all, cut) = watch::channel(false);
        let (table, mut lanes) = Table::new(1);
        tokio::spawn(accept(listener, Arc::new(Semaphore::new(slots)), table));
        let allowance = Allowance {
            preface_timeout,
            reply_share: 1 << 20,
        };
        let incoming = Incoming::new(lanes.pop().unwrap(), allowance, cut);
        (incoming, address, cut_all)
    }

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_connection_too_many_is_closed_and_a_slot_comes_back() {
        let (mut incoming, address, _cut_all) = listen(1, LONG).await;
        let _first_client = TcpStream::connect(address).await.unwrap();
        let first = incoming.next().await.unwrap().unwrap();
        let mut second_client = TcpStream::connect(address).await.unwrap();
        let third = tokio::spawn(async move {
            let connection = incoming.next().await;
            (incoming, connection)
        });
        assert_eq!(second_client.read(&mut [0; 1]).await.unwrap_or(0), 0);
        drop(first);
        let _third_client = TcpStream::connect(address).await.unwrap();
        assert!(third.await.unwrap().1.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_peer_that_never_says_http2_is_timed_out() {
        let (mut incoming, address, _cut_all) = listen(1, Duration::from_millis(20)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"PRI * ").await.unwrap();
        let mut connection = incoming.next().await.unwrap().unwrap();
        let error = connection.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_preface_lifts_the_deadline() {
        let (mut incoming, address, _cut_all) = listen(1, Duration::from_millis(20)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&[b'x'; PREFACE_SIZE]).await.unwrap();
        let mut connection = incoming.next().await.unwrap().unwrap();
        connection.read_exact(&mut [0; PREFACE_SIZE]).await.unwrap();
        assert!(connection.preface.is_none());
    }

    #[tokio::test]
    async fn a_cut_wakes_a_reader_whether_it_is_for_one_or_for_all() {
        let (mut incoming, address, cut_all) = listen(2, LONG).await;
        let _one = TcpStream::connect(address).await.unwrap();
        let mut one = incoming.next().await.unwrap().unwrap();
        let peer = one.connect_info();
        assert!(peer.is_loopback());
        let reading = tokio::spawn(async move { one.read(&mut [0; 1]).await });
        peer.cut();
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);

        let _two = TcpStream::connect(address).await.unwrap();
        let mut two = incoming.next().await.unwrap().unwrap();
        let reading = tokio::spawn(async move { two.read(&mut [0; 1]).await });
        cut_all.send(true).unwrap();
        assert!(reading.await.unwrap().is_err());
    }
}
