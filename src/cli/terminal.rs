//! What the user sees: results on standard output, notes and errors on standard error.
//!
//! Standard output carries nothing but results, so that it can be piped. A reader that goes away
//! (`shardkeep ls | head`) ends the command quietly, never with a panic.

use super::exit::CliError;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, IsTerminal as _, Write as _};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people and for line-based tools.
    #[default]
    Text,
    /// One JSON object on standard output.
    Json,
}

/// The user's side of the command.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// How results are written.
    pub format: Format,
    /// Whether notes, summaries and progress are left out.
    pub quiet: bool,
}

impl Terminal {
    /// Whether results are JSON.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Whether progress is drawn: on a terminal, unless `--quiet`.
    #[must_use]
    pub fn shows_progress(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Writes a result as it is.
    ///
    /// # Errors
    /// [`CliError::BrokenPipe`], or what else keeps standard output from taking it.
    pub fn write(self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|error| CliError::stream("write to", "standard output", error))
    }

    /// Writes a line of a result.
    ///
    /// # Errors
    /// As [`Terminal::write`].
    pub fn line(self, line: &[u8]) -> Result<(), CliError> {
        self.write(&[line, b"\n"].concat())
    }

    /// Writes the result: `text` for people, or the one JSON object.
    ///
    /// # Errors
    /// As [`Terminal::write`].
    pub fn result(self, text: &str, value: &impl Serialize) -> Result<(), CliError> {
        match self.format {
            Format::Text => self.line(text.as_bytes()),
            Format::Json => self.line(pretty(value).as_bytes()),
        }
    }

    /// Tells something that is not a result, unless `--quiet`.
    pub fn note(self, message: &str) {
        if !self.quiet {
            say(message);
        }
    }

    /// Tells that something is wrong; not silenced by `--quiet`.
    pub fn warn(self, message: &str) {
        say(&format!("shardkeep: {message}"));
    }

    /// Tells why the command ended; in JSON on standard output too.
    pub fn fail(self, error: &CliError) {
        if matches!(error, CliError::BrokenPipe) {
            return;
        }
        self.warn(&error.to_string());
        if self.is_json() {
            let value = json!({ "error": json_error(error) });
            // The exit code tells the same: nothing is lost when this cannot be written.
            let _ = self.line(pretty(&value).as_bytes());
        }
    }
}

/// An error as JSON.
#[must_use]
pub fn json_error(error: &CliError) -> Value {
    let exit = error.exit();
    json!({
        "kind": exit.word(),
        "exit_code": exit.code(),
        "message": error.to_string(),
    })
}

/// A key or path as JSON: a string, or its bytes in hex when it is not UTF-8.
#[must_use]
pub fn json_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("results have string keys and no failing parts")
}

/// Standard error may be closed; there is nobody left to tell then.
fn say(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// One JSON object with a long array in it, written while the array grows, so that memory does
/// not: `{"files": [...], ...}`. In text it writes nothing.
#[derive(Debug)]
pub struct JsonArray {
    terminal: Terminal,
    count: u64,
}

impl JsonArray {
    /// Begins the object with the array's name.
    ///
    /// # Errors
    /// As [`Terminal::write`].
    pub fn begin(terminal: Terminal, name: &str) -> Result<Self, CliError> {
        if terminal.is_json() {
            terminal.write(format!("{{\n  \"{name}\": [").as_bytes())?;
        }
        Ok(Self { terminal, count: 0 })
    }

    /// Writes an element.
    ///
    /// # Errors
    /// As [`Terminal::write`].
    pub fn push(&mut self, element: &Value) -> Result<(), CliError> {
        if self.terminal.is_json() {
            let comma = if self.count == 0 { "" } else { "," };
            self.terminal
                .write(format!("{comma}\n    {element}").as_bytes())?;
        }
        self.count += 1;
        Ok(())
    }

    /// Ends the array and the object, with the members of `rest` after the array.
    ///
    /// # Errors
    /// As [`Terminal::write`].
    pub fn end(self, rest: &Value) -> Result<(), CliError> {
        if !self.terminal.is_json() {
            return Ok(());
        }
        let rest = pretty(rest);
        let members = rest.strip_prefix('{').unwrap_or(&rest);
        self.terminal.line(format!("\n  ],{members}").as_bytes())
    }
}
