//! Administration: who may, settings at run time, figures, upkeep, the end.

use crate::call::{admin, assert_error, client, put, put_of, user_keys, with_password};
use crate::support::{PATIENCE, Server, eventually, noise};
use shardkeep::proto::v1;
use shardkeep::proto::v1::admin_service_client::AdminServiceClient;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request};

type Admin = AdminServiceClient<Channel>;

async fn connected(server: &Server) -> Admin {
    AdminServiceClient::new(server.channel().await)
}

async fn settings(client: &mut Admin) -> v1::Settings {
    let settings = client.get_settings(admin(v1::GetSettingsRequest {})).await;
    settings.unwrap().into_inner()
}

#[tokio::test]
async fn a_wrong_or_missing_password_administrates_nothing() {
    let mut server = user_keys().start().await;
    let mut client = connected(&server).await;
    fn wrong<T: Clone>(message: &T) -> [Request<T>; 3] {
        let bare = Request::new(message.clone());
        let [empty, other] = ["", "124"].map(|it| with_password(message.clone(), it));
        [bare, empty, other]
    }
    macro_rules! refused {
        ($call:ident, $message:expr) => {
            for request in wrong(&$message) {
                let status = client.$call(request).await.unwrap_err();
                assert_error(&status, Code::PermissionDenied, "PASSWORD_MISMATCH", None);
            }
        };
    }
    let switch = v1::UpdateSettingsRequest {
        set_disabled: Some(true),
        ..v1::UpdateSettingsRequest::default()
    };
    refused!(get_settings, v1::GetSettingsRequest {});
    refused!(update_settings, switch);
    refused!(sync, v1::SyncRequest {});
    refused!(compact, v1::CompactRequest {});
    refused!(purge_tombstones, v1::PurgeTombstonesRequest {});
    refused!(verify, v1::VerifyRequest {});
    refused!(get_scrub_report, v1::GetScrubReportRequest {});
    refused!(stop, v1::StopRequest {});
    assert!(server.is_running());
    assert!(!settings(&mut client).await.set_disabled);
    // Figures are for everyone.
    client.get_stats(v1::GetStatsRequest {}).await.unwrap();
}

#[tokio::test]
async fn without_a_password_this_machine_administrates() {
    let server = user_keys().without_password().start().await;
    let mut client = connected(&server).await;
    client.sync(v1::SyncRequest {}).await.unwrap();
}

#[tokio::test]
async fn writes_are_switched_off_and_on_until_the_next_start() {
    let server = user_keys().start().await;
    let (mut values, mut client) = (client(&server).await, connected(&server).await);
    put(&mut values, "kept", "1").await;
    let switches = |set, delete| {
        admin(v1::UpdateSettingsRequest {
            set_disabled: set,
            delete_disabled: delete,
            log_level: None,
        })
    };
    let now = client.update_settings(switches(Some(true), None)).await;
    let now = now.unwrap().into_inner();
    assert!(now.set_disabled && !now.delete_disabled);
    let refused = values.put(put_of("new", "2")).await.unwrap_err();
    assert_error(&refused, Code::FailedPrecondition, "SET_DISABLED", None);
    let delete = || v1::DeleteRequest {
        key: "kept".into(),
        ..v1::DeleteRequest::default()
    };
    let now = client.update_settings(switches(Some(false), Some(true)));
    let now = now.await.unwrap().into_inner();
    assert!(!now.set_disabled && now.delete_disabled);
    put(&mut values, "new", "2").await;
    let refused = values.delete(delete()).await.unwrap_err();
    assert_error(&refused, Code::FailedPrecondition, "DELETE_DISABLED", None);
    assert_eq!(settings(&mut client).await, now);

    let data = tempfile::tempdir().unwrap();
    let again = data.path().join("data");
    let first = user_keys().data_dir(&again).start().await;
    let mut client = connected(&first).await;
    let off = client.update_settings(switches(Some(true), Some(true)));
    off.await.unwrap();
    first.stop().await;
    let second = user_keys().data_dir(&again).start().await;
    let now = settings(&mut connected(&second).await).await;
    assert!(!now.set_disabled && !now.delete_disabled);
}

#[tokio::test]
async fn the_level_of_the_log_is_changed_or_nothing_is() {
    let server = user_keys().start().await;
    let mut client = connected(&server).await;
    assert_eq!(settings(&mut client).await.log_level, "info");
    let level = |text: &str| {
        admin(v1::UpdateSettingsRequest {
            set_disabled: Some(true),
            delete_disabled: None,
            log_level: Some(text.to_owned()),
        })
    };
    for wrong in ["loud", "info,shardkeep=loud", "shardkeep"] {
        let refused = client.update_settings(level(wrong)).await.unwrap_err();
        assert_error(
            &refused,
            Code::InvalidArgument,
            "LOG_LEVEL",
            Some("log_level"),
        );
        assert!(!settings(&mut client).await.set_disabled, "{wrong}");
    }
    let told = || server.log().matches("settings changed").count();
    client.update_settings(level("error")).await.unwrap();
    assert_eq!(told(), 0, "{}", server.log());
    let now = client.update_settings(level("warn,shardkeep=debug")).await;
    assert_eq!(now.unwrap().into_inner().log_level, "warn,shardkeep=debug");
    eventually("a line of the new level", || (told() == 1).then_some(())).await;
}

