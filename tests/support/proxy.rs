//! A way to a server that can be cut, and led to another server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a server.
pub struct Proxy {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    cuts: watch::Sender<u64>,
    accepted: Arc<AtomicUsize>,
}

impl Proxy {
    /// A way to this server.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(target));
        let cuts = watch::Sender::new(0);
        let (to, cut) = (Arc::clone(&target), cuts.clone());
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (far, mut cut) = (*to.lock().unwrap(), cut.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(near, far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            target,
            cuts,
            accepted,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that came so far.
    #[allow(dead_code, reason = "not every test counts")]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Cuts all connections; new ones are passed on.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Leads new connections to another server.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
        self.cut();
    }
}

async fn pass(mut near: TcpStream, far: SocketAddr) {
    // A server that is not there is a connection that ends.
    if let Ok(mut far) = TcpStream::connect(far).await {
        let _cut = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}
