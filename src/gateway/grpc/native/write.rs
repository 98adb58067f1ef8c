//! Put, Delete, DeleteRange, Touch and Increment.

use super::once::{name_of, once};
use super::token::Query;
use super::{door, entry};
use crate::model::{Direction, Result};
use crate::proto::v1;
use crate::service::{Addition, DeleteDone, Put, PutDone, Service};
use prost::Message as _;

/// Stores a value.
pub(super) async fn put(service: &Service, mut request: v1::PutRequest) -> Result<v1::PutResponse> {
    let Some(named) = name_of(service, &mut request)? else {
        return put_now(service, request).await;
    };
    let own = service.clone();
    once(service, named, async move { put_now(&own, request).await }).await
}

async fn put_now(service: &Service, request: v1::PutRequest) -> Result<v1::PutResponse> {
    // A server that takes no writes says so before it looks at one.
    service.check_set_allowed()?;
    let namespace = &*door::namespace(service, &request.namespace)?;
    let lifetime = door::put_lifetime(request.expiry, namespace, service.now())?;
    let put = Put {
        namespace,
        key: &request.key,
        data: request.value,
        sum64: request.sum64,
        digest: door::optional_digest(&request.digest, "digest")?,
        rule: door::put_rule(request.condition)?,
        lifetime,
        attributes: door::attributes(request.value_type, request.metadata)?,
    };
    let done = service.put(put).await?;
    Ok(v1::PutResponse {
        run: service.run_id(),
        ..put_response(done)
    })
}

/// As it stands in the answer of another call, too: that one tells the run.
pub(super) fn put_response(done: PutDone) -> v1::PutResponse {
    v1::PutResponse {
        key: done.key.to_bytes(),
        version: done.version.0,
        digest: done.digest.map(entry::digest).unwrap_or_default(),
        created: done.changed && done.previous.is_none(),
        deduplicated: !done.stored,
        previous_version: done.previous.unwrap_or_default().0,
        run: 0,
    }
}

/// Removes a key.
pub(super) async fn delete(
    service: &Service,
    mut request: v1::DeleteRequest,
) -> Result<v1::DeleteResponse> {
    let Some(named) = name_of(service, &mut request)? else {
        return delete_now(service, request).await;
    };
    let own = service.clone();
    once(
        service,
        named,
        async move { delete_now(&own, request).await },
    )
    .await
}

async fn delete_now(service: &Service, request: v1::DeleteRequest) -> Result<v1::DeleteResponse> {
    service.check_delete_allowed()?;
    let namespace = door::namespace(service, &request.namespace)?;
    let requirement = door::requirement(request.condition)?;
    let done = service
        .delete_if(&namespace, &request.key, requirement)
        .await?;
    Ok(v1::DeleteResponse {
        run: service.run_id(),
        ..delete_response(done)
    })
}

/// As [`put_response`].
pub(super) fn delete_response(done: Option<DeleteDone>) -> v1::DeleteResponse {
    v1::DeleteResponse {
        deleted: done.is_some(),
        version: done.map_or(0, |done| done.version.0),
        previous_version: done.and_then(|done| done.previous).unwrap_or_default().0,
        run: 0,
    }
}

/// Keys that one call removes.
const LIMIT: door::Count = door::Count {
    field: "limit",
    default: 10_000,
    max: 10_000,
};

/// Removes keys that lie together.
pub(super) async fn delete_range(
    service: &Service,
    mut request: v1::DeleteRangeRequest,
) -> Result<v1::DeleteRangeResponse> {
    let Some(named) = name_of(service, &mut request)? else {
        return delete_range_now(service, request).await;
    };
    let own = service.clone();
    once(service, named, async move {
        delete_range_now(&own, request).await
    })
    .await
}

async fn delete_range_now(
    service: &Service,
    request: v1::DeleteRangeRequest,
) -> Result<v1::DeleteRangeResponse> {
    service.check_delete_allowed()?;
    let namespace = door::namespace(service, &request.namespace)?;
    let limit = LIMIT.of(request.limit)?;
    let query = query_of(&request);
    let last = query.last_of(&request.page_token)?;
    let mut range = door::range(request.selection)?.bounded()?;
    if let Some(last) = &last {
        range = range.after(last.as_bytes(), Direction::Forward);
    }
    let done = service.delete_range(namespace, range, limit as u64);
    let done = done.await?;
    let next = done.last.map(|last| query.token_after(last.as_bytes()));
    Ok(v1::DeleteRangeResponse {
        deleted_count: done.deleted,
        next_page_token: next.unwrap_or_default(),
        run: service.run_id(),
    })
}

/// What must stay the same from call to call.
fn query_of(request: &v1::DeleteRangeRequest) -> Query {
    let lasting = v1::DeleteRangeRequest {
        limit: 0,
        page_token: String::new(),
        request_id: String::new(),
        ..request.clone()
    };
    Query::new(&lasting.encode_to_vec())
}

/// Sets when a key expires.
pub(super) async fn touch(
    service: &Service,
    mut request: v1::TouchRequest,
) -> Result<v1::TouchResponse> {
    let Some(named) = name_of(service, &mut request)? else {
        return touch_now(service, request).await;
    };
    let own = service.clone();
    once(
        service,
        named,
        async move { touch_now(&own, request).await },
    )
    .await
}

async fn touch_now(service: &Service, request: v1::TouchRequest) -> Result<v1::TouchResponse> {
    service.check_set_allowed()?;
    let namespace = door::namespace(service, &request.namespace)?;
    let requirement = door::requirement(request.condition)?;
    let lifetime = door::lifetime(request.expiry, service.now())?;
    let head = service
        .touch(&namespace, &request.key, requirement, lifetime)
        .await?;
    Ok(v1::TouchResponse {
        entry: Some(entry::entry(request.key, &head)?),
        run: service.run_id(),
    })
}

/// Adds to a counter.
pub(super) async fn increment(
    service: &Service,
    mut request: v1::IncrementRequest,
) -> Result<v1::IncrementResponse> {
    let Some(named) = name_of(service, &mut request)? else {
        return increment_now(service, request).await;
    };
    let own = service.clone();
    once(
        service,
        named,
        async move { increment_now(&own, request).await },
    )
    .await
}

async fn increment_now(
    service: &Service,
    request: v1::IncrementRequest,
) -> Result<v1::IncrementResponse> {
    service.check_set_allowed()?;
    let namespace = door::namespace(service, &request.namespace)?;
    let requirement = door::requirement(request.condition)?;
    let addition = Addition {
        delta: request.delta,
        initial: request.initial_value,
    };
    let done = service.increment(&namespace, &request.key, requirement, addition);
    let done = done.await?;
    Ok(v1::IncrementResponse {
        value: done.value,
        version: done.version.0,
        run: service.run_id(),
    })
}
