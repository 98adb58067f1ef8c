//! A line of the shell as words, in the way of `sh`: blanks part them, quotes keep them together.
//!
//! Between single quotes every character is itself. Between double quotes, a backslash takes the
//! meaning from a double quote and from itself; outside of quotes, from every character. `#` at the
//! beginning of a word is a remark to the end of the line. Nothing is expanded.

/// Why a line is no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// A quote has no partner.
    #[error("a {0} is not closed: the line goes on as if all of it were quoted")]
    Open(char),
    /// The line ends with a backslash.
    #[error("a backslash stands at the end: nothing follows that it could stand for")]
    Backslash,
}

/// The words of a line.
///
/// # Errors
/// What is wrong with it.
pub fn split(line: &str) -> Result<Vec<String>, BadLine> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            blank if blank.is_whitespace() => words.extend(word.take()),
            '#' if word.is_none() => break,
            '\'' | '"' => quoted(letter, &mut letters, word.get_or_insert_default())?,
            '\\' => {
                let next = letters.next().ok_or(BadLine::Backslash)?;
                word.get_or_insert_default().push(next);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Takes what stands up to the closing quote.
fn quoted(
    quote: char,
    letters: &mut std::str::Chars<'_>,
    word: &mut String,
) -> Result<(), BadLine> {
    while let Some(letter) = letters.next() {
        match letter {
            end if end == quote => return Ok(()),
            '\\' if quote == '"' => match letters.next() {
                Some(escaped @ ('"' | '\\')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => break,
            },
            other => word.push(other),
        }
    }
    Err(BadLine::Open(quote))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_as_sh_has_them() {
        for (line, words) in [
            ("", &[][..]),
            ("  \t ", &[]),
            ("get key", &["get", "key"]),
            ("a 'b c' \"d e\"", &["a", "b c", "d e"]),
            ("a'b'\"c\"d", &["abcd"]),
            ("'' \"\"", &["", ""]),
            (r"a\ b \'c", &["a b", "'c"]),
            (
                r#""a\"b" "a\\b" "a\nb" '\'"#,
                &["a\"b", r"a\b", r"a\nb", r"\"],
            ),
            ("get # a remark", &["get"]),
            ("a#b '#'", &["a#b", "#"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        assert_eq!(split("a 'b"), Err(BadLine::Open('\'')));
        assert_eq!(split("\"a\\\""), Err(BadLine::Open('"')));
        assert_eq!(split("a\\"), Err(BadLine::Backslash));
    }

    proptest! {
        #[test]
        fn any_words_survive_single_quotes(words in prop::collection::vec("[^']{0,8}", 0..6)) {
            let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            prop_assert_eq!(split(&quoted.join(" ")).unwrap(), words);
        }
    }
}
