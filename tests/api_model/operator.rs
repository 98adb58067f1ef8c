//! An operator who compacts, syncs, checks, backs up and makes namespaces while clients work, and
//! what only an operator sees.

use crate::call::Connection;
use crate::client::{Client, now};
use crate::draw::NAMESPACES;
use crate::large::ANSWER_MAX;
use crate::model::{FIRST, ensure};
use crate::support::{Builder, PATIENCE, Random, Server, admin};
use shardkeep::proto::v1;
use shardkeep::proto::v1::admin_service_client::AdminServiceClient;
use shardkeep::proto::v1::backup_service_client::BackupServiceClient;
use shardkeep::proto::v1::namespace_service_client::NamespaceServiceClient;
use shardkeep::proto::v1::{create_backup_response, restore_backup_response};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

/// One life is over, or one other chore runs.
fn is_in_the_way(status: &Status, gone: &AtomicBool) -> bool {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    gone.load(Ordering::SeqCst) || matches!(reason, Some("CHORE_BUSY" | "GC_BUSY"))
}

/// The namespaces of the clients.
pub async fn make_namespaces(channel: Channel) {
    let mut namespaces = NamespaceServiceClient::new(channel);
    for name in &NAMESPACES[1..] {
        let options = v1::NamespaceOptions {
            overwrite: Some(*name != FIRST),
            compress: Some(*name == FIRST),
            dedup: Some(*name == FIRST),
            ..v1::NamespaceOptions::default()
        };
        let request = v1::CreateNamespaceRequest {
            name: (*name).to_owned(),
            options: Some(options),
        };
        namespaces.create_namespace(request).await.unwrap();
    }
}

/// One chore after the other until the server is gone.
pub async fn work(
    channel: Channel,
    mut random: Random,
    gone: Arc<AtomicBool>,
) -> Result<(), String> {
    let mut number = 0;
    while !gone.load(Ordering::SeqCst) {
        number += 1;
        let done = chore(&channel, random.within(0..6), number).await;
        match done {
            Err(status) if !is_in_the_way(&status, &gone) => {
                return Err(format!("a chore failed: {status:?}"));
            }
            _ => tokio::task::yield_now().await,
        }
    }
    Ok(())
}

async fn chore(channel: &Channel, which: u64, number: u64) -> Result<(), Status> {
    let mut administration = AdminServiceClient::new(channel.clone());
    match which {
        0 => drop(administration.sync(admin(v1::SyncRequest {})).await?),
        1 => drop(
            administration
                .get_stats(admin(v1::GetStatsRequest {}))
                .await?,
        ),
        2 => {
            let verified = administration.verify(admin(v1::VerifyRequest {})).await?;
            let mut messages = verified.into_inner();
            while messages.message().await?.is_some() {}
        }
        3 => {
            let backup = format!("model-{}-{number}", now());
            back_up(channel, &backup).await?;
            let mut backups = BackupServiceClient::new(channel.clone());
            let request = v1::PurgeBackupsRequest {
                keep: 1,
                ..v1::PurgeBackupsRequest::default()
            };
            backups.purge_backups(admin(request)).await?;
        }
        4 => own_namespace(channel, number).await?,
        _ => drop(administration.compact(admin(v1::CompactRequest {})).await?),
    }
    Ok(())
}

/// A full backup; its path below the root.
async fn back_up(channel: &Channel, path: &str) -> Result<String, Status> {
    let mut backups = BackupServiceClient::new(channel.clone());
    let request = v1::CreateBackupRequest {
        path: path.to_owned(),
        since_version: 0,
    };
    let mut events = backups.create_backup(admin(request)).await?.into_inner();
    let mut made = None;
    while let Some(event) = events.message().await? {
        if let Some(create_backup_response::Event::Backup(backup)) = event.event {
            made = Some(backup.path);
        }
    }
    made.ok_or_else(|| Status::internal("the stream ended without a backup"))
}

/// A namespace that comes, holds something, and goes.
async fn own_namespace(channel: &Channel, number: u64) -> Result<(), Status> {
    let mut namespaces = NamespaceServiceClient::new(channel.clone());
    let name = format!("own-{}-{number}", now());
    let request = v1::CreateNamespaceRequest {
        name: name.clone(),
        options: None,
    };
    namespaces.create_namespace(request).await?;
    let mut keys = v1::key_value_service_client::KeyValueServiceClient::new(channel.clone());
    for number in 0..5_u64 {
        let put = v1::PutRequest {
            namespace: name.clone(),
            key: number.to_string().into(),
            value: vec![number as u8; 10_000 * number as usize].into(),
            ..v1::PutRequest::default()
        };
        keys.put(put).await?;
    }
    let drop_it = v1::DropNamespaceRequest { name };
    namespaces.drop_namespace(drop_it).await?;
    Ok(())
}

/// Namespaces hold as many keys and bytes as their clients believe, once what has expired is gone.
pub async fn check_counts(channel: Channel, clients: &[Client]) -> Result<(), String> {
    let mut namespaces = NamespaceServiceClient::new(channel);
    for name in &NAMESPACES[1..] {
        let kept = clients.iter().flat_map(|client| &client.model.keys);
        let sizes = kept.filter(|((namespace, _), _)| namespace == name);
        let sizes: Vec<u64> = sizes.map(|(_, kept)| kept.value.len() as u64).collect();
        let expected = (sizes.len() as u64, sizes.iter().sum());
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let request = v1::GetNamespaceRequest {
                name: (*name).to_owned(),
            };
            let found = namespaces.get_namespace(request).await;
            let counts = found
                .map_err(|status| status.to_string())?
                .into_inner()
                .counts;
            let counts = counts.unwrap_or_default();
            if (counts.keys, counts.logical_bytes) == expected {
                break;
            }
            ensure!(
                tokio::time::Instant::now() < deadline,
                "{name} holds {counts:?}, not {expected:?}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// A backup restored elsewhere answers as the store does.
pub async fn check_backup(server: &Server, clients: &mut [Client]) {
    let path = back_up(&server.channel().await, "last").await.unwrap();
    let elsewhere = Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite"])
        .set("server.max_upload_size", ANSWER_MAX.to_string());
    let fresh = Builder::start(elsewhere).await;
    let below = |server: &Server| server.data_dir().join("backups").join(&path);
    std::fs::copy(below(server), below(&fresh)).unwrap();
    let mut backups = BackupServiceClient::new(fresh.channel().await);
    let request = admin(v1::RestoreBackupRequest { path: path.clone() });
    let mut events = backups.restore_backup(request).await.unwrap().into_inner();
    let mut restored = false;
    while let Some(event) = events.message().await.unwrap() {
        restored |= matches!(
            event.event,
            Some(restore_backup_response::Event::Restored(_))
        );
    }
    assert!(restored);
    let mut connection = Connection::to(&fresh).await;
    for client in clients {
        client.check_all(&mut connection).await.unwrap();
    }
    fresh.stop().await;
}
