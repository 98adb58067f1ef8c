//! zstdb's protocol, answered as its server answers.
//!
//! Every reply is an `ItemReply` with an `errcode` of its own kind; a gRPC status is used only where
//! no such reply can be made (List, a store that is still recovering, a broken message).

mod admin;
mod archive;
mod errcode;
mod exists;
mod json;
mod keys;
mod reply;
mod set_get;

pub(super) use reply::set_too_large;

use super::access::Access;
use super::connection::Peer;
use super::delivery::Delivery;
use crate::model::Error;
use crate::proto::zstdb::badger_server::{self, BadgerServer};
use crate::proto::zstdb::{Item, ItemReply, ListFilter, ListFilterReply};
use crate::service::Service;
use std::sync::{Arc, OnceLock};
use tonic::{Request, Response, Status};

/// The name of the service on the wire.
pub(super) const SERVICE_NAME: &str = badger_server::SERVICE_NAME;

/// A command, and JSON of a path and a version. The longest key fits, so that it can be echoed.
pub(super) const ADMIN_MESSAGE_SIZE_MAX: usize = 1 << 20;

/// The paths that the admission treats in their own way.
pub(super) mod path {
    pub(in super::super) const SET: &str = "/Badger/Set";
    pub(in super::super) const GET: &str = "/Badger/Get";
    pub(in super::super) const LIST: &str = "/Badger/List";
    pub(in super::super) const ADMIN: &str = "/Badger/Admin";
    pub(in super::super) const STATUS: &str = "/Badger/Status";
}

/// The service `Badger`.
pub struct Badger {
    service: Arc<OnceLock<Service>>,
    delivery: Delivery,
    access: Arc<Access>,
}

impl Badger {
    /// Answers from `service` once it is set; until then everyone is told that it is recovering.
    pub(super) fn new(
        service: Arc<OnceLock<Service>>,
        delivery: Delivery,
        access: Arc<Access>,
    ) -> Self {
        Self {
            service,
            delivery,
            access,
        }
    }

    /// The service with its message limit.
    pub(super) fn into_server(self, message_size_max: usize) -> BadgerServer<Self> {
        BadgerServer::new(self).max_decoding_message_size(message_size_max)
    }

    fn service(&self) -> Result<&Service, Status> {
        self.service.get().ok_or_else(|| {
            Status::unavailable("store is recovering: retry, or wait until its health is SERVING")
        })
    }

    fn check_admin(&self, request: &Request<Item>) -> Result<(), Error> {
        let peer = request.extensions().get::<Peer>();
        self.access.check(peer, Some(request.get_ref().sum64))
    }
}

type Answer = Result<Response<ItemReply>, Status>;

#[tonic::async_trait]
impl badger_server::Badger for Badger {
    async fn set(&self, request: Request<Item>) -> Answer {
        let reply = set_get::set(self.service()?, request.into_inner()).await;
        Ok(Response::new(reply))
    }

    async fn get(&self, request: Request<Item>) -> Answer {
        let desk = self.delivery.desk(&request);
        set_get::get(self.service()?, desk, request.into_inner()).await
    }

    async fn delete(&self, request: Request<Item>) -> Answer {
        let reply = set_get::delete(self.service()?, request.into_inner()).await;
        Ok(Response::new(reply))
    }

    async fn exists(&self, request: Request<Item>) -> Answer {
        let reply = exists::exists(self.service()?, request.into_inner()).await;
        Ok(Response::new(reply))
    }

    async fn list(
        &self,
        request: Request<ListFilter>,
    ) -> Result<Response<ListFilterReply>, Status> {
        let page = keys::list(self.service()?, request.into_inner()).await;
        page.map(Response::new)
            .map_err(|error| errcode::status_of(&error))
    }

    async fn status(&self, request: Request<Item>) -> Answer {
        let service = self.service()?;
        let reply = match self.check_admin(&request) {
            Ok(()) => admin::status(service, request.into_inner()).await,
            Err(denied) => admin::open_status(service, request.into_inner(), &denied).await,
        };
        Ok(Response::new(reply))
    }

    async fn count(&self, request: Request<Item>) -> Answer {
        let reply = keys::count(self.service()?, request.into_inner()).await;
        Ok(Response::new(reply))
    }

    async fn ping(&self, _request: Request<Item>) -> Answer {
        self.service()?;
        Ok(Response::new(reply::data("ok")))
    }

    async fn admin(&self, request: Request<Item>) -> Answer {
        let service = self.service()?;
        let reply = match self.check_admin(&request) {
            Ok(()) => admin::admin(service, request.into_inner()).await,
            Err(denied) => reply::of_error(&denied, request.into_inner().key),
        };
        Ok(Response::new(reply))
    }
}
