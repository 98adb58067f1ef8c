//! A client that does one random call after the other and believes no answer.

use crate::call::{Answer, Call, Connection, Failure};
use crate::draw::{Draw, NAMESPACES};
use crate::fault::{AGAIN, DELETED, distort};
use crate::held::Snapshots;
use crate::model::{At, Model, ensure};
use crate::rules;
use crate::support::{PATIENCE, Random, Server};
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::snapshot_service_client::SnapshotServiceClient;
use shardkeep::proto::v1::watch_service_client::WatchServiceClient;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};
use tonic_types::StatusExt as _;

/// So many calls are told when the model does not agree with the last of them.
const PAST: usize = 40;

/// Milliseconds within which a short-lived key is waited for.
const SOON: u64 = 60_000;

type Stream = Streaming<v1::WatchResponse>;

/// Milliseconds since 1970.
pub fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_millis() as u64
}

/// What watches of one namespace have told.
#[derive(Debug, Default)]
struct Told {
    events: Vec<v1::WatchEvent>,
    version: u64,
    /// Why the last of them ended.
    ended: Option<Status>,
}

/// One client over all lives of the server.
pub struct Client {
    pub model: Model,
    pub random: Random,
    told: BTreeMap<&'static str, Arc<Mutex<Told>>>,
    pub calls: u64,
    /// The last of them, with their answers.
    past: VecDeque<(u64, Call, Answer)>,
    /// Those of them that were done with a value in a stream, or in chunks.
    pub streamed: u64,
    /// Those that were refused because an operator had switched them off.
    pub switched_off: u64,
    pub settled: u64,
    /// Named calls that this run of the server has answered, the latest last.
    answered: Vec<(Call, Answer)>,
    /// Which run that is.
    run: Option<u64>,
    /// The named call that a run before left without an answer.
    lost: Option<Call>,
    /// How often a call was sent again long after its answer, and to a run that does not know it.
    pub again: u64,
    pub left_alone: u64,
    /// How often a watch began anew, because its past was gone.
    pub anew: u64,
    /// Whether the server may go away.
    pub may_lose: bool,
    /// The kind of wrong answer that it is given once: a planted fault.
    pub fault: Option<usize>,
    /// Whether it was answered something else than was said.
    pub distorted: bool,
}

impl Client {
    pub fn new(number: usize, random: Random) -> Self {
        let model = Model {
            prefix: format!("{number}/").into(),
            ..Model::default()
        };
        Self {
            model,
            random,
            told: NAMESPACES.map(|name| (name, Arc::default())).into(),
            calls: 0,
            past: VecDeque::new(),
            streamed: 0,
            switched_off: 0,
            settled: 0,
            answered: Vec::new(),
            run: None,
            lost: None,
            again: 0,
            left_alone: 0,
            anew: 0,
            may_lose: false,
            fault: None,
            distorted: false,
        }
    }

    /// Looks at what a start has left, and begins to watch.
    pub async fn arrive(&mut self, server: &Server) -> Result<Vec<JoinHandle<()>>, String> {
        let mut connection = Connection::to(server).await;
        self.model.snapshots = Snapshots::default();
        self.answered.clear();
        self.send_to_old_run(&mut connection).await?;
        self.settled += u64::from(self.model.pending.is_some());
        self.settle(&mut connection, false).await?;
        let rules = Call::GetNamespace(rules::name_of(&self.model.prefix));
        self.read(&mut connection, rules).await?;
        self.check_all(&mut connection).await?;
        let mut watching = Vec::new();
        for namespace in NAMESPACES {
            let told = self.told[namespace].clone();
            told.lock().unwrap().ended = None;
            let stream = match self.watch(server, namespace).await {
                Err(status) if is_compacted(&status) => {
                    self.begin_anew(server, namespace).await;
                    self.watch(server, namespace).await
                }
                begun => begun,
            };
            let stream = stream.map_err(|status| format!("no watch: {status}"))?;
            watching.push(tokio::spawn(follow(stream, told)));
        }
        Ok(watching)
    }

    /// Sends the lost call to the run of the server that may have done it: this one leaves it alone.
    async fn send_to_old_run(&mut self, connection: &mut Connection) -> Result<(), String> {
        let (Some(lost), Some(run)) = (&self.lost, self.run.take()) else {
            return Ok(());
        };
        let Some(only) = lost.only(run) else {
            return Ok(());
        };
        let answer = connection.answer(&only).await;
        let is_left = matches!(&answer, Answer::Failed(Failure::Unknown(why)) if why.contains("started anew"));
        self.left_alone += 1;
        ensure!(is_left, "{only:?} was for another run, and got {answer:?}");
        Ok(())
    }

