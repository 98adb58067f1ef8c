//! The question before something that cannot be undone.

use super::exit::CliError;
use std::io::{self, IsTerminal as _, Write as _};

/// Asks on the terminal. Without one there is nobody to ask, and nothing is done.
///
/// # Errors
/// The answer was not yes.
pub(super) async fn confirm(question: &str) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        let message = format!("{question} say --yes to do it");
        return Err(CliError::Usage(message));
    }
    let prompt = format!("{question} [y/N] ");
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        let asked = write!(io::stderr(), "{prompt}").and_then(|()| io::stderr().flush());
        asked.and_then(|()| io::stdin().read_line(&mut answer))?;
        Ok(answer)
    });
    let answer: io::Result<String> = answer.await.expect("asking does not panic");
    let answer = answer.map_err(|error| CliError::stream("read", "standard input", error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::Failed("nothing done".to_owned())),
    }
}
