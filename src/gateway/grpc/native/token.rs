//! Page tokens: the query's fingerprint and the last key of the page before, in hex.
//!
//! They are opaque to clients. The fingerprint is no secret; it finds tokens of other queries.

use crate::model::{Error, Key, Result};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of the fingerprint.
const PRINT_SIZE: usize = 8;

/// A page token of one query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query([u8; PRINT_SIZE]);

impl Query {
    /// The query that these bytes describe.
    pub(super) fn new(description: &[u8]) -> Self {
        Self(xxh3_64(description).to_le_bytes())
    }

    /// The token of the page behind a key.
    pub(super) fn token_after(self, last: &[u8]) -> String {
        use std::fmt::Write as _;
        let bytes = self.0.iter().chain(last);
        bytes.fold(String::new(), |mut text, byte| {
            let _never_fails = write!(text, "{byte:02x}");
            text
        })
    }

    /// The key before the page that a token asks for; `None` for the first page.
    ///
    /// # Errors
    /// `Invalid` for what is no token of this query.
    pub(super) fn last_of(self, token: &str) -> Result<Option<Key>> {
        if token.is_empty() {
            return Ok(None);
        }
        let invalid = || {
            let message = "page_token is not of this query: send the token of the page before with the same request, or none for the first page";
            Error::invalid("PAGE_TOKEN_INVALID", message).at("page_token")
        };
        let bytes = unhex(token.as_bytes()).ok_or_else(invalid)?;
        let last = bytes.strip_prefix(&self.0[..]).ok_or_else(invalid)?;
        Key::new(last).map(Some).map_err(|_| invalid())
    }
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok();
    text.chunks_exact(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_key_and_only_in_its_query() {
        let query = Query::new(b"a query");
        let key = [0, 255, 7];
        let token = query.token_after(&key);
        let last = query.last_of(&token).unwrap().unwrap();
        assert_eq!(last.as_bytes(), key);
        assert_eq!(query.last_of("").unwrap(), None);
        for bad in [&token[1..], &token[..16], "zz", "ü", "00"] {
            assert!(query.last_of(bad).is_err(), "{bad}");
        }
        assert!(Query::new(b"another").last_of(&token).is_err());
    }
}
