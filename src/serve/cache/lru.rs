//! A map with a limit in bytes. The entry that was used least recently is removed first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: u64,
    used: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::serve) struct LruMap<K, V> {
    map: HashMap<K, Entry<V>>,
    /// Keys in the order in which they were last used.
    order: BTreeMap<u64, K>,
    bytes: u64,
    limit: u64,
    clock: u64,
}

impl<K: Copy + Eq + Hash, V: Clone> LruMap<K, V> {
    pub(in crate::serve) fn new(limit: u64) -> Self {
        Self {
            map: HashMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            limit,
            clock: 0,
        }
    }

    pub(in crate::serve) fn get(&mut self, key: &K) -> Option<V> {
        let entry = self.map.get_mut(key)?;
        self.clock += 1;
        self.order.remove(&entry.used);
        entry.used = self.clock;
        self.order.insert(self.clock, *key);
        Some(entry.value.clone())
    }

    /// Keeps a value that takes `bytes`, unless it exceeds the limit alone.
    pub(in crate::serve) fn put(&mut self, key: K, value: V, bytes: u64) {
        self.remove(&key);
        if bytes > self.limit {
            return;
        }
        self.clock += 1;
        let used = self.clock;
        self.order.insert(used, key);
        self.map.insert(key, Entry { value, bytes, used });
        self.bytes += bytes;
        while self.bytes > self.limit {
            let Some(oldest) = self.order.first_entry().map(|entry| *entry.get()) else {
                break;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.map.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    pub(in crate::serve) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_entry_goes_first() {
        let mut map = LruMap::new(10);
        map.put("a", 1, 5);
        map.put("b", 2, 5);
        assert_eq!(map.get(&"a"), Some(1));
        map.put("c", 3, 4);
        assert_eq!(map.get(&"b"), None);
        assert_eq!((map.get(&"a"), map.get(&"c")), (Some(1), Some(3)));
        assert_eq!(map.bytes(), 9);
        // A value of another size under the same key.
        map.put("a", 4, 1);
        assert_eq!((map.get(&"a"), map.bytes()), (Some(4), 5));
        // A value above the limit is not kept, and the old value under its key is gone.
        map.put("c", 5, 11);
        assert_eq!((map.get(&"c"), map.bytes()), (None, 1));
        map.put("d", 6, 10);
        assert_eq!(
            (map.get(&"a"), map.get(&"d"), map.bytes()),
            (None, Some(6), 10)
        );
        let mut none = LruMap::new(0);
        none.put("a", 1, 1);
        assert_eq!(none.get(&"a"), None);
    }
}
