//! Namespaces told of and changed.

use crate::{RULES, small};
use shardkeep::client::Expect;
use shardkeep::embedded::NamespaceChange;
use shardkeep::{Store, blocking};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_tells_what_it_is_and_holds_and_takes_other_rules() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), small()).await.unwrap();
    let keys = store.create_namespace("orders", RULES).await.unwrap();
    keys.put("1", "open").await.unwrap();
    keys.put("2", "paid").await.unwrap();
    let told = store.describe_namespace("orders").await.unwrap();
    assert_eq!(told.namespace.options, RULES);
    assert_eq!((told.counts.keys, told.counts.logical_bytes), (2, 8));
    let default = store.describe_namespace("").await.unwrap();
    assert_eq!(default.namespace.name, "default");
    assert_eq!(default.counts.keys, 0);

    let change = NamespaceChange {
        value_size_max: Some(Some(10)),
        overwrite: Some(false),
        ..NamespaceChange::default()
    };
    let changed = store.update_namespace("orders", change).await.unwrap();
    assert_eq!(changed.options.value_size_max, Some(10));
    assert!(changed.options.compress, "what is not named stays");
    let large = keys.put_if("3", "eleven byte", Expect::Absent).await;
    assert_eq!(large.unwrap_err().reason(), "VALUE_TOO_LARGE");
    let fixed = store.update_namespace("default", change).await;
    assert_eq!(fixed.unwrap_err().reason(), "NAMESPACE_FIXED");
    let absent = store.describe_namespace("absent").await;
    assert_eq!(absent.unwrap_err().reason(), "NAMESPACE_NOT_FOUND");
    store.close().await.unwrap();
}

#[test]
fn a_program_without_async_has_them_too() {
    let place = TempDir::new().unwrap();
    let store = blocking::Store::open(place.path(), small()).unwrap();
    let keys = store.create_namespace("orders", RULES).unwrap();
    keys.put("1", "open").unwrap();
    let change = NamespaceChange {
        compress: Some(false),
        ..NamespaceChange::default()
    };
    store.update_namespace("orders", change).unwrap();
    let told = store.describe_namespace("orders").unwrap();
    assert!(!told.namespace.options.compress);
    assert_eq!(told.counts.keys, 1);
    assert_eq!(store.namespaces().unwrap().len(), 2);
    store.drop_namespace("orders").unwrap();
    store.close().unwrap();
}
