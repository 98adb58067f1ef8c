//! A server process that ends with the test.

use super::{PATIENCE, eventually, process};
use rustix::process::{Pid, Signal, kill_process};
use shardkeep::proto::zstdb::Item;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};

/// The password that every server of the tests is started with, unless it says otherwise.
pub const ADMIN_PASSWORD: &str = "123";

/// Messages that the tests' clients take.
const MESSAGE_SIZE_MAX: usize = 1 << 30;

/// How long the output of a process that was killed may still be open.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(5);

/// How a server is started.
pub struct Builder {
    flags: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    data_dir: Option<PathBuf>,
    password: bool,
    wrapper: Vec<OsString>,
}

impl Builder {
    /// One more flag.
    pub fn flag(mut self, flag: impl AsRef<OsStr>) -> Self {
        self.flags.push(flag.as_ref().to_owned());
        self
    }

    /// More flags.
    pub fn flags<S: AsRef<OsStr>>(self, flags: impl IntoIterator<Item = S>) -> Self {
        flags.into_iter().fold(self, Self::flag)
    }

    /// A variable of the environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let pair = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.environment.push(pair);
        self
    }

    /// The data directory; without one, the server has its own, which goes with it.
    pub fn data_dir(mut self, data_dir: impl AsRef<Path>) -> Self {
        self.data_dir = Some(data_dir.as_ref().to_owned());
        self
    }

    /// Starts without an administrator's password.
    pub fn without_password(mut self) -> Self {
        self.password = false;
        self
    }

    /// A command that starts the server, which must be the process that was started.
    pub fn under(mut self, wrapper: Vec<OsString>) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// A key of the configuration, `section.key`.
    pub fn set(self, key: &str, value: impl AsRef<OsStr>) -> Self {
        let name = key.to_uppercase().replace('.', "__");
        self.env(format!("SHARDKEEP__{name}"), value)
    }

    /// Fail points, in the words of the `fail` crate.
    pub fn fail_points(self, actions: &str) -> Self {
        self.env("FAILPOINTS", actions)
    }

    /// Starts the server and waits until it answers.
    pub async fn start(self) -> Server {
        let server = self.launch().ready().await;
        let mut client = server.client().await;
        let pong = client.ping(Item::default()).await;
        let pong = pong.unwrap_or_else(|status| panic!("ping failed: {status}\n{}", server.log()));
        assert_eq!(pong.into_inner().data.as_ref(), b"ok");
        server
    }

    /// Starts the process and waits for nothing.
    pub fn launch(self) -> Starting {
        let own_dir = TempDir::new().unwrap();
        let data_dir = self.data_dir.clone();
        let data_dir = data_dir.unwrap_or_else(|| own_dir.path().join("data"));
        let mut command = self.command(&data_dir);
        command.current_dir(own_dir.path());
        // One pipe, so that lines are seen in the order in which they were printed.
        let (output, printed) = std::io::pipe().unwrap();
        command.stdout(printed.try_clone().unwrap()).stderr(printed);
        let child = command.spawn().unwrap();
        // It holds the writing ends, which must close with the process.
        drop(command);
        let log = Arc::new(Mutex::new(String::new()));
        let (ready, is_ready) = oneshot::channel();
        let mut ready = Some(ready);
        let follower = follow(output, Arc::clone(&log), move |line| {
            if let Some(address) = ready_address(line)
                && let Some(ready) = ready.take()
            {
                let _ = ready.send(address);
            }
        });
        let server = Server {
            child,
            follower,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir,
            log,
            _own_dir: own_dir,
        };
        Starting { server, is_ready }
    }

    /// Runs a server that is expected to end by itself, and gives what it left.
    pub async fn run_to_its_end(self) -> Output {
        let own_dir = TempDir::new().unwrap();
        let data_dir = self.data_dir.clone();
        let mut command = self.command(&data_dir.unwrap_or_else(|| own_dir.path().join("data")));
        command.current_dir(own_dir.path());
        let running = tokio::task::spawn_blocking(move || command.output());
        let ended = tokio::time::timeout(PATIENCE, running).await;
        ended.expect("the server went on").unwrap().unwrap()
    }

    fn command(self, data_dir: &Path) -> Command {
        let program = OsString::from(env!("CARGO_BIN_EXE_shardkeep"));
        let mut words = self.wrapper.into_iter().chain([program]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command.args(words);
        command.arg("serve").arg("--data-dir").arg(data_dir);
        command.args(["--host", "127.0.0.1", "--port", "0"]);
        // The machine's own disk is not what is tested.
        command.args(["--min-free-disk-space-mb", "1"]);
        if self.password {
            command.args(["--admin-password", ADMIN_PASSWORD]);
        }
        command.args(self.flags).envs(self.environment);
        command.stdin(Stdio::null());
        command
    }
}

