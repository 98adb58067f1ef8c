//! Lines for the shell: from a terminal with a history and completions, or from a pipe.

use super::args;
use super::exit::CliError;
use super::line_editor::{History, LineEditor, Typed};
use console::{Term, measure_text_width};
use std::io::{self, BufRead as _};
use std::path::PathBuf;

/// Words that only the shell knows.
const BUILT_IN: [&str; 4] = ["use", "help", "exit", "quit"];
/// A line with this in it is not kept.
const SECRET: &str = "password";

/// Where lines come from.
#[derive(Debug)]
pub enum LineReader {
    /// A person.
    Terminal {
        /// What they type into.
        terminal: Term,
        /// What they typed.
        history: History,
        /// Where it is kept.
        file: Option<PathBuf>,
    },
    /// Another program, or a file.
    Pipe,
}

impl LineReader {
    /// Reads from the terminal.
    #[must_use]
    pub fn terminal() -> Self {
        let file = history_file();
        // There is none at first.
        let kept = file
            .as_ref()
            .and_then(|file| std::fs::read_to_string(file).ok());
        Self::Terminal {
            terminal: Term::stdout(),
            history: History::parse(&kept.unwrap_or_default()),
            file,
        }
    }

    /// Reads from standard input.
    #[must_use]
    pub fn pipe() -> Self {
        Self::Pipe
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn next(&mut self, prompt: &str) -> Result<Option<String>, CliError> {
        let Self::Terminal {
            terminal, history, ..
        } = self
        else {
            return next_of_pipe();
        };
        let typed = read(terminal, prompt, history);
        let typed = typed.map_err(|error| CliError::stream("use", "the terminal", error))?;
        if let Some(line) = typed.as_deref().filter(|line| !line.contains(SECRET)) {
            history.push(line);
        }
        Ok(typed)
    }

    /// Keeps the history.
    pub fn close(&self) {
        let Self::Terminal {
            history,
            file: Some(file),
            ..
        } = self
        else {
            return;
        };
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = folder.and_then(|()| std::fs::write(file, history.format())) {
            tracing::debug!(file = %file.display(), %error, "the history was not kept");
        }
    }
}

/// A line from whoever types; `None` when there is nobody any more.
fn read(terminal: &Term, prompt: &str, history: &History) -> io::Result<Option<String>> {
    let mut editor = LineEditor::new(history);
    // What a command wrote last may have no end of line: behind it, a row of blanks ends on the next
    // row, and else on this one.
    let width = usize::from(terminal.size().1);
    terminal.write_str(&format!("{}\r", " ".repeat(width)))?;
    loop {
        draw(terminal, prompt, &editor)?;
        match editor.take(&terminal.read_key_raw()?) {
            Typed::More => {}
            Typed::Clear => terminal.clear_screen()?,
            Typed::Complete => complete(terminal, &mut editor)?,
            Typed::Done(line) => {
                terminal.write_line("")?;
                return Ok(Some(line));
            }
            Typed::Dropped => {
                terminal.write_line("^C")?;
                return Ok(Some(String::new()));
            }
            Typed::End => {
                terminal.write_line("")?;
                return Ok(None);
            }
        }
    }
}

/// Draws the line on one row of the terminal: of a longer one, what is around the cursor.
fn draw(terminal: &Term, prompt: &str, editor: &LineEditor<'_>) -> io::Result<()> {
    let (before, behind) = editor.parts();
    let width = usize::from(terminal.size().1).max(prompt.len() + 10);
    let room = width - prompt.len() - 1;
    let before = tail(&before, room);
    let behind: String = behind.chars().take(room - before.chars().count()).collect();
    terminal.clear_line()?;
    terminal.write_str(&format!("{prompt}{before}{behind}"))?;
    terminal.move_cursor_left(measure_text_width(&behind))
}

/// The last letters of a text, as many as there is room for.
fn tail(text: &str, room: usize) -> String {
    let letters = text.chars().count();
    text.chars().skip(letters.saturating_sub(room)).collect()
}

/// Completes the word before the cursor as far as it is clear, or shows what it may become.
fn complete(terminal: &Term, editor: &mut LineEditor<'_>) -> io::Result<()> {
    let (before, _) = editor.parts();
    let start = before
        .rfind(char::is_whitespace)
        .map_or(0, |blank| blank + 1);
    let (words, begun) = before.split_at(start);
    let words: Vec<&str> = words.split_whitespace().collect();
    let candidates = candidates(&words, begun);
    let letters = begun.chars().count();
    match candidates.as_slice() {
        [] => {}
        [only] => editor.replace(letters, &format!("{only} ")),
        several => {
            let shared = shared_beginning(several);
            if shared.len() > begun.len() {
                editor.replace(letters, shared);
            } else {
                terminal.write_line("")?;
                terminal.write_line(&several.join("  "))?;
            }
        }
    }
    Ok(())
}

/// What all of them begin with.
fn shared_beginning(words: &[String]) -> &str {
    let (first, others) = words.split_first().expect("there are several");
    let common = |other: &String| {
        let pairs = first.char_indices().zip(other.chars());
        let mut unequal = pairs.skip_while(|((_, one), two)| one == two);
        let end = first.len().min(other.len());
        unequal.next().map_or(end, |((at, _), _)| at)
    };
    let length = others.iter().map(common).min().unwrap_or(first.len());
    &first[..length]
}

/// What may stand behind some words, of what begins so.
fn candidates(words: &[&str], begun: &str) -> Vec<String> {
    let mut all = args::words_after(words);
    if words.is_empty() {
        all.extend(BUILT_IN.map(str::to_owned));
    }
    all.retain(|word| word.starts_with(begun));
    all.sort();
    all.dedup();
    all
}

/// A line; what stands behind it belongs to whoever reads next.
fn next_of_pipe() -> Result<Option<String>, CliError> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    match read.map_err(|error| CliError::stream("read", "standard input", error))? {
        0 => Ok(None),
        _ => Ok(Some(line)),
    }
}

fn history_file() -> Option<PathBuf> {
    if let Some(file) = std::env::var_os("SHARDKEEP_HISTORY") {
        return Some(PathBuf::from(file)).filter(|file| !file.as_os_str().is_empty());
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    Some(state.or_else(home)?.join("shardkeep/history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_their_options_are_completed() {
        assert_eq!(candidates(&[], "sn"), ["snapshot"]);
        assert_eq!(candidates(&[], "us"), ["use"]);
        assert_eq!(candidates(&["snapshot"], "cr"), ["create"]);
        assert_eq!(candidates(&["snapshot", "create"], "--le"), ["--lease"]);
        assert_eq!(candidates(&["scan"], "--rev"), ["--reverse"]);
        assert!(candidates(&["scan"], "x").is_empty());
        assert!(candidates(&["no such"], "").is_empty());
    }

    #[test]
    fn words_are_completed_as_far_as_they_are_equal() {
        let shared = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
            shared_beginning(&words).to_owned()
        };
        assert_eq!(shared(&["snapshot", "snow"]), "sn");
        assert_eq!(shared(&["stat", "status"]), "stat");
        assert_eq!(shared(&["äb", "äc", "ä"]), "ä");
        assert_eq!(shared(&["one", "two"]), "");
    }

    #[test]
    fn of_a_long_line_the_end_is_shown() {
        assert_eq!(tail("abcdef", 3), "def");
        assert_eq!(tail("ab", 3), "ab");
    }
}
