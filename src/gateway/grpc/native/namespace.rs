//! The service `NamespaceService`.

use super::token::Query;
use super::{Native, answer, door, entry};
use crate::model::{Error, Namespace, NamespaceId, NamespaceOptions, Result};
use crate::proto::v1;
use crate::proto::v1::namespace_service_server::NamespaceService;
use crate::service::{NamespaceChange, Service, Totals};
use tonic::{Request, Response, Status};

/// Namespaces on a page.
const PAGE: door::Count = door::Count {
    field: "page_size",
    default: 100,
    max: 1000,
};

fn message(of: &Namespace, counts: Totals) -> v1::Namespace {
    let options = &of.options;
    let mode = match options.by_content {
        true => v1::KeyMode::Content,
        false => v1::KeyMode::User,
    };
    let is_default = of.id == NamespaceId::DEFAULT;
    v1::Namespace {
        name: of.name.clone(),
        options: Some(v1::NamespaceOptions {
            key_mode: mode.into(),
            overwrite: Some(options.overwrite),
            default_ttl: options.default_ttl_ms.map(entry::duration),
            value_size_max: options.value_size_max.unwrap_or_default(),
            compress: Some(options.compress),
            dedup: Some(options.dedup),
        }),
        create_time: (!is_default).then(|| entry::time(of.created_at)),
        version: of.version.0,
        counts: Some(v1::NamespaceCounts {
            keys: counts.keys,
            logical_bytes: counts.logical_bytes,
            unique_bytes: counts.unique_bytes,
            stored_bytes: counts.stored_bytes,
        }),
    }
}

/// The message of a namespace, with what it holds now.
async fn told(service: &Service, namespace: &Namespace) -> Result<v1::Namespace> {
    Ok(message(namespace, service.counts_of(namespace.id).await?))
}

/// The rules that a client asks for in a field.
fn options_of(asked: Option<v1::NamespaceOptions>, field: &str) -> Result<NamespaceOptions> {
    let asked = asked.unwrap_or_default();
    let mode = v1::KeyMode::try_from(asked.key_mode).map_err(|_| {
        let message = format!("key_mode is {}: it needs 0 to 2", asked.key_mode);
        Error::invalid("KEY_MODE_UNKNOWN", message).at(format!("{field}.key_mode"))
    })?;
    let ttl = asked.default_ttl;
    let ttl = ttl.map(|ttl| door::ttl_ms(ttl, format!("{field}.default_ttl")));
    Ok(NamespaceOptions {
        by_content: mode == v1::KeyMode::Content,
        overwrite: asked.overwrite.unwrap_or(true),
        default_ttl_ms: ttl.transpose()?,
        value_size_max: (asked.value_size_max > 0).then_some(asked.value_size_max),
        compress: asked.compress.unwrap_or(true),
        dedup: asked.dedup.unwrap_or(true),
    })
}

/// Of the options of an update what its mask names, so that nothing else is judged.
fn only_named(
    asked: Option<v1::NamespaceOptions>,
    mask: Option<&prost_types::FieldMask>,
) -> v1::NamespaceOptions {
    let asked = asked.unwrap_or_default();
    let names_ttl = mask.is_some_and(|mask| mask.paths.iter().any(|path| path == DEFAULT_TTL));
    v1::NamespaceOptions {
        // It can never be named.
        key_mode: v1::KeyMode::Unspecified.into(),
        default_ttl: asked.default_ttl.filter(|_| names_ttl),
        ..asked
    }
}

/// What a mask takes over from the options that a client sent.
fn change_of(
    mask: Option<prost_types::FieldMask>,
    options: &NamespaceOptions,
) -> Result<NamespaceChange> {
    let paths = mask.unwrap_or_default().paths;
    let wrong = |reason, message| Err(Error::invalid(reason, message).at("update_mask"));
    if paths.is_empty() {
        let message = format!("update_mask is empty: name what changes, of {CHANGEABLE}");
        return wrong("UPDATE_MASK_EMPTY", message);
    }
    let mut change = NamespaceChange::default();
    for path in paths {
        match path.as_str() {
            "options.overwrite" => change.overwrite = Some(options.overwrite),
            DEFAULT_TTL => change.default_ttl_ms = Some(options.default_ttl_ms),
            "options.value_size_max" => change.value_size_max = Some(options.value_size_max),
            "options.compress" => change.compress = Some(options.compress),
            "options.dedup" => change.dedup = Some(options.dedup),
            _ => {
                let message = format!(
                    "update_mask names {path:?}, which cannot be changed: it takes {CHANGEABLE}"
                );
                return wrong("UPDATE_MASK_PATH", message);
            }
        }
    }
    Ok(change)
}

