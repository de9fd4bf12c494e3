//! Remembers which tokens were counted, within bounds.

use std::collections::BTreeSet;

/// Tokens already counted, oldest first. When full it forgets the oldest and from then on refuses every token as old as
/// that one: bounded memory never lets a token count twice.
#[derive(Debug)]
pub(crate) struct ReplayCache {
    capacity: usize,
    /// Issue time in milliseconds since 1970, and serial.
    seen: BTreeSet<(u64, u64)>,
    /// Tokens issued at this time or before are refused.
    horizon: Option<u64>,
}

/// What the cache says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    New,
    Replayed,
    /// Too old to tell.
    Forgotten,
}

impl ReplayCache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), seen: BTreeSet::new(), horizon: None }
    }

    pub(crate) fn admit(&mut self, issued: u64, serial: u64) -> Admission {
        if self.seen.contains(&(issued, serial)) {
            return Admission::Replayed;
        }
        if self.horizon.is_some_and(|horizon| issued <= horizon) {
            return Admission::Forgotten;
        }
        self.seen.insert((issued, serial));
        if self.seen.len() > self.capacity
            && let Some((oldest, _)) = self.seen.pop_first()
        {
            self.horizon = Some(oldest);
        }
        Admission::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_once() {
        let mut cache = ReplayCache::new(10);
        assert_eq!(cache.admit(5, 1), Admission::New);
        assert_eq!(cache.admit(5, 2), Admission::New);
        assert_eq!(cache.admit(5, 1), Admission::Replayed);
    }

    #[test]
    fn a_full_cache_forgets_the_oldest_and_never_lets_it_count_again() {
        let mut cache = ReplayCache::new(2);
        for time in 1..=3 {
            assert_eq!(cache.admit(time, 0), Admission::New);
        }
        assert_eq!(cache.admit(1, 0), Admission::Forgotten);
        assert_eq!(cache.admit(1, 7), Admission::Forgotten);
        assert_eq!(cache.admit(3, 0), Admission::Replayed);
        assert_eq!(cache.admit(4, 0), Admission::New);
    }
}