#[tokio::test]
async fn figures_tell_what_is_stored_and_compaction_takes_what_is_dead() {
    let server = user_keys()
        .set("storage.segment_size", "1 MiB")
        .set("server.max_upload_size", "128 KiB")
        .set("dedup.min_size", "128 KiB")
        .set("gc.check_interval", "24h")
        .start()
        .await;
    let (mut values, mut client) = (client(&server).await, connected(&server).await);
    const COUNT: u64 = 40;
    const SIZE: usize = 60_000;
    for generation in 0..2 {
        for number in 0..COUNT {
            let value = noise(number + COUNT * generation, SIZE);
            put(&mut values, format!("key-{number}"), value).await;
        }
    }
    let stats = client.get_stats(v1::GetStatsRequest {}).await.unwrap();
    let stats = stats.into_inner();
    let (store, writes) = (stats.store.unwrap(), stats.writes.unwrap());
    assert_eq!(store.key_count, COUNT);
    assert_eq!(store.logical_bytes, COUNT * SIZE as u64);
    assert!(
        store.max_version >= 2 * COUNT && store.dead_bytes > 0,
        "{store:?}"
    );
    assert_eq!((u64::from(store.shards > 0), store.shards_down), (1, 0));
    assert!(writes.total.unwrap().commands >= 2 * COUNT);
    assert_eq!(writes.shards.len() as u64, store.shards);

    client.sync(admin(v1::SyncRequest {})).await.unwrap();
    let purge = admin(v1::PurgeTombstonesRequest {});
    client.purge_tombstones(purge).await.unwrap();
    let compacted = client.compact(admin(v1::CompactRequest {})).await;
    assert!(compacted.unwrap().into_inner().collected);
    let after = client.get_stats(v1::GetStatsRequest {}).await.unwrap();
    let after = after.into_inner().store.unwrap();
    assert!(after.log_bytes < store.log_bytes, "{store:?} {after:?}");
    assert_eq!(after.key_count, COUNT);
}

/// How far a check went, of how much, and what it found.
async fn verify(client: &mut Admin) -> (u64, u64, Vec<v1::Problem>) {
    let steps = client.verify(admin(v1::VerifyRequest {})).await.unwrap();
    let (mut steps, mut last) = (steps.into_inner(), (0, 0, Vec::new()));
    while let Some(step) = steps.message().await.unwrap() {
        assert!(step.done_bytes >= last.0 && step.done_bytes <= step.total_bytes);
        (last.0, last.1) = (step.done_bytes, step.total_bytes);
        last.2.extend(step.problems);
    }
    last
}

#[tokio::test]
async fn a_check_of_the_running_store_goes_to_its_end_and_names_what_is_damaged() {
    let server = user_keys()
        .set("storage.segment_size", "1 MiB")
        .set("server.max_upload_size", "128 KiB")
        .set("gc.check_interval", "24h")
        .set("scrub.rate", "1 GiB")
        .set("scrub.interval", "1s")
        .start()
        .await;
    let (mut values, mut client) = (client(&server).await, connected(&server).await);
    for number in 0..60 {
        put(&mut values, format!("key-{number}"), noise(number, 60_000)).await;
    }
    let (done, total, problems) = verify(&mut client).await;
    assert_eq!(problems, []);
    assert!(done > 60 * 50_000 && done <= total, "{done} of {total}");

    let segment = server.data_dir().join("shards/000/log/00000001.seg");
    let file = std::fs::File::options().write(true).open(&segment).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"damage", 100_000).unwrap();
    let (_, _, problems) = verify(&mut client).await;
    assert!(!problems.is_empty());
    for problem in &problems {
        assert!(problem.file.ends_with("00000001.seg"), "{problem:?}");
        assert!(!problem.what.is_empty() && !problem.remedy.is_empty());
    }
    let scrubber_finds_it = async {
        loop {
            let report = client.get_scrub_report(admin(v1::GetScrubReportRequest {}));
            let report = report.await.unwrap().into_inner();
            if report.problems.iter().any(|it| it.file == problems[0].file) {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let report = tokio::time::timeout(PATIENCE, scrubber_finds_it).await;
    assert!(report.expect("the scrubber finds it too").bytes > 0);
}

#[tokio::test]
async fn the_server_stops_in_order_when_it_is_told_to() {
    let mut server = user_keys().start().await;
    let mut client = connected(&server).await;
    client.stop(admin(v1::StopRequest {})).await.unwrap();
    let status = server.exited().await;
    assert!(status.success(), "{status}\n{}", server.log());
}