/// The path of the option whose values are judged when it is read.
const DEFAULT_TTL: &str = "options.default_ttl";

const CHANGEABLE: &str = "options.overwrite, options.default_ttl, options.value_size_max, options.compress and options.dedup";

async fn create(service: &Service, request: v1::CreateNamespaceRequest) -> Result<v1::Namespace> {
    let options = options_of(request.options, "options")?;
    let made = service.create_namespace(&request.name, options).await;
    let made = made.map_err(|error| error.at("name"))?;
    Ok(message(&made, Totals::default()))
}

async fn get(service: &Service, request: v1::GetNamespaceRequest) -> Result<v1::Namespace> {
    let namespace = service.namespace(&request.name);
    told(service, &*namespace.map_err(|error| error.at("name"))?).await
}

async fn list(
    service: &Service,
    request: v1::ListNamespacesRequest,
) -> Result<v1::ListNamespacesResponse> {
    let count = PAGE.of(request.page_size)?;
    let query = Query::new(b"namespaces");
    let last = query.last_of(&request.page_token)?;
    let counts = service.counts().await?;
    let mut left = service.namespaces()?;
    left.retain(|it| {
        last.as_ref()
            .is_none_or(|last| it.name.as_bytes() > last.as_bytes())
    });
    let more = left.len() > count;
    left.truncate(count);
    let next = left.last().filter(|_| more);
    let counts_of = |id| counts.get(&id).copied().unwrap_or_default();
    Ok(v1::ListNamespacesResponse {
        next_page_token: next.map_or_else(String::new, |it| query.token_after(it.name.as_bytes())),
        namespaces: left
            .iter()
            .map(|it| message(it, counts_of(it.id)))
            .collect(),
    })
}

async fn update(service: &Service, request: v1::UpdateNamespaceRequest) -> Result<v1::Namespace> {
    let asked = request.namespace.unwrap_or_default();
    let options = only_named(asked.options, request.update_mask.as_ref());
    let options = options_of(Some(options), "namespace.options")?;
    let change = change_of(request.update_mask, &options)?;
    let changed = service.update_namespace(&asked.name, change).await;
    told(
        service,
        &*changed.map_err(|error| error.at("namespace.name"))?,
    )
    .await
}

async fn drop(
    service: &Service,
    request: v1::DropNamespaceRequest,
) -> Result<v1::DropNamespaceResponse> {
    let dropped = service.drop_namespace(&request.name).await;
    dropped.map_err(|error| error.at("name"))?;
    Ok(v1::DropNamespaceResponse {})
}

#[tonic::async_trait]
impl NamespaceService for Native {
    async fn create_namespace(
        &self,
        request: Request<v1::CreateNamespaceRequest>,
    ) -> Result<Response<v1::Namespace>, Status> {
        answer(create(self.service()?, request.into_inner()).await)
    }

    async fn get_namespace(
        &self,
        request: Request<v1::GetNamespaceRequest>,
    ) -> Result<Response<v1::Namespace>, Status> {
        answer(get(self.service()?, request.into_inner()).await)
    }

    async fn list_namespaces(
        &self,
        request: Request<v1::ListNamespacesRequest>,
    ) -> Result<Response<v1::ListNamespacesResponse>, Status> {
        answer(list(self.service()?, request.into_inner()).await)
    }

    async fn update_namespace(
        &self,
        request: Request<v1::UpdateNamespaceRequest>,
    ) -> Result<Response<v1::Namespace>, Status> {
        answer(update(self.service()?, request.into_inner()).await)
    }

    async fn drop_namespace(
        &self,
        request: Request<v1::DropNamespaceRequest>,
    ) -> Result<Response<v1::DropNamespaceResponse>, Status> {
        answer(drop(self.service()?, request.into_inner()).await)
    }
}
