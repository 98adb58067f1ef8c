//! One listener, and the cores that connections are dealt to.
//!
//! Every core serves its connections on a runtime of its own, so that no request wakes another
//! core or moves to it. One acceptor deals to the core that has the fewest, which `SO_REUSEPORT`
//! would leave to a hash: with a handful of busy clients, one core could get them all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How long the listener rests after an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection on its way to a core.
#[derive(Debug)]
pub(super) struct Dealt {
    pub(super) stream: std::net::TcpStream,
    pub(super) address: SocketAddr,
    pub(super) seat: Seat,
}

/// One connection's place: in the limit of all, and in the count of its core. Dropped with it.
#[derive(Debug)]
pub(super) struct Seat {
    taken: Arc<AtomicUsize>,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where connections are dealt: a lane per core.
#[derive(Debug)]
pub(super) struct Table {
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    /// Bounded by the slots: what waits in it has one.
    deal: mpsc::UnboundedSender<Dealt>,
    taken: Arc<AtomicUsize>,
}

impl Table {
    /// A table for so many cores, and each core's end of it.
    pub(super) fn new(cores: usize) -> (Self, Vec<mpsc::UnboundedReceiver<Dealt>>) {
        let lane = || {
            let (deal, dealt) = mpsc::unbounded_channel();
            let taken = Arc::default();
            (Lane { deal, taken }, dealt)
        };
        let (lanes, dealt) = std::iter::repeat_with(lane).take(cores.max(1)).unzip();
        (Self { lanes }, dealt)
    }

    /// How many connections each core has.
    pub(super) fn counts(&self) -> Vec<Arc<AtomicUsize>> {
        self.lanes.iter().map(|lane| lane.taken.clone()).collect()
    }

    /// To the core with the fewest connections.
    fn deal(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        slot: OwnedSemaphorePermit,
    ) -> io::Result<()> {
        let stream = stream.into_std()?;
        let fewest = |lane: &&Lane| lane.taken.load(Ordering::Relaxed);
        let Some(lane) = self.lanes.iter().min_by_key(fewest) else {
            return Ok(());
        };
        lane.taken.fetch_add(1, Ordering::Relaxed);
        let seat = Seat {
            taken: lane.taken.clone(),
            _slot: slot,
        };
        let dealt = Dealt {
            stream,
            address,
            seat,
        };
        // A core that is gone closes the connection: the server is stopping.
        let _ = lane.deal.send(dealt);
        Ok(())
    }
}

/// Accepts for ever while `slots` has permits; a connection holds one for its life. Errors are
/// waited out, never passed on.
pub(super) async fn accept(listener: TcpListener, slots: Arc<Semaphore>, table: Table) {
    let mut refusing = false;
    loop {
        let accepted = listener.accept().await.and_then(|(stream, address)| {
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                if !refusing {
                    tracing::warn!(
                        peer = %address,
                        "connection refused: server.max_connections are open; further refusals are not logged until one is accepted"
                    );
                }
                refusing = true;
                return Ok(());
            };
            refusing = false;
            table.deal(stream, address, slot)
        });
        if let Err(error) = accepted {
            tracing::warn!(%error, "cannot accept a connection; trying again in {ACCEPT_PAUSE:?}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_go_to_the_core_that_has_the_fewest() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (table, mut lanes) = Table::new(2);
        tokio::spawn(accept(listener, Arc::new(Semaphore::new(8)), table));
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let one = lanes[0].recv().await.unwrap();
        let others = (
            lanes[1].recv().await.unwrap(),
            lanes[1].recv().await.unwrap(),
        );
        let three = lanes[0].recv().await.unwrap();
        drop(others);
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
            assert!(lanes[1].recv().await.is_some());
        }
        drop((one, three));
    }
}