/// A server that may not answer yet; dropped, it is killed.
pub struct Starting {
    server: Server,
    is_ready: oneshot::Receiver<SocketAddr>,
}

impl Starting {
    /// Waits until the server says that it is ready.
    pub async fn ready(self) -> Server {
        let Self {
            mut server,
            is_ready,
        } = self;
        let address = tokio::time::timeout(PATIENCE, is_ready).await;
        server.address = match address {
            Ok(Ok(address)) => address,
            _ended_or_late => panic!("the server did not get ready:\n{}", server.log()),
        };
        server
    }

    /// Waits until the server says that it is ready, or has ended by itself: then what it printed.
    pub async fn ready_or_ended(self) -> Result<Server, String> {
        let Self {
            mut server,
            is_ready,
        } = self;
        match tokio::time::timeout(PATIENCE, is_ready).await {
            Ok(Ok(address)) => {
                server.address = address;
                Ok(server)
            }
            Ok(Err(_ended)) => {
                server.exited().await;
                Err(server.log())
            }
            Err(_late) => panic!("neither ready nor ended:\n{}", server.log()),
        }
    }

    /// Waits until the server listens, which it does before the store is open, and gives the address.
    pub async fn listening(&self) -> SocketAddr {
        let listens = || {
            let log = self.log();
            let line = log.lines().find(|line| line.contains("listening"))?;
            let (_, address) = line.split_once("address=")?;
            address.split_whitespace().next()?.parse().ok()
        };
        eventually("the server listens", listens).await
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// `kill -9`, wherever the start is by now; what was printed until then.
    pub fn kill(mut self) -> String {
        self.server.kill();
        self.server.log()
    }
}

/// A running server; dropped, it is killed.
pub struct Server {
    child: Child,
    follower: JoinHandle<()>,
    address: SocketAddr,
    data_dir: PathBuf,
    log: Arc<Mutex<String>>,
    _own_dir: TempDir,
}

impl Server {
    /// A server to be started.
    pub fn builder() -> Builder {
        Builder {
            flags: Vec::new(),
            environment: Vec::new(),
            data_dir: None,
            password: true,
            wrapper: Vec::new(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// [`Server::log`], while something else is done with the server.
    pub fn log_reader(&self) -> impl Fn() -> String + use<> {
        let log = Arc::clone(&self.log);
        move || log.lock().unwrap().clone()
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its threads whose name begins so.
    pub fn threads_named(&self, beginning: &str) -> Vec<u32> {
        process::threads_named(self.pid(), beginning)
    }

    /// A connection of its own.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let endpoint = endpoint
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20);
        let connected = endpoint.connect().await;
        connected.unwrap_or_else(|error| panic!("cannot connect: {error}\n{}", self.log()))
    }

    /// A client with a connection of its own.
    pub async fn client(&self) -> BadgerClient<Channel> {
        client_on(self.channel().await)
    }

    /// Fails the test unless the server answers, on a new connection.
    pub async fn assert_answers(&self) {
        let mut client = self.client().await;
        let pong = tokio::time::timeout(PATIENCE, client.ping(Item::default())).await;
        let pong = pong.expect("no answer to a ping");
        let pong = pong.unwrap_or_else(|status| panic!("ping failed: {status}\n{}", self.log()));
        assert_eq!(pong.into_inner().data.as_ref(), b"ok");
    }

    /// `kill -9`; returns when the process is gone and what it printed was read.
    pub fn kill(&mut self) {
        let _already_gone = self.child.kill();
        self.child.wait().unwrap();
        // Who traces a process holds its output for a moment longer.
        let until = Instant::now() + OUTPUT_PATIENCE;
        while !self.follower.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for the process to end by itself, and for what it printed last.
    pub async fn exited(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the end of the process", || child.try_wait().unwrap()).await;
        let follower = &self.follower;
        eventually("its last words", || follower.is_finished().then_some(())).await;
        status
    }

    /// SIGTERM, and the exit code must be 0.
    pub async fn stop(mut self) {
        self.terminate();
        let status = self.exited().await;
        assert!(status.success(), "{status}\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the server's output\n{}---", self.log());
        }
    }
}

/// A client on an open connection.
pub fn client_on(channel: Channel) -> BadgerClient<Channel> {
    BadgerClient::new(channel)
        .max_decoding_message_size(MESSAGE_SIZE_MAX)
        .max_encoding_message_size(MESSAGE_SIZE_MAX)
}

/// Copies lines into the log as they come, and then says so; the thread ends with the process.
fn follow(
    output: impl Read + Send + 'static,
    log: Arc<Mutex<String>>,
    mut line_came: impl FnMut(&str) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { break };
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
            drop(log);
            line_came(&line);
        }
    })
}

fn ready_address(line: &str) -> Option<SocketAddr> {
    let rest = line.strip_prefix("shardkeep ready on ")?;
    let (address, _pid) = rest.split_once(" pid=")?;
    address.parse().ok()
}
