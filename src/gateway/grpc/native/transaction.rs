//! The service `TransactionService`: commits.

use super::once::{name_of, once};
use super::{Native, answer, door, entry, write};
use crate::model::{Error, Namespace, Result, Timestamp};
use crate::proto::v1;
use crate::proto::v1::transaction_service_server::TransactionService;
use crate::service::{
    Addition, Commit, CommitDone, KeyRequirement, NewEntry, Service, Step, StepDone,
};
use tonic::{Request, Response, Status};

async fn commit(service: &Service, mut request: v1::CommitRequest) -> Result<v1::CommitResponse> {
    let Some(named) = name_of(service, &mut request)? else {
        return commit_now(service, request).await;
    };
    let own = service.clone();
    once(
        service,
        named,
        async move { commit_now(&own, request).await },
    )
    .await
}

async fn commit_now(service: &Service, request: v1::CommitRequest) -> Result<v1::CommitResponse> {
    let namespace = door::namespace(service, &request.namespace)?;
    let now = service.now();
    let step = |operation| step(operation, &namespace, now);
    let commit = Commit {
        conditions: numbered(request.conditions, "conditions", condition)?,
        operations: numbered(request.operations, "operations", step)?,
        otherwise: numbered(request.else_operations, "else_operations", step)?,
    };
    let CommitDone {
        succeeded,
        version,
        results,
    } = service.commit(&namespace, commit).await?;
    Ok(v1::CommitResponse {
        succeeded,
        version: version.unwrap_or_default().0,
        results: results.into_iter().map(result).collect::<Result<_>>()?,
        run: service.run_id(),
    })
}

/// A list, each entry of which names itself where it is wrong.
fn numbered<T, U>(list: Vec<T>, field: &str, of: impl Fn(T) -> Result<U>) -> Result<Vec<U>> {
    let numbered = list.into_iter().enumerate();
    let parsed = numbered.map(|(number, entry)| {
        of(entry).map_err(|error| error.inside(&format!("{field}[{number}]")))
    });
    parsed.collect()
}

fn condition(asked: v1::KeyCondition) -> Result<KeyRequirement> {
    let requirement = door::requirement(asked.condition)?.ok_or_else(|| {
        let message = "a condition asks for nothing: set absent, present, version or digest";
        Error::invalid("CONDITION_EMPTY", message).at("condition")
    })?;
    Ok(KeyRequirement {
        key: asked.key,
        requirement,
    })
}

fn step(operation: v1::Operation, namespace: &Namespace, now: Timestamp) -> Result<Step> {
    use v1::operation::Change;
    let key = operation.key;
    match operation.change {
        Some(Change::Delete(v1::DeleteOperation {})) => Ok(Step::Delete(key)),
        Some(Change::Put(put)) => {
            let entry = || {
                Ok(NewEntry {
                    key,
                    digest: door::optional_digest(&put.digest, "digest")?,
                    sum64: put.sum64,
                    lifetime: door::put_lifetime(put.expiry, namespace, now)?,
                    attributes: door::attributes(put.value_type, put.metadata)?,
                    data: put.value,
                })
            };
            let entry = entry().map_err(|error: Error| error.inside("put"))?;
            Ok(Step::Put(Box::new(entry)))
        }
        Some(Change::Touch(touch)) => {
            let lifetime = door::lifetime(touch.expiry, now);
            let lifetime = lifetime.map_err(|error| error.inside("touch"))?;
            Ok(Step::Touch(key, lifetime))
        }
        Some(Change::Increment(increment)) => {
            let addition = Addition {
                delta: increment.delta,
                initial: increment.initial_value,
            };
            Ok(Step::Increment(key, addition))
        }
        None => {
            let message = "an operation does nothing: set put, delete, touch or increment";
            Err(Error::invalid("OPERATION_EMPTY", message))
        }
    }
}

fn result(done: StepDone) -> Result<v1::OperationResult> {
    use v1::operation_result::Result as Of;
    let of = match done {
        StepDone::Put(done) => Of::Put(write::put_response(done)),
        StepDone::Delete(done) => Of::Delete(write::delete_response(done)),
        // The run is told once, by the answer itself.
        StepDone::Touch(key, head) => Of::Touch(v1::TouchResponse {
            entry: Some(entry::entry(key.to_bytes(), &head)?),
            run: 0,
        }),
        StepDone::Increment(done) => Of::Increment(v1::IncrementResponse {
            value: done.value,
            version: done.version.0,
            run: 0,
        }),
    };
    Ok(v1::OperationResult { result: Some(of) })
}

#[tonic::async_trait]
impl TransactionService for Native {
    async fn commit(
        &self,
        request: Request<v1::CommitRequest>,
    ) -> Result<Response<v1::CommitResponse>, Status> {
        answer(commit(self.service()?, request.into_inner()).await)
    }
}
