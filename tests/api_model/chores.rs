//! An operator who compacts, syncs, checks, backs up and makes namespaces while clients work. What
//! nobody else touches is known before it is told: its own namespaces, its backups, and that nothing
//! is wrong with the store.

use crate::client::now;
use crate::support::{Random, admin};
use crate::switches::{Switch, Switches};
use shardkeep::proto::v1;
use shardkeep::proto::v1::admin_service_client::AdminServiceClient;
use shardkeep::proto::v1::backup_service_client::BackupServiceClient;
use shardkeep::proto::v1::key_value_service_client::KeyValueServiceClient;
use shardkeep::proto::v1::namespace_service_client::NamespaceServiceClient;
use shardkeep::proto::v1::{create_backup_response, verify_backup_response};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

/// How many kinds of wrong answers to an operator there are.
pub const KINDS: usize = 11;

/// Keys of a namespace of its own.
const KEYS: u64 = 5;

/// Why a chore was not done.
#[derive(Debug)]
enum Trouble {
    Refused(Status),
    Wrong(#[expect(dead_code, reason = "it is shown")] String),
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

type Result<T = ()> = std::result::Result<T, Trouble>;

fn reason(status: &Status) -> Option<String> {
    let details = status.get_error_details();
    details.error_info().map(|info| info.reason.clone())
}

/// One operator in one life of the server.
pub struct Operator {
    channel: Channel,
    random: Random,
    gone: Arc<AtomicBool>,
    number: u64,
    /// Rounds and bytes that the scrubber has told of.
    scrubbed: (u64, u64),
    /// What the clients are told of it.
    pub switches: Switches,
    /// The kind of wrong answer that it is given once: a planted fault.
    pub fault: Option<usize>,
    /// Whether it was answered something else than was said.
    pub distorted: bool,
}

impl Operator {
    pub fn new(channel: Channel, random: Random, gone: Arc<AtomicBool>) -> Self {
        Self {
            channel,
            random,
            gone,
            number: 0,
            scrubbed: (0, 0),
            switches: Switches::default(),
            fault: None,
            distorted: false,
        }
    }

    /// So many chores, one after the other, or until the server is gone.
    pub async fn work(&mut self, chores: u64) -> std::result::Result<(), String> {
        while self.number < chores && !self.gone.load(Ordering::SeqCst) {
            self.number += 1;
            match self.chore().await {
                Ok(()) => {}
                Err(Trouble::Refused(status)) if self.is_in_the_way(&status) => {}
                Err(trouble) => return Err(format!("a chore failed: {trouble:?}")),
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// One life is over, or one other chore runs.
    fn is_in_the_way(&self, status: &Status) -> bool {
        let is_busy = matches!(reason(status).as_deref(), Some("CHORE_BUSY" | "GC_BUSY"));
        is_busy || self.gone.load(Ordering::SeqCst)
    }

    /// Whether the answer at hand is to be made wrong.
    fn distorts(&mut self, kind: usize) -> bool {
        let distorts = self.fault == Some(kind) && !self.distorted;
        self.distorted |= distorts;
        distorts
    }

    async fn chore(&mut self) -> Result {
        let mut administration = AdminServiceClient::new(self.channel.clone());
        match self.random.within(0..9) {
            0 => drop(administration.sync(admin(v1::SyncRequest {})).await?),
            1 => drop(administration.get_stats(v1::GetStatsRequest {}).await?),
            2 => self.verify(&mut administration).await?,
            3 => self.backups().await?,
            4 => self.own_namespace().await?,
            5 => {
                let purge = admin(v1::PurgeTombstonesRequest {});
                administration.purge_tombstones(purge).await?;
            }
            6 => self.scrub_report(&mut administration).await?,
            7 => self.switch_off_and_on(&mut administration).await?,
            _ => drop(administration.compact(admin(v1::CompactRequest {})).await?),
        }
        Ok(())
    }

    async fn verify(&mut self, administration: &mut AdminServiceClient<Channel>) -> Result {
        let verified = administration.verify(admin(v1::VerifyRequest {})).await?;
        let (mut messages, mut problems) = (verified.into_inner(), Vec::new());
        while let Some(message) = messages.message().await? {
            problems.extend(message.problems);
        }
        if self.distorts(0) {
            problems.push(v1::Problem::default());
        }
        ensure_no(&problems)
    }

    async fn scrub_report(&mut self, administration: &mut AdminServiceClient<Channel>) -> Result {
        let request = admin(v1::GetScrubReportRequest {});
        let mut report = administration.get_scrub_report(request).await?.into_inner();
        if self.distorts(1) {
            report.problems.push(v1::Problem::default());
        }
        if self.distorts(2) {
            report.rounds = u64::MAX;
        }
        let now = (report.rounds, report.bytes);
        let before = std::mem::replace(&mut self.scrubbed, now);
        check(now.0 >= before.0 && now.1 >= before.1, || {
            format!("the scrubber was at {before:?}, and is at {now:?}")
        })?;
        ensure_no(&report.problems)
    }

    /// Switches sets or deletes off, is refused what is off and nothing else, and switches them on again.
    async fn switch_off_and_on(
        &mut self,
        administration: &mut AdminServiceClient<Channel>,
    ) -> Result {
        let mut keys = KeyValueServiceClient::new(self.channel.clone());
        let key = format!("switched-{}", self.number);
        keys.put(own_put(&key)).await?;
        let which = Switch::ALL[self.random.within(0..2) as usize];
        self.switches.begin(which);
        let off = admin(settings(which, true));
        let told = administration.update_settings(off).await?.into_inner();
        let judged = self.while_off(&mut keys, &key, (which, told)).await;
        let on = admin(settings(which, false));
        let told = administration.update_settings(on).await?.into_inner();
        self.switches.end();
        judged?;
        check(!told.set_disabled && !told.delete_disabled, || {
            format!("{told:?}")
        })?;
        keys.put(own_put(&key)).await?;
        keys.delete(own_delete(&key)).await?;
        Ok(())
    }

    async fn while_off(
        &mut self,
        keys: &mut KeyValueServiceClient<Channel>,
        key: &str,
        (which, mut told): (Switch, v1::Settings),
    ) -> Result {
        if self.distorts(9) {
            told.set_disabled = !told.set_disabled;
        }
        let expected = (which == Switch::Set, which == Switch::Delete);
        check(
            (told.set_disabled, told.delete_disabled) == expected,
            || format!("{told:?} with {which:?} off"),
        )?;
        let put = keys.put(own_put(key)).await.map(drop);
        let deleted = keys.delete(own_delete(key)).await.map(drop);
        let (is_off, is_on) = match which {
            Switch::Set => (put, deleted),
            Switch::Delete => (deleted, put),
        };
        let mut refusal = refused(is_off)?;
        if self.distorts(10) {
            refusal.clear();
        }
        check(refusal == which.reason(), || {
            format!("refused for {refusal:?}")
        })?;
        Ok(is_on?)
    }

    /// A backup that comes, is listed and sound, and makes all others go; some go themselves.
    async fn backups(&mut self) -> Result {
        let path = format!("model-{}-{}", now(), self.number);
        let made = back_up(&self.channel, &path).await?;
        let mut backups = BackupServiceClient::new(self.channel.clone());
        let listed = self.listed(&mut backups).await?;
        check(listed.contains(&made), || {
            format!("{made:?} is not in {listed:?}")
        })?;
        let mut found = sound(&mut backups, &made.path).await?;
        if self.distorts(4) {
            found.record_count += 1;
        }
        check(found == made, || format!("{found:?}, not {made:?}"))?;
        let request = v1::PurgeBackupsRequest {
            keep: 1,
            ..v1::PurgeBackupsRequest::default()
        };
        let mut purged = backups.purge_backups(admin(request)).await?.into_inner();
        if self.distorts(5) {
            purged.paths.push(made.path.clone());
        }
        let mut gone: Vec<String> = listed.into_iter().map(|it| it.path).collect();
        gone.retain(|path| *path != made.path);
        purged.paths.sort();
        check(purged.paths == gone, || format!("{purged:?}, not {gone:?}"))?;
        if self.random.percent(50) {
            let path = made.path.clone();
            let request = admin(v1::DeleteBackupRequest { path });
            backups.delete_backup(request).await?;
            let left = self.listed(&mut backups).await?;
            return check(left.is_empty(), || format!("{left:?} is left"));
        }
        let left = self.listed(&mut backups).await?;
        check(left == [made], || format!("{left:?} is left"))
    }

    /// All backups, one a page.
    async fn listed(
        &mut self,
        backups: &mut BackupServiceClient<Channel>,
    ) -> Result<Vec<v1::Backup>> {
        let mut request = v1::ListBackupsRequest {
            page_size: 1,
            page_token: String::new(),
        };
        let mut all = Vec::new();
        loop {
            let page = backups.list_backups(admin(request.clone())).await?;
            let page = page.into_inner();
            all.extend(page.backups);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        if self.distorts(3) {
            all.push(v1::Backup::default());
            all.remove(0);
        }
        Ok(all)
    }

    /// A namespace that comes, holds something, gets another rule, which is kept, and goes.
    async fn own_namespace(&mut self) -> Result {
        let mut namespaces = NamespaceServiceClient::new(self.channel.clone());
        let name = format!("own-{}-{}", now(), self.number);
        let request = v1::CreateNamespaceRequest {
            name: name.clone(),
            options: None,
        };
        namespaces.create_namespace(request).await?;
        let mut keys = KeyValueServiceClient::new(self.channel.clone());
        for number in 0..KEYS {
            keys.put(put_of(&name, number)).await?;
        }
        namespaces.update_namespace(keep_first(&name)).await?;
        let again = keys.put(put_of(&name, 0)).await;
        let mut refusal = refused(again.map(drop))?;
        if self.distorts(6) {
            refusal.clear();
        }
        check(refusal == "KEY_EXISTS", || format!("refused for {refusal}"))?;
        let request = v1::GetNamespaceRequest { name: name.clone() };
        let told = namespaces
            .get_namespace(request.clone())
            .await?
            .into_inner();
        let mut counts = told.counts.unwrap_or_default();
        if self.distorts(7) {
            counts.keys += 1;
        }
        let expected = (KEYS, (0..KEYS).map(size_of).sum());
        check((counts.keys, counts.logical_bytes) == expected, || {
            format!("{name} holds {counts:?}, not {expected:?}")
        })?;
        let drop_it = v1::DropNamespaceRequest { name };
        namespaces.drop_namespace(drop_it).await?;
        let gone = namespaces.get_namespace(request).await;
        let mut refusal = refused(gone.map(drop))?;
        if self.distorts(8) {
            refusal.clear();
        }
        check(refusal == "NAMESPACE_NOT_FOUND", || {
            format!("refused for {refusal}")
        })
    }
}

fn check(holds: bool, why: impl FnOnce() -> String) -> Result {
    match holds {
        true => Ok(()),
        false => Err(Trouble::Wrong(why())),
    }
}

fn ensure_no(problems: &[v1::Problem]) -> Result {
    check(problems.is_empty(), || format!("problems: {problems:?}"))
}

/// Why something was refused that must be; none if it was not.
fn refused(done: std::result::Result<(), Status>) -> Result<String> {
    match done {
        Ok(()) => Ok(String::new()),
        Err(status) => reason(&status).ok_or(Trouble::Refused(status)),
    }
}

/// A put under a key of nobody's prefix.
fn own_put(key: &str) -> v1::PutRequest {
    v1::PutRequest {
        key: key.to_owned().into(),
        value: "1".into(),
        ..v1::PutRequest::default()
    }
}

fn own_delete(key: &str) -> v1::DeleteRequest {
    v1::DeleteRequest {
        key: key.to_owned().into(),
        ..v1::DeleteRequest::default()
    }
}

fn settings(switch: Switch, disabled: bool) -> v1::UpdateSettingsRequest {
    let mut change = v1::UpdateSettingsRequest::default();
    match switch {
        Switch::Set => change.set_disabled = Some(disabled),
        Switch::Delete => change.delete_disabled = Some(disabled),
    }
    change
}

fn size_of(number: u64) -> u64 {
    10_000 * number
}

fn put_of(namespace: &str, number: u64) -> v1::PutRequest {
    v1::PutRequest {
        namespace: namespace.to_owned(),
        key: number.to_string().into(),
        value: vec![number as u8; size_of(number) as usize].into(),
        ..v1::PutRequest::default()
    }
}

fn keep_first(name: &str) -> v1::UpdateNamespaceRequest {
    let options = v1::NamespaceOptions {
        overwrite: Some(false),
        ..v1::NamespaceOptions::default()
    };
    v1::UpdateNamespaceRequest {
        namespace: Some(v1::Namespace {
            name: name.to_owned(),
            options: Some(options),
            ..v1::Namespace::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["options.overwrite".to_owned()],
        }),
    }
}

/// A full backup.
pub async fn back_up(channel: &Channel, path: &str) -> std::result::Result<v1::Backup, Status> {
    let mut backups = BackupServiceClient::new(channel.clone());
    let request = v1::CreateBackupRequest {
        path: path.to_owned(),
        since_version: 0,
    };
    let mut events = backups.create_backup(admin(request)).await?.into_inner();
    let mut made = None;
    while let Some(event) = events.message().await? {
        if let Some(create_backup_response::Event::Backup(backup)) = event.event {
            made = Some(backup);
        }
    }
    made.ok_or_else(|| Status::internal("the stream ended without a backup"))
}

/// A backup that was read whole.
async fn sound(backups: &mut BackupServiceClient<Channel>, path: &str) -> Result<v1::Backup> {
    let path = path.to_owned();
    let request = admin(v1::VerifyBackupRequest { path });
    let mut events = backups.verify_backup(request).await?.into_inner();
    let mut found = None;
    while let Some(event) = events.message().await? {
        if let Some(verify_backup_response::Event::Backup(backup)) = event.event {
            found = Some(backup);
        }
    }
    found.ok_or_else(|| Trouble::Wrong("the stream ended without a backup".to_owned()))
}
