//! Case 13: content and user keys meet.

use crate::bench::digest_of;
use crate::house::{House, LARGE};
use crate::support::noise;
use shardkeep::config::KeyMode;
use shardkeep::model::{Command, Key};

async fn in_mode(house: &mut House, mode: KeyMode) {
    house.close().await;
    house.config.keys.mode = mode;
    house.open().await;
}

/// Case 13: under a key that spells a digest a user stored something else; the Set of that very
/// content stores it all the same, and a second Set of it changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_is_stored_although_a_user_took_its_key() {
    let mut house = House::calm().await;
    let contents = [noise(1, 2 * LARGE), noise(2, 100), noise(3, 2 * LARGE)];
    let keys = contents.clone().map(|raw| Key::of_digest(digest_of(&raw)));
    // Something small, something small, and another content.
    house.set(keys[0].as_bytes(), b"something else").await;
    house.set(keys[1].as_bytes(), b"something else").await;
    house.set(keys[2].as_bytes(), &noise(4, 2 * LARGE)).await;
    in_mode(&mut house, KeyMode::Content).await;
    for (key, content) in keys.iter().zip(&contents) {
        let named = house.try_set(b"ignored", content).await.unwrap();
        assert_eq!(named, *key);
        assert_eq!(house.get(key.as_bytes()).await.as_ref(), Some(content));
    }
    let before = house.router().counter().current();
    for content in &contents {
        house.try_set(b"", content).await.unwrap();
    }
    assert_eq!(
        house.router().counter().current(),
        before,
        "nothing changed"
    );
    house.crash().await;
    for (key, content) in keys.iter().zip(&contents) {
        assert_eq!(house.get(key.as_bytes()).await.as_ref(), Some(content));
    }
    assert_eq!(house.references(), house.named_references());
}

/// Case 13: a user's large value under the key of its own digest is that content: nothing to store.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_a_user_stored_under_its_own_digest_is_there() {
    let mut house = House::calm().await;
    let content = noise(1, 2 * LARGE);
    let key = Key::of_digest(digest_of(&content));
    house.set(key.as_bytes(), &content).await;
    in_mode(&mut house, KeyMode::Content).await;
    let before = house.router().counter().current();
    house.try_set(b"", &content).await.unwrap();
    assert_eq!(house.router().counter().current(), before);
    assert_eq!(house.get(key.as_bytes()).await, Some(content));
}

/// Case 13: the delete of a content key drops its own reference and no other: whoever stored the
/// same content under a name still has it, after every sweep and reclaim.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_delete_drops_only_its_own_reference() {
    let mut house = House::calm().await;
    let content = noise(1, 2 * LARGE);
    let key = Key::of_digest(digest_of(&content));
    house.set(b"mine", &content).await;
    house.set(b"ours", &content).await;
    in_mode(&mut house, KeyMode::Content).await;
    house.try_set(b"", &content).await.unwrap();
    assert_eq!(house.references().len(), 3);
    assert!(house.delete(key.as_bytes()).await.is_some());
    assert_eq!(house.get(key.as_bytes()).await, None);
    assert_eq!(house.references().len(), 2);
    house.service().sweep().await.unwrap();
    let digest = digest_of(&content);
    let reclaim = Command::ReclaimBlob { digest };
    let home = house.router().shard_of_digest(digest);
    house.router().write(home, reclaim).await.unwrap();
    for name in [b"mine", b"ours"] {
        assert_eq!(house.get(name).await.as_ref(), Some(&content));
    }
    assert_eq!(house.references(), house.named_references());
}
