//! JSON as zstdb's server writes and reads it: one object, sorted names, a newline at the end.

use serde::Serialize;
use std::collections::BTreeMap;

/// An object of strings.
pub(super) type Strings = BTreeMap<String, String>;

/// The object on a line.
pub(super) fn line<K: Serialize, V: Serialize>(object: &BTreeMap<K, V>) -> String {
    let mut line = serde_json::to_string(object).expect("names and values are strings or numbers");
    line.push('\n');
    line
}

/// `{"done":...}`.
pub(super) fn done(done: bool) -> String {
    line(&BTreeMap::from([("done", u8::from(done))]))
}

/// The object of strings that `data` holds; a `null` is an empty string, the last of equal names
/// wins.
///
/// # Errors
/// What is wrong with it.
pub(super) fn strings(data: &[u8]) -> serde_json::Result<Strings> {
    let members: BTreeMap<String, Option<String>> = serde_json::from_slice(data)?;
    Ok(members
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_sorted_names_and_ends() {
        let object = BTreeMap::from([("b", "2"), ("a", "1\"")]);
        assert_eq!(line(&object), "{\"a\":\"1\\\"\",\"b\":\"2\"}\n");
        assert_eq!(done(true), "{\"done\":1}\n");
        assert_eq!(done(false), "{\"done\":0}\n");
    }

    #[test]
    fn only_an_object_of_strings_is_read() {
        assert_eq!(strings(br#"{"path":"a","x":null}"#).unwrap()["path"], "a");
        for bad in ["", "null", "[]", "{", r#"{"path":1}"#, r#"{"path":"a"} x"#] {
            assert!(strings(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
