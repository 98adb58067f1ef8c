//! The backup and restore commands.

use super::json::{self, Strings};
use super::reply;
use crate::model::{Error, Result, Version};
use crate::proto::zstdb::{Item, ItemReply};
use crate::service::{RestoreSource, Service};

/// The member in which an answer says what was made.
const TARGET: &str = "target";

/// Writes a backup; the answer is the request's JSON and the file.
pub(super) async fn backup(service: &Service, item: Item) -> ItemReply {
    let made = async {
        let order = Order::parse(&item.data)?;
        let done = service.backup(&order.path, order.since).await?;
        Ok(order.answer(&done.target.to_string_lossy()))
    };
    match made.await {
        Ok(answer) => reply::key_data(item.key, answer),
        Err(error) => reply::of_error(&error, item.key),
    }
}

/// Merges a backup; the answer is the request's JSON and `ok` or `failed`.
pub(super) async fn restore(service: &Service, item: Item) -> ItemReply {
    let order = match Order::parse(&item.data) {
        Ok(order) => order,
        Err(error) => return failed(&error, &Order::default(), item),
    };
    match service
        .restore(RestoreSource::Confined(order.path.clone()), |_, _| {})
        .await
    {
        Ok(_) => reply::key_data(item.key, order.answer("ok")),
        Err(error) => failed(&error, &order, item),
    }
}

fn failed(error: &Error, order: &Order, item: Item) -> ItemReply {
    ItemReply {
        data: order.answer("failed").into(),
        ..reply::of_error(error, item.key)
    }
}

/// What a request's JSON says.
#[derive(Debug, Default)]
struct Order {
    members: Strings,
    path: String,
    since: Version,
}

impl Order {
    /// `since` is the version to start after; what is not a number means everything.
    fn parse(data: &[u8]) -> Result<Self> {
        let members = json::strings(data).map_err(|error| {
            Error::invalid(
                "JSON_MALFORMED",
                format!(
                    "data is not a JSON object of strings such as {{\"path\":\"daily\"}}: {error}"
                ),
            )
        })?;
        let path = members.get("path").cloned().unwrap_or_default();
        if path.is_empty() {
            return Err(Error::invalid(
                "PATH_EMPTY",
                "path is empty: name a file in the backup directory, as in {\"path\":\"daily\"}",
            ));
        }
        let since = members.get("since").and_then(|since| since.parse().ok());
        Ok(Self {
            path,
            since: Version(since.unwrap_or(0)),
            members,
        })
    }

    fn answer(&self, target: &str) -> String {
        let mut members = self.members.clone();
        members.insert(TARGET.to_owned(), target.to_owned());
        json::line(&members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_decimal_version_or_everything() {
        let since = |data: &str| Order::parse(data.as_bytes()).unwrap().since;
        assert_eq!(since(r#"{"path":"a"}"#), Version(0));
        assert_eq!(since(r#"{"path":"a","since":"24"}"#), Version(24));
        assert_eq!(
            since(r#"{"path":"a","since":"18446744073709551615"}"#),
            Version(u64::MAX)
        );
        for odd in ["", "x", "-1", "1.5", " 1", "18446744073709551616"] {
            let data = format!(r#"{{"path":"a","since":"{odd}"}}"#);
            assert_eq!(since(&data), Version(0), "{odd:?}");
        }
    }

    #[test]
    fn bad_json_and_an_empty_path_are_errors() {
        for bad in ["", "{", "[]", r#"{"path":""}"#, "{}", r#"{"path":5}"#] {
            assert!(Order::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_answer_is_the_same_json_and_the_target() {
        let order = Order::parse(br#"{"since":"3","path":"a","note":"n"}"#).unwrap();
        assert_eq!(
            order.answer("/b/a_[3-9].zstdb.bak"),
            "{\"note\":\"n\",\"path\":\"a\",\"since\":\"3\",\"target\":\"/b/a_[3-9].zstdb.bak\"}\n"
        );
    }
}
