//! A way to a server that can be cut, and led to another server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a server.
pub struct Proxy {
    address: SocketAddr,
    /// Nowhere, while it is held.
    target: watch::Sender<Option<SocketAddr>>,
    cuts: watch::Sender<u64>,
    accepted: Arc<AtomicUsize>,
}

impl Proxy {
    /// A way to this server.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = watch::Sender::new(Some(target));
        let cuts = watch::Sender::new(0);
        let (to, cut) = (target.subscribe(), cuts.clone());
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (to, mut cut) = (to.clone(), cut.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(near, to) => {}
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

    /// Lets new connections wait for where they are led next.
    #[allow(dead_code, reason = "not every test leads to another server")]
    pub fn hold(&self) {
        self.target.send_replace(None);
    }

    /// Leads new connections to another server.
    #[allow(dead_code, reason = "not every test leads to another server")]
    pub fn lead_to(&self, target: SocketAddr) {
        self.cut();
        self.target.send_replace(Some(target));
    }
}

async fn pass(mut near: TcpStream, mut to: watch::Receiver<Option<SocketAddr>>) {
    let Ok(Some(far)) = to.wait_for(Option::is_some).await.map(|to| *to) else {
        return;
    };
    // A server that is not there is a connection that ends.
    if let Ok(mut far) = TcpStream::connect(far).await {
        let _cut = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}