    /// Sends a call once more that was answered a while ago: whatever has happened since, its answer
    /// is the first one's, and nothing is done.
    async fn ask_again(&mut self, connection: &mut Connection) -> Result<(), String> {
        if self.answered.is_empty() || !self.random.percent(15) {
            return Ok(());
        }
        let which = self.random.within(0..self.answered.len() as u64) as usize;
        let (call, first) = &self.answered[which];
        let begun = now();
        let mut answer = connection.answer(call).await;
        if connection.switches.explain(call, &answer, (begun, now())) {
            return Ok(());
        }
        if self.fault == Some(AGAIN) {
            self.distorted = distort(DELETED, call, &mut answer);
        }
        self.again += 1;
        let is_lost = matches!(answer, Answer::Failed(Failure::Unknown(_))) && self.may_lose;
        ensure!(
            answer == *first || is_lost,
            "{call:?} was answered with {first:?}, and later with {answer:?}"
        );
        Ok(())
    }

    /// Goes on behind what was told.
    async fn watch(&self, server: &Server, namespace: &str) -> Result<Stream, Status> {
        let mut watches = WatchServiceClient::new(server.channel().await);
        let request = v1::WatchRequest {
            namespace: namespace.to_owned(),
            selection: Some(v1::KeySelection {
                prefix: self.model.prefix.clone(),
                ..v1::KeySelection::default()
            }),
            after_version: Some(self.told[namespace].lock().unwrap().version),
            include_values: true,
            progress_interval: Some(prost_types::Duration {
                seconds: 0,
                nanos: 100_000_000,
            }),
        };
        Ok(watches.watch(request).await?.into_inner())
    }

    /// What is there now was read; what happened before nobody tells any more.
    async fn begin_anew(&mut self, server: &Server, namespace: &str) {
        let version = version_now(server).await.unwrap();
        let mut told = self.told[namespace].lock().unwrap();
        told.events.clear();
        told.version = version;
        self.model.changes.retain(|change| change.at.0 != namespace);
        self.anew += 1;
    }

    /// So many calls, or until the server is gone.
    pub async fn work(&mut self, mut connection: Connection, calls: u64) -> Result<(), String> {
        for _ in 0..calls {
            self.wait_for_expiries().await;
            self.ask_again(&mut connection).await?;
            // One that was lost is a new one to a server that has forgotten it.
            let call = self.lost.take().unwrap_or_else(|| {
                let mut draw = Draw {
                    random: &mut self.random,
                    model: &self.model,
                    now: now(),
                };
                draw.call()
            });
            let begun = now();
            let mut answer = connection.ask(&call).await?;
            if let Some(kind) = self.fault
                && !self.distorted
            {
                self.distorted = distort(kind, &call, &mut answer);
            }
            self.calls += 1;
            self.note(begun, call.clone(), answer.clone());
            self.streamed += u64::from(matches!(
                answer,
                Answer::Upload(_) | Answer::PutContent(_) | Answer::Download(..)
            ));
            let span = (begun, now());
            if connection.switches.explain(&call, &answer, span) {
                self.switched_off += 1;
                continue;
            }
            let judged = self.model.judge(&call, &answer, span);
            judged.map_err(|what| self.described(what))?;
            if let Answer::Failed(Failure::Unknown(why)) = answer {
                ensure!(self.may_lose, "{call:?} was not answered: {why}");
                self.lost = Some(call).filter(Call::is_named);
                return Ok(());
            }
            self.run = answer.run().or(self.run);
            if call.is_named() && !matches!(answer, Answer::Failed(_)) {
                self.answered.push((call.clone(), answer.clone()));
            }
            match self.settle(&mut connection, true).await {
                Err(gone) if gone == GONE => return Ok(()),
                settled => settled.map_err(|what| self.described(what))?,
            }
        }
        Ok(())
    }

    fn note(&mut self, begun: u64, call: Call, answer: Answer) {
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back((begun, call, answer));
    }

    /// What was wrong, and after which calls; of large values the beginning is enough.
    fn described(&self, mut what: String) -> String {
        const SHOWN: usize = 1_000;
        for (begun, call, answer) in self.past.iter().rev() {
            let texts = [format!("{begun}: {call:?}"), format!("answer: {answer:?}")];
            for mut text in texts {
                text.truncate(text.floor_char_boundary(SHOWN));
                what += &format!("\n{text}");
            }
        }
        what
    }

    async fn wait_for_expiries(&mut self) {
        if let Some(last) = self.model.last_expiry_before(now() + SOON) {
            let left = last.saturating_sub(now());
            tokio::time::sleep(Duration::from_millis(left + 2)).await;
        }
        self.model.pass_time(now());
    }

    /// Reads what a call has done whose answer did not say.
    async fn settle(&mut self, connection: &mut Connection, must: bool) -> Result<(), String> {
        let Some(pending) = &self.model.pending else {
            return Ok(());
        };
        let mut keys: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
        for effect in &pending.effects {
            let (namespace, key) = effect.at.clone();
            keys.entry(namespace).or_default().push(key);
        }
        let mut found: BTreeMap<At, v1::Entry> = BTreeMap::new();
        for (namespace, keys) in keys {
            let entries = connection.entries(&namespace, keys).await;
            let entries = entries.map_err(|_| GONE.to_owned())?;
            let entries = entries.into_iter();
            found.extend(entries.map(|it| ((namespace.clone(), it.key.clone()), it)));
        }
        self.model.settle(&found, must)
    }

