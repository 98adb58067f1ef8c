//! The service `AdminService`.

use super::error::status_of;
use super::{Native, answer};
use crate::model::{
    GroupReport, Problem, Result, ScrubReport, Spread, StatusReport, StoreReport, WriteReport,
};
use crate::proto::v1;
use crate::proto::v1::admin_service_server::AdminService;
use crate::service::{Settings, SettingsChange, Verification, VerifyStep};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

fn stats(report: StatusReport) -> v1::Stats {
    v1::Stats {
        store: Some(store(&report.store)),
        writes: Some(writes(report.writes)),
    }
}

fn store(of: &StoreReport) -> v1::StoreStats {
    v1::StoreStats {
        key_count: of.key_count,
        max_version: of.max_version,
        index_bytes: of.index_bytes,
        log_bytes: of.log_bytes,
        logical_bytes: of.logical_bytes,
        unique_bytes: of.unique_bytes,
        stored_bytes: of.stored_bytes,
        dead_bytes: of.dead_bytes,
        blobs: of.blobs,
        references: of.references,
        segments: of.segments,
        dictionaries: of.dictionaries,
        dictionary_bytes: of.dictionary_bytes,
        shards: of.shards,
        shards_down: of.shards_down,
    }
}

fn writes(of: WriteReport) -> v1::WriteStats {
    let shards = of.shards.iter().map(|shard| v1::ShardWriteStats {
        shard: shard.shard.into(),
        groups: Some(groups(&shard.report)),
    });
    v1::WriteStats {
        total: Some(groups(&of.total)),
        shards: shards.collect(),
        expired_keys: of.expired_keys,
    }
}

fn groups(of: &GroupReport) -> v1::GroupStats {
    v1::GroupStats {
        groups: of.groups,
        commands: of.commands,
        commands_per_group: Some(spread(of.commands_per_group)),
        bytes_per_group: Some(spread(of.bytes_per_group)),
        sync_us: Some(spread(of.sync_us)),
        index_us: Some(spread(of.index_us)),
        wait_us: Some(spread(of.wait_us)),
    }
}

fn spread(Spread { mean, p50, p99 }: Spread) -> v1::Spread {
    v1::Spread { mean, p50, p99 }
}

fn settings(of: Settings) -> v1::Settings {
    v1::Settings {
        set_disabled: of.set_disabled,
        delete_disabled: of.delete_disabled,
        log_level: of.log_level,
    }
}

fn problems(of: Vec<Problem>) -> Vec<v1::Problem> {
    let problem = |it: Problem| v1::Problem {
        file: it.file.to_string_lossy().into_owned(),
        offset: it.offset,
        what: it.what,
        remedy: it.remedy,
    };
    of.into_iter().map(problem).collect()
}

fn scrub_report(of: ScrubReport) -> v1::ScrubReport {
    v1::ScrubReport {
        rounds: of.rounds,
        bytes: of.bytes,
        problems: problems(of.problems),
    }
}

fn verified(step: VerifyStep) -> v1::VerifyResponse {
    v1::VerifyResponse {
        done_bytes: step.done,
        total_bytes: step.total,
        problems: problems(step.problems),
    }
}

type Verified = Result<v1::VerifyResponse, Status>;

/// Goes on with a check for as long as its peer takes what it tells.
async fn verify_for(mut check: Verification, peer: mpsc::Sender<Verified>) {
    while let Some(step) = check.next().await.transpose() {
        let has_failed = step.is_err();
        let told = step.map(verified).map_err(|error| status_of(&error));
        if peer.send(told).await.is_err() || has_failed {
            return;
        }
    }
}

#[tonic::async_trait]
impl AdminService for Native {
    async fn get_stats(
        &self,
        _request: Request<v1::GetStatsRequest>,
    ) -> Result<Response<v1::Stats>, Status> {
        answer(self.service()?.report().await.map(stats))
    }

    async fn get_settings(
        &self,
        request: Request<v1::GetSettingsRequest>,
    ) -> Result<Response<v1::Settings>, Status> {
        let service = self.administrated(&request)?;
        Ok(Response::new(settings(service.settings())))
    }

    async fn update_settings(
        &self,
        request: Request<v1::UpdateSettingsRequest>,
    ) -> Result<Response<v1::Settings>, Status> {
        let service = self.administrated(&request)?;
        let asked = request.get_ref();
        let change = SettingsChange {
            set_disabled: asked.set_disabled,
            delete_disabled: asked.delete_disabled,
            log_level: asked.log_level.clone(),
        };
        answer(service.change_settings(change).map(settings))
    }

    async fn sync(
        &self,
        request: Request<v1::SyncRequest>,
    ) -> Result<Response<v1::SyncResponse>, Status> {
        let synced = self.administrated(&request)?.sync().await;
        answer(synced.map(|()| v1::SyncResponse {}))
    }

    async fn compact(
        &self,
        request: Request<v1::CompactRequest>,
    ) -> Result<Response<v1::CompactResponse>, Status> {
        let collected = self.administrated(&request)?.gc().await;
        answer(collected.map(|collected| v1::CompactResponse { collected }))
    }

    async fn purge_tombstones(
        &self,
        request: Request<v1::PurgeTombstonesRequest>,
    ) -> Result<Response<v1::PurgeTombstonesResponse>, Status> {
        let purged = self.administrated(&request)?.purge_tombstones().await;
        answer(purged.map(|()| v1::PurgeTombstonesResponse {}))
    }

    async fn get_scrub_report(
        &self,
        request: Request<v1::GetScrubReportRequest>,
    ) -> Result<Response<v1::ScrubReport>, Status> {
        let report = self.administrated(&request)?.scrub_report();
        Ok(Response::new(scrub_report(report)))
    }

    type VerifyStream = ReceiverStream<Verified>;

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        let check = self.administrated(&request)?.verify().await;
        answer(check.map(|check| {
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(verify_for(check, sender));
            ReceiverStream::new(receiver)
        }))
    }

    async fn stop(
        &self,
        request: Request<v1::StopRequest>,
    ) -> Result<Response<v1::StopResponse>, Status> {
        // It returns at once; the drain that it starts delivers this answer.
        self.administrated(&request)?.stop();
        Ok(Response::new(v1::StopResponse {}))
    }
}
