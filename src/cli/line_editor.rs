//! A line that is being typed: what each key does to it, without a terminal.

use console::Key;

/// Lines that were typed before, the newest last.
#[derive(Debug, Clone, Default)]
pub struct History {
    lines: Vec<String>,
}

impl History {
    /// As many lines as are kept.
    const LINES_MAX: usize = 1000;

    /// The lines of a file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut history = Self::default();
        text.lines().for_each(|line| history.push(line));
        history
    }

    /// The lines as a file has them.
    #[must_use]
    pub fn format(&self) -> String {
        let lines = self.lines.iter().map(|line| format!("{line}\n"));
        lines.collect()
    }

    /// One more line, unless it says nothing new.
    pub fn push(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() || self.lines.last().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.len() == Self::LINES_MAX {
            self.lines.remove(0);
        }
        self.lines.push(line.to_owned());
    }
}

/// What a key comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// The line has changed, or may have.
    More,
    /// It is complete.
    Done(String),
    /// It is thrown away.
    Dropped,
    /// Nobody types any more.
    End,
    /// What might complete it is asked for.
    Complete,
    /// The screen is to be cleared.
    Clear,
}

/// A line, and where the next letter goes.
#[derive(Debug)]
pub struct LineEditor<'a> {
    letters: Vec<char>,
    at: usize,
    history: &'a History,
    /// The line of the history that is shown; as many as there are for the one that is typed.
    shown: usize,
    /// What was typed before the history was looked at.
    own: Vec<char>,
}

impl<'a> LineEditor<'a> {
    /// An empty line.
    #[must_use]
    pub fn new(history: &'a History) -> Self {
        Self {
            letters: Vec::new(),
            at: 0,
            history,
            shown: history.lines.len(),
            own: Vec::new(),
        }
    }

    /// What stands before and behind the place where the next letter goes.
    #[must_use]
    pub fn parts(&self) -> (String, String) {
        let (before, behind) = self.letters.split_at(self.at);
        (before.iter().collect(), behind.iter().collect())
    }

    /// Puts a text where the next letter goes, instead of the last letters before it.
    pub fn replace(&mut self, letters: usize, text: &str) {
        let from = self.at.saturating_sub(letters);
        let text: Vec<char> = text.chars().collect();
        let end = from + text.len();
        self.letters.splice(from..self.at, text);
        self.at = end;
    }

    /// Takes a key.
    pub fn take(&mut self, key: &Key) -> Typed {
        match key {
            Key::Enter => return Typed::Done(self.letters.iter().collect()),
            Key::CtrlC => return Typed::Dropped,
            Key::Tab => return Typed::Complete,
            Key::Char('\u{4}') if self.letters.is_empty() => return Typed::End,
            Key::Char('\u{c}') => return Typed::Clear,
            Key::Char('\u{4}') | Key::Del => self.remove(self.at..self.at + 1),
            Key::Char('\u{b}') => self.letters.truncate(self.at),
            Key::Char('\u{15}') => self.remove(0..self.at),
            Key::Char('\u{17}') => self.remove(self.word()..self.at),
            Key::Char(letter) if !letter.is_control() => self.replace(0, &letter.to_string()),
            Key::Backspace => self.remove(self.at.saturating_sub(1)..self.at),
            Key::ArrowLeft => self.at = self.at.saturating_sub(1),
            Key::ArrowRight => self.at = (self.at + 1).min(self.letters.len()),
            Key::Home => self.at = 0,
            Key::End => self.at = self.letters.len(),
            Key::ArrowUp => self.show(self.shown.saturating_sub(1)),
            Key::ArrowDown => self.show(self.shown + 1),
            _ => {}
        }
        Typed::More
    }

    /// Where the word begins that the next letter would go behind.
    fn word(&self) -> usize {
        let before = &self.letters[..self.at];
        let is_blank = |letter: &char| letter.is_whitespace();
        let end = before.iter().rposition(|it| !is_blank(it));
        let end = end.map_or(0, |last| last + 1);
        let blank = before[..end].iter().rposition(is_blank);
        blank.map_or(0, |blank| blank + 1)
    }

    fn remove(&mut self, range: std::ops::Range<usize>) {
        let end = range.end.min(self.letters.len());
        if range.start < end {
            self.letters.drain(range.start..end);
            self.at = range.start;
        }
    }

    /// Shows a line of the history, or behind the last one what was typed.
    fn show(&mut self, line: usize) {
        let all = &self.history.lines;
        let line = line.min(all.len());
        if line == self.shown {
            return;
        }
        if self.shown == all.len() {
            self.own = std::mem::take(&mut self.letters);
        }
        self.letters = match all.get(line) {
            Some(before) => before.chars().collect(),
            None => std::mem::take(&mut self.own),
        };
        self.shown = line;
        self.at = self.letters.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_in(editor: &mut LineEditor<'_>, text: &str) {
        for letter in text.chars() {
            assert_eq!(editor.take(&Key::Char(letter)), Typed::More);
        }
    }

    fn line(editor: &LineEditor<'_>) -> String {
        let (before, behind) = editor.parts();
        format!("{before}|{behind}")
    }

    #[test]
    fn letters_go_where_the_cursor_is() {
        let history = History::default();
        let mut editor = LineEditor::new(&history);
        type_in(&mut editor, "get kä");
        editor.take(&Key::ArrowLeft);
        editor.take(&Key::Backspace);
        assert_eq!(line(&editor), "get |ä");
        editor.take(&Key::Del);
        editor.take(&Key::Del);
        type_in(&mut editor, "one two");
        editor.take(&Key::Char('\u{17}'));
        assert_eq!(line(&editor), "get one |");
        editor.take(&Key::Home);
        type_in(&mut editor, "# ");
        editor.take(&Key::Char('\u{b}'));
        assert_eq!(line(&editor), "# |");
        editor.take(&Key::Char('\u{15}'));
        assert_eq!(line(&editor), "|");
        assert_eq!(editor.take(&Key::Backspace), Typed::More);
        assert_eq!(editor.take(&Key::Char('\u{4}')), Typed::End);
    }

    #[test]
    fn the_history_is_walked_and_what_was_typed_comes_back() {
        let history = History::parse("one\n\ntwo\ntwo\n");
        assert_eq!(history.format(), "one\ntwo\n");
        let mut editor = LineEditor::new(&history);
        type_in(&mut editor, "own");
        for expected in ["two|", "one|", "one|"] {
            editor.take(&Key::ArrowUp);
            assert_eq!(line(&editor), expected);
        }
        for expected in ["two|", "own|", "own|"] {
            editor.take(&Key::ArrowDown);
            assert_eq!(line(&editor), expected);
        }
        assert_eq!(editor.take(&Key::Enter), Typed::Done("own".to_owned()));
    }

    #[test]
    fn the_oldest_lines_of_a_long_history_go() {
        let text: String = (0..1500).map(|number| format!("{number}\n")).collect();
        let kept = History::parse(&text).format();
        assert_eq!(kept.lines().count(), History::LINES_MAX);
        assert!(kept.starts_with("500\n") && kept.ends_with("1499\n"));
    }
}