    /// Everything of this client, read in every way.
    pub async fn check_all(&mut self, connection: &mut Connection) -> Result<(), String> {
        self.wait_for_expiries().await;
        for namespace in NAMESPACES {
            let selection = Some(v1::KeySelection {
                prefix: self.model.prefix.clone(),
                ..v1::KeySelection::default()
            });
            for reverse in [false, true] {
                let scan = Call::Scan(v1::ScanRequest {
                    namespace: namespace.to_owned(),
                    selection: selection.clone(),
                    reverse,
                    page_size: 3,
                    ..v1::ScanRequest::default()
                });
                let stream = Call::StreamScan(v1::StreamScanRequest {
                    namespace: namespace.to_owned(),
                    selection: selection.clone(),
                    reverse,
                    ..v1::StreamScanRequest::default()
                });
                let keys = Call::StreamScan(v1::StreamScanRequest {
                    namespace: namespace.to_owned(),
                    selection: selection.clone(),
                    reverse,
                    keys_only: true,
                    ..v1::StreamScanRequest::default()
                });
                for call in [scan, stream, keys] {
                    self.read(connection, call).await?;
                }
            }
        }
        let all: Vec<At> = self.model.keys.keys().cloned().collect();
        for (namespace, key) in all {
            let get = v1::GetRequest {
                namespace: namespace.clone(),
                key: key.clone(),
                ..v1::GetRequest::default()
            };
            let download = v1::DownloadRequest {
                namespace,
                key,
                ..v1::DownloadRequest::default()
            };
            self.read(connection, Call::Get(get)).await?;
            self.read(connection, Call::Download(download)).await?;
        }
        Ok(())
    }

    async fn read(&mut self, connection: &mut Connection, call: Call) -> Result<(), String> {
        let begun = now();
        let answer = connection.ask(&call).await?;
        let judged = self.model.judge(&call, &answer, (begun, now()));
        self.note(begun, call, answer);
        judged.map_err(|what| self.described(what))
    }

    /// Whether the watches told everything that has happened, once they have come so far.
    pub async fn check_watches(&self, version: u64) -> Result<(), String> {
        for (namespace, told) in &self.told {
            if !arrived(namespace, told, version).await? {
                continue; // The next one begins anew.
            }
            let told = told.lock().unwrap();
            self.model.check_watch(namespace, &told.events)?;
        }
        Ok(())
    }

    /// A watch that leaves one event out: a planted fault. Whether there was one.
    pub fn forget_an_event(&self) -> bool {
        self.spoil_an_event(|events, place| drop(events.remove(place)))
    }

    /// A watch that tells one value wrong: a planted fault. Whether there was one.
    pub fn bend_an_event(&self) -> bool {
        self.spoil_an_event(|events, place| events[place].value = "bent".into())
    }

    fn spoil_an_event(&self, spoil: impl Fn(&mut Vec<v1::WatchEvent>, usize)) -> bool {
        let mut all = self.told.values().map(|told| told.lock().unwrap());
        let is_put = |it: &v1::WatchEvent| it.r#type() == v1::WatchEventType::Put;
        all.any(|mut told| match told.events.iter().position(is_put) {
            Some(place) => {
                spoil(&mut told.events, place);
                true
            }
            None => false,
        })
    }
}

/// What says that the server is gone.
const GONE: &str = "the server is gone";

/// Notes what a watch tells until it ends.
async fn follow(mut stream: Stream, told: Arc<Mutex<Told>>) {
    loop {
        match stream.message().await {
            Ok(Some(message)) => {
                let mut told = told.lock().unwrap();
                told.events.extend(message.events);
                told.version = message.version;
            }
            Ok(None) => return,
            Err(status) => {
                told.lock().unwrap().ended = Some(status);
                return;
            }
        }
    }
}

/// Waits until a watch has come to a version; not when its past was gone before.
async fn arrived(namespace: &str, told: &Mutex<Told>, version: u64) -> Result<bool, String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (at, ended) = {
            let told = told.lock().unwrap();
            (told.version, told.ended.clone())
        };
        match ended {
            _ if at >= version => return Ok(true),
            Some(status) if is_compacted(&status) => return Ok(false),
            Some(status) => return Err(format!("a watch ended: {status:?}")),
            None => {}
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "the watch of {namespace:?} is at {at}, the store at {version}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The version of the store at this moment.
pub async fn version_now(server: &Server) -> Result<u64, Status> {
    let mut snapshots = SnapshotServiceClient::new(server.channel().await);
    let request = v1::CreateSnapshotRequest::default();
    let taken = snapshots.create_snapshot(request).await?;
    Ok(taken.into_inner().version)
}

/// Whether a watch was ended because its past is gone, and not by the end of the server.
fn is_compacted(status: &Status) -> bool {
    let details = status.get_error_details();
    details
        .error_info()
        .is_some_and(|info| info.reason == "WATCH_COMPACTED")
}
