//! Namespaces, in the native protocol.

use super::connect::channel;
use super::{ClientError, Result};
use crate::proto::v1;
use crate::proto::v1::namespace_service_client::NamespaceServiceClient;
use std::sync::Arc;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// Makes, tells of, changes and drops namespaces. Nothing is asked twice.
#[derive(Debug, Clone)]
pub struct Namespaces {
    address: Arc<str>,
    wire: NamespaceServiceClient<Channel>,
}

impl Namespaces {
    /// Connects to `address` (`HOST:PORT`).
    ///
    /// # Errors
    /// [`ClientError::Address`] or [`ClientError::Unreachable`].
    pub async fn connect(address: &str) -> Result<Self> {
        Ok(Self {
            address: address.into(),
            wire: NamespaceServiceClient::new(channel(address).await?),
        })
    }

    /// All namespaces, in the order of their names.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list(&mut self) -> Result<Vec<v1::Namespace>> {
        let mut request = v1::ListNamespacesRequest::default();
        let mut all = Vec::new();
        loop {
            let page = self.wire.list_namespaces(request.clone()).await;
            let page = self.accept("list namespaces", "", page)?;
            all.extend(page.namespaces);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// What a namespace is and holds.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and those of every call.
    pub async fn get(&mut self, name: &str) -> Result<v1::Namespace> {
        let request = v1::GetNamespaceRequest {
            name: name.to_owned(),
        };
        let told = self.wire.get_namespace(request).await;
        self.accept("describe namespace", name, told)
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn create(
        &mut self,
        name: &str,
        options: v1::NamespaceOptions,
    ) -> Result<v1::Namespace> {
        let request = v1::CreateNamespaceRequest {
            name: name.to_owned(),
            options: Some(options),
        };
        let made = self.wire.create_namespace(request).await;
        self.accept("create namespace", name, made)
    }

    /// Changes those rules of a namespace that `paths` name, such as `options.overwrite`.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and those of every call.
    pub async fn update(
        &mut self,
        name: &str,
        options: v1::NamespaceOptions,
        paths: Vec<String>,
    ) -> Result<v1::Namespace> {
        let request = v1::UpdateNamespaceRequest {
            namespace: Some(v1::Namespace {
                name: name.to_owned(),
                options: Some(options),
                ..v1::Namespace::default()
            }),
            update_mask: Some(prost_types::FieldMask { paths }),
        };
        let changed = self.wire.update_namespace(request).await;
        self.accept("update namespace", name, changed)
    }

    /// Drops a namespace with everything in it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and those of every call.
    pub async fn drop(&mut self, name: &str) -> Result<()> {
        let request = v1::DropNamespaceRequest {
            name: name.to_owned(),
        };
        let dropped = self.wire.drop_namespace(request).await;
        self.accept("drop namespace", name, dropped)?;
        Ok(())
    }

    fn accept<T>(
        &self,
        call: &'static str,
        name: &str,
        answer: Result<Response<T>, Status>,
    ) -> Result<T> {
        let answer = answer.map_err(|status| match status.code() {
            Code::NotFound => ClientError::NotFound {
                key: format!("namespace {name}"),
            },
            _ => ClientError::from_status(call, &self.address, &status),
        });
        Ok(answer?.into_inner())
    }
}
