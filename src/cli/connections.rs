//! Connections of commands: of one command each, or kept by a shell from one to the next.
//!
//! A command has a runtime of its own, and all that it has begun ends with that. So the connections
//! that are kept live in another one, beside those of the commands that use them. One that broke is made
//! again by the next call.

use super::exit::CliError;
use crate::client::Client;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::runtime::{Builder, Runtime};

/// Where commands get their connections from. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Connections(Option<Arc<Kept>>);

#[derive(Debug)]
struct Kept {
    runtime: Runtime,
    /// By the server's address, and how many take turns.
    clients: Mutex<HashMap<(String, usize), Client>>,
}

impl Connections {
    /// Those that outlive a command. Must be dropped outside of every runtime.
    ///
    /// # Errors
    /// The system gives no thread for them.
    pub fn kept() -> Result<Self, CliError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| CliError::Failed(format!("cannot start the runtime: {error}")))?;
        let clients = Mutex::default();
        Ok(Self(Some(Arc::new(Kept { runtime, clients }))))
    }

    /// So many connections to a server, opened now if none are kept.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn to(&self, server: &str, count: usize) -> Result<Client, CliError> {
        let Some(kept) = &self.0 else {
            return Ok(Client::connect(server, count).await?);
        };
        let name = (server.to_owned(), count);
        if let Some(client) = kept.find(&name) {
            return Ok(client);
        }
        let server = server.to_owned();
        let connecting = async move { Client::connect(&server, count).await };
        let connected = kept.runtime.spawn(connecting).await;
        let lost = |error| CliError::Failed(format!("a task failed: {error}"));
        let client = connected.map_err(lost)??;
        kept.keep(name, client.clone());
        Ok(client)
    }
}

impl Kept {
    fn find(&self, name: &(String, usize)) -> Option<Client> {
        let clients = self.clients.lock();
        let clients = clients.expect("no code panics while it holds this lock");
        clients.get(name).cloned()
    }

    fn keep(&self, name: (String, usize), client: Client) {
        let clients = self.clients.lock();
        let mut clients = clients.expect("no code panics while it holds this lock");
        clients.insert(name, client);
    }
}
