//! The program as people run it.

use serde_json::Value;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program, told of a server.
pub fn command(server: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardkeep"));
    command.args(arguments);
    command.env("SHARDKEEP_SERVER", server.to_string());
    command.env_remove("SHARDKEEP_ADMIN_PASSWORD");
    command.stdin(Stdio::null());
    command
}

/// Runs the program.
pub fn run(server: SocketAddr, arguments: &[&str]) -> Output {
    command(server, arguments).output().unwrap()
}

/// Standard output of a command that must succeed.
pub fn output(server: SocketAddr, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert_eq!(code(&output), 0, "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The one JSON object of a command, whatever its exit code.
pub fn json(server: SocketAddr, arguments: &[&str]) -> Value {
    let output = run(server, &[arguments, &["--output", "json"]].concat());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said(&output)))
}

/// Its exit code.
pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// What it wrote to standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs the program with this on standard input.
pub fn piped(server: SocketAddr, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = command(server, arguments);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}
