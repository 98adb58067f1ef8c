//! The service `BackupService`.

use super::progress::{Gauge, Messages, told};
use super::token::Query;
use super::{Native, answer, door, entry};
use crate::model::{Error, Result, Version};
use crate::proto::v1;
use crate::proto::v1::backup_service_server::BackupService;
use crate::proto::v1::{
    create_backup_response as create, restore_backup_response as restore,
    verify_backup_response as verify,
};
use crate::service::{BackupProgress, RestoreDone, RestoreSource, Service, Stored};
use tonic::{Request, Response, Status};

/// Backups on a page.
const PAGE: door::Count = door::Count {
    field: "page_size",
    default: 100,
    max: 1000,
};

fn message(of: Stored) -> v1::Backup {
    v1::Backup {
        path: of.path,
        size_bytes: of.bytes,
        create_time: Some(entry::time(of.created)),
        since_version: of.range.map(|(since, _)| since.0),
        max_version: of.range.map(|(_, max)| max.0),
        chain: of.chain,
        record_count: of.records,
        problem: of.problem,
    }
}

/// What is wrong with a request here is wrong with its path.
fn at_path(error: Error) -> Error {
    error.at("path")
}

/// Shows on a gauge how far a backup is.
fn show(gauge: &Gauge, progress: BackupProgress) {
    gauge.send_modify(|shown| match progress {
        BackupProgress::Written(bytes) => shown.written_bytes = bytes,
        BackupProgress::Checked(bytes, total) => {
            shown.checked_bytes = bytes;
            shown.total_bytes = total;
        }
    });
}

fn on_checked(gauge: Gauge) -> impl FnMut(u64, u64) + Send + 'static {
    move |done, total| show(&gauge, BackupProgress::Checked(done, total))
}

impl From<v1::BackupProgress> for v1::CreateBackupResponse {
    fn from(progress: v1::BackupProgress) -> Self {
        let event = Some(create::Event::Progress(progress));
        Self { event }
    }
}

impl From<v1::BackupProgress> for v1::VerifyBackupResponse {
    fn from(progress: v1::BackupProgress) -> Self {
        let event = Some(verify::Event::Progress(progress));
        Self { event }
    }
}

impl From<v1::BackupProgress> for v1::RestoreBackupResponse {
    fn from(progress: v1::BackupProgress) -> Self {
        let event = Some(restore::Event::Progress(progress));
        Self { event }
    }
}

async fn created(
    service: Service,
    request: v1::CreateBackupRequest,
    gauge: Gauge,
) -> Result<v1::CreateBackupResponse> {
    let since = Version(request.since_version);
    let progress = move |progress| show(&gauge, progress);
    let done = service.backup_telling(&request.path, since, progress);
    let target = done.await.map_err(at_path)?.target;
    let backup = service.stored_backup(&target.to_string_lossy()).await?;
    let event = Some(create::Event::Backup(message(backup)));
    Ok(v1::CreateBackupResponse { event })
}

async fn verified(
    service: Service,
    request: v1::VerifyBackupRequest,
    gauge: Gauge,
) -> Result<v1::VerifyBackupResponse> {
    let backup = service.verify_backup(&request.path, on_checked(gauge));
    let backup = backup.await.map_err(at_path)?;
    let event = Some(verify::Event::Backup(message(backup)));
    Ok(v1::VerifyBackupResponse { event })
}

async fn restored(
    service: Service,
    request: v1::RestoreBackupRequest,
    gauge: Gauge,
) -> Result<v1::RestoreBackupResponse> {
    let source = RestoreSource::Confined(request.path);
    let done = service.restore(source, on_checked(gauge)).await;
    let RestoreDone {
        records,
        bytes,
        max,
    } = done.map_err(at_path)?;
    let event = Some(restore::Event::Restored(v1::RestoredBackup {
        record_count: records,
        size_bytes: bytes,
        max_version: max.0,
    }));
    Ok(v1::RestoreBackupResponse { event })
}

async fn page(
    service: &Service,
    request: &v1::ListBackupsRequest,
) -> Result<v1::ListBackupsResponse> {
    let count = PAGE.of(request.page_size)?;
    let query = Query::new(b"backups");
    let last = query.last_of(&request.page_token)?;
    let all = service.backups().await?.into_iter();
    let is_before = |it: &Stored| {
        let last = last.as_ref();
        last.is_some_and(|last| it.path.as_bytes() <= last.as_bytes())
    };
    let mut rest = all.skip_while(is_before).peekable();
    let backups: Vec<_> = rest.by_ref().take(count).map(message).collect();
    let last = backups.last().filter(|_| rest.peek().is_some());
    Ok(v1::ListBackupsResponse {
        next_page_token: last
            .map_or_else(String::new, |last| query.token_after(last.path.as_bytes())),
        backups,
    })
}

#[tonic::async_trait]
impl BackupService for Native {
    type CreateBackupStream = Messages<v1::CreateBackupResponse>;

    async fn create_backup(
        &self,
        request: Request<v1::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        let service = self.administrated(&request)?.clone();
        let gauge = Gauge::default();
        let work = created(service, request.into_inner(), gauge.clone());
        Ok(Response::new(told(&gauge, work)))
    }

    async fn list_backups(
        &self,
        request: Request<v1::ListBackupsRequest>,
    ) -> Result<Response<v1::ListBackupsResponse>, Status> {
        let service = self.administrated(&request)?;
        answer(page(service, request.get_ref()).await)
    }

    type VerifyBackupStream = Messages<v1::VerifyBackupResponse>;

    async fn verify_backup(
        &self,
        request: Request<v1::VerifyBackupRequest>,
    ) -> Result<Response<Self::VerifyBackupStream>, Status> {
        let service = self.administrated(&request)?.clone();
        let gauge = Gauge::default();
        let work = verified(service, request.into_inner(), gauge.clone());
        Ok(Response::new(told(&gauge, work)))
    }

    async fn delete_backup(
        &self,
        request: Request<v1::DeleteBackupRequest>,
    ) -> Result<Response<v1::DeleteBackupResponse>, Status> {
        let service = self.administrated(&request)?;
        let deleted = service.delete_backup(&request.get_ref().path).await;
        let deleted = deleted.map_err(at_path);
        answer(deleted.map(|()| v1::DeleteBackupResponse {}))
    }

    async fn purge_backups(
        &self,
        request: Request<v1::PurgeBackupsRequest>,
    ) -> Result<Response<v1::PurgeBackupsResponse>, Status> {
        let service = self.administrated(&request)?;
        let asked = request.get_ref();
        let keep = usize::try_from(asked.keep).unwrap_or(usize::MAX);
        let purged = service.purge_backups(&asked.folder, keep).await;
        answer(purged.map(|paths| v1::PurgeBackupsResponse { paths }))
    }

    type RestoreBackupStream = Messages<v1::RestoreBackupResponse>;

    async fn restore_backup(
        &self,
        request: Request<v1::RestoreBackupRequest>,
    ) -> Result<Response<Self::RestoreBackupStream>, Status> {
        let service = self.administrated(&request)?.clone();
        let gauge = Gauge::default();
        let work = restored(service, request.into_inner(), gauge.clone());
        Ok(Response::new(told(&gauge, work)))
    }
}
