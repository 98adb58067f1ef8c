//! What every command that talks to a server is given.

use super::connections::Connections;
use super::exit::CliError;
use super::interrupt::Interrupt;
use super::selection::NamespaceFlag;
use super::terminal::Terminal;
use crate::client::{Client, Database, Keyspace};
use serde_json::Value;

/// Connections of a command that moves many values.
const BULK_CONNECTIONS: usize = 4;

/// One run of the program.
#[derive(Debug)]
pub struct Session {
    /// The user's side.
    pub terminal: Terminal,
    /// `HOST:PORT`.
    pub server: String,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// Where its connections come from.
    pub connections: Connections,
}

impl Session {
    /// A connection for a few calls.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn connect(&self) -> Result<Client, CliError> {
        self.connections.to(&self.server, 1).await
    }

    /// A connection for the native protocol.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn database(&self) -> Result<Database, CliError> {
        Ok(self.connect().await?.database())
    }

    /// The keys of a namespace.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn keyspace(&self, of: &NamespaceFlag) -> Result<Keyspace, CliError> {
        Ok(self.database().await?.keyspace(&of.namespace))
    }

    /// Connections for many values at a time.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn connect_bulk(&self) -> Result<Client, CliError> {
        let connect = self.connections.to(&self.server, BULK_CONNECTIONS);
        self.interrupt.or_stop(connect).await
    }

    /// Runs an administration command with a JSON argument and reads its JSON answer.
    ///
    /// # Errors
    /// The server's, or an answer that is not JSON.
    pub async fn admin(
        &self,
        command: &'static str,
        argument: &Value,
        password: Option<&str>,
    ) -> Result<Value, CliError> {
        let client = self.connect().await?;
        let argument = argument.to_string().into();
        let answer = client.admin(command, argument, password).await?;
        serde_json::from_slice(&answer).map_err(|error| {
            CliError::Failed(format!(
                "{command}: cannot read the answer of {}: {error}",
                self.server
            ))
        })
    }
}
