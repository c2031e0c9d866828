//! The keys of a keyring in memory: unwrapped, prepared, one of them active.

use std::sync::Arc;

use envelope_core::ledger::StoreRecord;
use envelope_core::{DataKey, random};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::master::{Master, WRAPPED_LEN, uncommitted_cipher};
use crate::wrapping::WrappingKey;

/// The prefix of the id in the key id of everything that a keyring wraps.
pub(super) const PREFIX: &str = "keyring:";

/// Longest id, in bytes: wrapped data keys state its length in one.
const MAX_ID_LEN: usize = 255;

/// A whole keyring, as one version of its file says. It never changes; a new version replaces it.
pub(super) struct Ring {
    pub(super) keys: Vec<Arc<RingKey>>,
    active: Arc<RingKey>,
    /// The memory of the stores whose values are under these keys.
    pub(super) stores: Vec<StoreRecord>,
}

/// One key of a ring.
pub(super) struct RingKey {
    pub(super) id: Box<str>,
    /// The id as it is stored with values: `keyring:<id>`.
    pub(super) key_id: Box<str>,
    /// RFC 3339, in UTC.
    pub(super) created_at: Box<str>,
    /// The key itself.
    pub(super) key: Arc<DataKey>,
    /// The key derived from it that wraps data keys.
    pub(super) wrapping: Arc<WrappingKey>,
    /// The key as the file has it, kept so that rewriting the file changes nothing else.
    pub(super) stored: [u8; WRAPPED_LEN],
}

impl Ring {
    /// Makes a ring of keys; `None` if the active key does not exist or two ids are the same.
    pub(super) fn new(keys: Vec<RingKey>, active: usize, stores: Vec<StoreRecord>) -> Option<Self> {
        let keys: Vec<_> = keys.into_iter().map(Arc::new).collect();
        let mut ids: Vec<&str> = keys.iter().map(|key| &*key.id).collect();
        ids.sort_unstable();
        let active = keys.get(active)?.clone();
        ids.windows(2).all(|pair| pair[0] != pair[1]).then_some(())?;
        Some(Self { keys, active, stores })
    }

    pub(super) fn with_first(key: RingKey) -> Self {
        let key = Arc::new(key);
        Self { keys: vec![key.clone()], active: key, stores: Vec::new() }
    }

    /// The same keys, wrapped under another master key.
    pub(super) fn rekeyed(&self, master: &Master) -> Self {
        let active = Arc::new(self.active.rekeyed(master));
        let rekeyed = |key: &Arc<RingKey>| match self.is_active(key) {
            true => active.clone(),
            false => Arc::new(key.rekeyed(master)),
        };
        Self { keys: self.keys.iter().map(rekeyed).collect(), active, stores: self.stores.clone() }
    }

    /// Goes on counting, for every key that it shares with an earlier version of the ring.
    pub(super) fn count_with(&mut self, earlier: &Self) {
        let Self { keys, active, .. } = self;
        let is_active: Vec<bool> = keys.iter().map(|key| Arc::ptr_eq(key, active)).collect();
        for (key, is_active) in keys.iter_mut().zip(is_active) {
            if let Some(before) = earlier.get(&key.id) {
                *key = Arc::new(key.counting_with(before));
                if is_active {
                    *active = key.clone();
                }
            }
        }
    }

    pub(super) fn active(&self) -> &Arc<RingKey> {
        &self.active
    }

    pub(super) fn is_active(&self, key: &RingKey) -> bool {
        std::ptr::eq(&*self.active, key)
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<RingKey>> {
        // Nearly everything is under the active key; rings have a handful of keys.
        if *self.active.id == *id { Some(&self.active) } else { self.keys.iter().find(|key| *key.id == *id) }
    }

    pub(super) fn add(&mut self, key: RingKey, active: bool) {
        let key = Arc::new(key);
        if active {
            self.active = key.clone();
        }
        self.keys.push(key);
    }
}

impl RingKey {
    /// Makes a random key with a random id.
    pub(super) fn generate(master: &Master) -> Self {
        let id = format!("dk-{:016x}", u64::from_be_bytes(random::bytes()));
        Self::wrap(id, DataKey::generate(), master)
    }

    /// Takes over a key from elsewhere, made now as far as this keyring is concerned.
    pub(super) fn wrap(id: String, key: DataKey, master: &Master) -> Self {
        let stored = master.wrap(&id, &key);
        Self::prepare(id, now(), key, stored)
    }

    /// Unwraps a key as the file has it; `None` if it does not unwrap, or its id is invalid.
    pub(super) fn unwrap(
        id: String,
        created_at: String,
        stored: [u8; WRAPPED_LEN],
        master: &Master,
    ) -> Option<Self> {
        let key = is_id(&id).then(|| master.unwrap(&id, &stored))??;
        Some(Self::prepare(id, created_at, key, stored))
    }

    /// The same key, which wraps with the prepared cipher and the count of an earlier instance.
    fn counting_with(&self, before: &Self) -> Self {
        let wrapping =
            if super::same_key(&before.key, &self.key) { &before.wrapping } else { &self.wrapping };
        Self { wrapping: wrapping.clone(), ..self.with_stored(self.stored) }
    }

    fn rekeyed(&self, master: &Master) -> Self {
        self.with_stored(master.wrap(&self.id, &self.key))
    }

    fn with_stored(&self, stored: [u8; WRAPPED_LEN]) -> Self {
        Self {
            id: self.id.clone(),
            key_id: self.key_id.clone(),
            created_at: self.created_at.clone(),
            key: self.key.clone(),
            wrapping: self.wrapping.clone(),
            stored,
        }
    }

    fn prepare(id: String, created_at: String, key: DataKey, stored: [u8; WRAPPED_LEN]) -> Self {
        Self {
            key_id: format!("{PREFIX}{id}").into(),
            id: id.into(),
            created_at: created_at.into(),
            wrapping: Arc::new(WrappingKey::new(&key, Some(uncommitted_cipher(&key)))),
            key: Arc::new(key),
            stored,
        }
    }
}

/// Whether a text can be an id: 1 to 255 visible ASCII characters.
pub(super) fn is_id(text: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[expect(clippy::expect_used, reason = "RFC 3339 has every year from 0 to 9999")]
fn now() -> String {
    // Whole seconds: more is noise in a list of keys.
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is a nanosecond");
    now.format(&Rfc3339).expect("the present has an RFC 3339 form")
}
