//! The protobuf front: a whole server in this process, and a client of it.
#![no_main]

#[path = "../../tests/adversary/entries/mod.rs"]
mod entries;

use shardkeep::config::Layers;
use std::sync::LazyLock;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

static CLIENT: LazyLock<(Runtime, Channel)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let channel = runtime.block_on(connect(serve()));
    (runtime, channel)
});

/// Starts the server; its port.
fn serve() -> u16 {
    let data = tempfile::tempdir().unwrap().keep();
    // Free now; if another takes it until the server listens, the server says so and ends.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let flags = [
        ("storage.data_dir", data.to_str().unwrap().to_owned()),
        ("storage.durability", "os".to_owned()),
        ("server.port", port.to_string()),
        ("admin.password", "123".to_owned()),
        ("keys.mode", "user".to_owned()),
        ("keys.overwrite", "true".to_owned()),
        ("disk.min_free", "1 MiB".to_owned()),
        ("log.level", "error".to_owned()),
    ];
    let flags = flags.map(|(key, value)| (key, value, "--fuzz"));
    let config = Layers::new().flags(flags.to_vec()).load().unwrap().config;
    std::thread::spawn(|| {
        let ended = shardkeep::start::run(config);
        panic!("the server ended: {ended:?}");
    });
    port
}

async fn connect(port: u16) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    loop {
        let Ok(channel) = endpoint.connect().await else {
            continue;
        };
        // Until the store is open, everyone is told to retry.
        let mut client = shardkeep::proto::zstdb::badger_client::BadgerClient::new(channel.clone());
        if client.ping(shardkeep::proto::zstdb::Item::default()).await.is_ok() {
            return channel;
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (runtime, channel) = &*CLIENT;
    runtime.block_on(entries::front::front(channel, data));
});
