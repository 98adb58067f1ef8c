//! What only an operator sees: namespaces and what they hold, and a backup that is restored.

use crate::CLIENTS;
use crate::call::Connection;
use crate::chores;
use crate::client::Client;
use crate::draw::NAMESPACES;
use crate::fault;
use crate::large::ANSWER_MAX;
use crate::model::{FIRST, ensure};
use crate::rules;
use crate::support::{Builder, PATIENCE, Server, admin};
use shardkeep::proto::v1;
use shardkeep::proto::v1::backup_service_client::BackupServiceClient;
use shardkeep::proto::v1::namespace_service_client::NamespaceServiceClient;
use shardkeep::proto::v1::restore_backup_response;
use tonic::transport::Channel;

/// The namespaces of all clients, and one for each.
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
    for number in 0..CLIENTS.max(fault::KINDS) {
        let request = v1::CreateNamespaceRequest {
            name: rules::name_of(number.to_string().as_bytes()),
            options: None,
        };
        namespaces.create_namespace(request).await.unwrap();
    }
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
    let made = chores::back_up(&server.channel().await, "last").await;
    let path = made.unwrap().path;
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
