//! The gRPC server: its limits, its services, and how it stops.

use super::accept::{Table, accept};
use super::access::Access;
use super::admission::{Admitted, Gate};
use super::budget::ByteBudget;
use super::connection::{Allowance, Incoming};
use super::delivery::Delivery;
use super::health::Health;
use super::idle::Row;
use super::serving::{self, Core, Http, Phase};
use super::{native, zstdb};
use crate::config;
use crate::proto;
use crate::service::Service;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};

/// Frames a peer may send; large ones make large values cheap.
const FRAME_SIZE: u32 = 1 << 20;

/// A message is a value, a key and a few bytes of framing. A value that is a little too large still
/// reaches the service, which answers in the words of the protocol.
const MESSAGE_MARGIN: u64 = 1 << 20;

/// A reflection request is a name.
const REFLECTION_MESSAGE_SIZE_MAX: usize = 64 * 1024;

/// Fewer connections than this cannot fill the budget of replies.
const CONNECTIONS_TO_FILL: u64 = 8;

/// How long cut connections get to close.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// The gRPC front, ready to listen. Until [`GatewayHandle::open`] gives it a store it answers health
/// checks ("not serving") and tells everyone else that the store is recovering.
pub struct Gateway {
    config: config::Server,
    reply_share: usize,
    routes: Routes,
    handle: GatewayHandle,
}

/// What the rest of the program holds of a running [`Gateway`].
#[derive(Clone)]
pub struct GatewayHandle {
    pub(super) service: Arc<OnceLock<Service>>,
    pub(super) health: Health,
}

impl GatewayHandle {
    /// Starts to serve requests from a recovered store. Only the first call counts.
    pub async fn open(&self, service: Service) {
        if self.service.set(service).is_ok() {
            self.health.serving().await;
        }
    }

    /// Tells health checks that this server is about to stop; requests are still answered.
    pub async fn drain(&self) {
        self.health.not_serving().await;
    }
}

impl Gateway {
    /// A front with these limits.
    pub async fn new(
        server: &config::Server,
        admission: &config::Admission,
        admin: &config::Admin,
    ) -> Self {
        let (health, health_server) = Health::new().await;
        let service = Arc::default();
        let gate = Arc::new(gate(server, admission));
        let access = Arc::new(Access::new(admin));
        let badger = zstdb::Badger::new(
            Arc::clone(&service),
            gate.delivery.clone(),
            Arc::clone(&access),
        );
        let native = native::Native::new(
            Arc::clone(&service),
            gate.delivery.clone(),
            access,
            native::Timeouts {
                stall: server.keepalive_timeout,
                message: server.request_timeout,
            },
        );
        let routes = routes(badger, native, &gate, health_server);
        let handle = GatewayHandle { service, health };
        Self::of(server, admission, routes, handle)
    }

    /// A front of these routes: what the real one and the no-op one have in common.
    pub(super) fn of(
        server: &config::Server,
        admission: &config::Admission,
        routes: Routes,
        handle: GatewayHandle,
    ) -> Self {
        Self {
            config: server.clone(),
            routes,
            reply_share: usize::try_from(admission.bytes_in_flight / CONNECTIONS_TO_FILL)
                .unwrap_or(usize::MAX),
            handle,
        }
    }

    /// A handle on this front; it stays good while [`serve`](Self::serve) runs.
    #[must_use]
    pub fn handle(&self) -> GatewayHandle {
        self.handle.clone()
    }

