//! A map of a few entries, most often none or one: a list of just its length.
//!
//! Every mailbox here has some, a million of them as well; the smallest node of a tree has room for eleven. Must never be used
//! for what a peer can make long: each look walks it.

/// A few entries, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Few<K, V>(Box<[(K, V)]>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<K: Ord, V> Few<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let found = self.0.iter().find(|(of, _)| of == key);
        found.map(|(_, value)| value)
    }

    pub(crate) fn clear(&mut self) {
        self.0 = Box::default();
    }

    /// Puts a value there, and gives the one that was.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some((_, present)) = self.0.iter_mut().find(|(of, _)| *of == key) {
            return Some(std::mem::replace(present, value));
        }
        let mut all = Vec::with_capacity(self.0.len() + 1);
        all.extend(std::mem::take(&mut self.0));
        let at = all.partition_point(|(of, _)| *of < key);
        all.insert(at, (key, value));
        self.0 = all.into_boxed_slice();
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    proptest::proptest! {
        #[test]
        fn a_few_are_a_map(entries in proptest::collection::vec((0u8..6, 0u8..9), 0..12)) {
            let (mut few, mut map) = (Few::default(), BTreeMap::new());
            for (key, value) in entries {
                assert_eq!(few.insert(key, value), map.insert(key, value));
                assert!((0..6).all(|key| few.get(&key) == map.get(&key)));
            }
        }
    }
}
