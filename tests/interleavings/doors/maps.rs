//! `dashmap`: one lock, held by an entry for as long as it lives.

use super::fault::{self, Fault};
use crate::sync::{Mutex, MutexGuard};
use mapref::entry::{Entry, Occupied, Vacant};
use real_std::collections::{HashMap, HashSet};
use real_std::hash::Hash;

#[derive(Debug)]
pub struct DashMap<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for DashMap<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Hash + Eq + Copy, V> DashMap<K, V> {
    pub fn entry(&self, key: K) -> Entry<'_, K, V> {
        let mut map = self.0.lock().unwrap();
        if map.contains_key(&key) {
            return Entry::Occupied(Occupied { map, key });
        }
        if fault::is(Fault::EntryWithoutLock) {
            drop(map);
            map = self.0.lock().unwrap();
        }
        Entry::Vacant(Vacant { map, key })
    }

    pub fn remove(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap().remove(key)
    }
}

/// A set, which is a map of nothing.
#[derive(Debug)]
pub struct DashSet<K>(Mutex<HashSet<K>>);

impl<K> Default for DashSet<K> {
    fn default() -> Self {
        Self(Mutex::new(HashSet::new()))
    }
}

impl<K: Hash + Eq> DashSet<K> {
    pub fn insert(&self, key: K) -> bool {
        self.0.lock().unwrap().insert(key)
    }

    pub fn remove(&self, key: &K) -> Option<K> {
        self.0.lock().unwrap().take(key)
    }

    pub fn contains(&self, key: &K) -> bool {
        self.0.lock().unwrap().contains(key)
    }
}

pub mod mapref {
    pub mod entry {
        use super::super::{Hash, HashMap, MutexGuard};

        pub enum Entry<'a, K, V> {
            Occupied(Occupied<'a, K, V>),
            Vacant(Vacant<'a, K, V>),
        }

        pub struct Occupied<'a, K, V> {
            pub map: MutexGuard<'a, HashMap<K, V>>,
            pub key: K,
        }

        pub struct Vacant<'a, K, V> {
            pub map: MutexGuard<'a, HashMap<K, V>>,
            pub key: K,
        }

        impl<K: Hash + Eq, V> Occupied<'_, K, V> {
            pub fn get(&self) -> &V {
                &self.map[&self.key]
            }
        }

        impl<K: Hash + Eq, V> Vacant<'_, K, V> {
            pub fn insert(mut self, value: V) {
                self.map.insert(self.key, value);
            }
        }
    }
}