    /// Serves on `cores`, each a runtime of one thread, until `shutdown` resolves; then takes no
    /// more connections, finishes what was accepted, and after `server.drain_timeout` cuts what is
    /// left.
    pub async fn serve(
        self,
        listener: TcpListener,
        cores: &[Handle],
        shutdown: impl Future<Output = ()>,
    ) {
        let slots = Arc::new(Semaphore::new(self.config.max_connections));
        let (phase, is_in) = watch::channel(Phase::Serving);
        let (table, lanes) = Table::new(cores.len());
        let staying = self
            .config
            .max_idle_connections
            .div_ceil(cores.len().max(1));
        let mut served = JoinSet::new();
        for ((core, lane), count) in cores.iter().zip(lanes).zip(table.counts()) {
            let incoming = Incoming::new(lane, self.allowance());
            let row = Row::new(staying, count);
            let serving = Core::new(http(&self.config), self.routes.clone(), row, is_in.clone());
            served.spawn_on(serving.run(incoming), core);
        }
        tokio::select! {
            () = accept(listener, Arc::clone(&slots), table) => {}
            Some(ended) = served.join_next() => return told(ended),
            () = shutdown => {}
        }
        self.handle.drain().await;
        phase.send_replace(Phase::Draining);
        let all_served = async {
            while let Some(ended) = served.join_next().await {
                told(ended);
            }
        };
        let drained = tokio::time::timeout(self.config.drain_timeout, all_served).await;
        if drained.is_err() {
            tracing::warn!(
                open = self.config.max_connections - slots.available_permits(),
                "connections cut: they were not done in server.drain_timeout={:?}",
                self.config.drain_timeout
            );
        }
        close_connections(&phase, &slots, self.config.max_connections).await;
    }

    fn allowance(&self) -> Allowance {
        Allowance {
            preface_timeout: self.config.keepalive_timeout,
            reply_share: self.reply_share,
        }
    }
}

/// How one core ended. A panic there is a panic here: it was no request's.
fn told(ended: Result<(), JoinError>) {
    if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
        std::panic::resume_unwind(panic);
    }
}

async fn close_connections(phase: &watch::Sender<Phase>, slots: &Semaphore, max: usize) {
    phase.send_replace(Phase::Cut);
    let all = u32::try_from(max).unwrap_or(u32::MAX);
    if tokio::time::timeout(CUT_TIMEOUT, slots.acquire_many(all))
        .await
        .is_err()
    {
        tracing::warn!("connections did not close in {CUT_TIMEOUT:?} after they were cut");
    }
}

/// The limits that requests pass before their bodies are read.
pub(super) fn gate(server: &config::Server, admission: &config::Admission) -> Gate {
    // Half of the time may be spent waiting, so that the other half is left for the work.
    let budget = || ByteBudget::new(admission.bytes_in_flight, server.request_timeout / 2);
    Gate {
        requests: budget(),
        delivery: Delivery::new(budget(), server.keepalive_timeout),
        request_timeout: server.request_timeout,
        value_size_max: server.max_upload_size,
        message_size_max: usize::try_from(server.max_upload_size + MESSAGE_MARGIN)
            .unwrap_or(usize::MAX),
    }
}

fn routes(
    badger: zstdb::Badger,
    native: native::Native,
    gate: &Arc<Gate>,
    health: HealthServer<impl HealthApi>,
) -> Routes {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    const COMPILED_IN: &str = "these descriptors were checked when they were compiled in";
    let reflection_v1 = reflection().build_v1().expect(COMPILED_IN);
    let reflection_v1alpha = reflection().build_v1alpha().expect(COMPILED_IN);
    let badger = badger.into_server(gate.message_size_max);
    let zstdb = Routes::new(Admitted::new(badger, Arc::clone(gate)));
    native
        .add_to(zstdb, gate)
        .add_service(health)
        .add_service(reflection_v1.max_decoding_message_size(REFLECTION_MESSAGE_SIZE_MAX))
        .add_service(reflection_v1alpha.max_decoding_message_size(REFLECTION_MESSAGE_SIZE_MAX))
}

/// Every limit is set on purpose; see the room's documentation for what each one bounds.
fn http(config: &config::Server) -> Http {
    let mut http = serving::http();
    http.max_concurrent_streams(config.max_streams_per_connection)
        .max_header_list_size(config.max_header_list_size)
        .initial_stream_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window)
        .max_frame_size(FRAME_SIZE)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    http
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
