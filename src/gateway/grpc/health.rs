//! `grpc.health.v1`: whether requests are answered, for the whole server and per service.

use super::zstdb;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};
use tonic_health::server::HealthReporter;

/// A health check is a service name; anything longer is an attack.
const MESSAGE_SIZE_MAX: usize = 4096;

/// The switch behind the health service. It starts as "not serving".
#[derive(Debug, Clone)]
pub(super) struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// The switch and the service that shows it.
    pub(super) async fn new() -> (Self, HealthServer<impl HealthApi>) {
        let (reporter, server) = tonic_health::server::health_reporter();
        let health = Self { reporter };
        health.set(ServingStatus::NotServing).await;
        (health, server.max_decoding_message_size(MESSAGE_SIZE_MAX))
    }

    /// Requests are answered.
    pub(super) async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// Requests are not answered: recovering or draining.
    pub(super) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for service in ["", zstdb::SERVICE_NAME] {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
