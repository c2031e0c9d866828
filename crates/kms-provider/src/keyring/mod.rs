//! The embedded key service: a local file of data keys, wrapped under one master key.
//!
//! # The file
//!
//! A JSON document; `b64` is standard base64 with padding, and every derived key is HKDF-SHA-256 without salt.
//!
//! ```json
//! {
//!   "format": "tokenseal-keyring",
//!   "version": 2,
//!   "master_check": "<b64 of 16 bytes derived from the master key>",
//!   "keys": [
//!     { "id": "dk-5f2c…", "created_at": "2025-01-31T12:00:00Z", "active": true, "wrapped": "<b64 of 60 bytes>" }
//!   ],
//!   "stores": [
//!     { "id": "<32 hexadecimal digits>", "path": "/srv/secrets.db", "revision": 7, "labelled": true,
//!       "resealed": false }
//!   ],
//!   "seal": "<b64 of 32 bytes>"
//! }
//! ```
//!
//! - `wrapped` is `nonce[12] || ciphertext[32] || tag[16]`: AES-256-GCM under the master key's derivation
//!   `tokenseal keyring v1 wrap`, with the associated data `tokenseal keyring v1 key`, a zero byte and the id.
//! - `seal` is HMAC-SHA-256 under the derivation `tokenseal keyring v1 seal`, over the version as big-endian `u64`, the
//!   number of keys as big-endian `u32` and, key by key in the file's order, `id`, `created_at` and `wrapped` (each
//!   text as it is, after its big-endian `u32` length) and one byte for `active`; then the number of stores as
//!   big-endian `u32` and, store by store, `id` and `path` (as above), `revision` as big-endian `u64` and one byte each
//!   for `labelled` and `resealed`. So no one without the master key can add a key, drop one, make an old one active again, or change what
//!   is remembered of a store. The seal also commits to the master key: no file opens under two. Putting back an older
//!   copy of the whole file is the one change that a file cannot show.
//! - `stores` is the [ledger](envelope_core::ledger) of local secret stores whose values are under these keys. Version 1 of
//!   the file has none; it is read, and the next change writes version 2.
//! - `master_check` is the derivation `tokenseal keyring v1 check`. It distinguishes a wrong master key from a damaged file.
//!
//! A write goes to `<file>.tmp` and is renamed over the file, under a lock on `<file>.lock`; the owner and the group's
//! read permission stay as they were. A file that others on the machine may read, or that its group may write, is
//! refused.
//!
//! Another master key changes `master_check`, every `wrapped` and the `seal`, and nothing else: the keys themselves stay,
//! and with them everything that they wrapped.
//!
//! # A wrapped data key
//!
//! `"K" || 0x02 || id length (u8) || id || commitment[32] || nonce[12] || ciphertext[32] || tag[16]`: AES-256-GCM under the
//! ring key's derivation for the [purpose](envelope_core::Purpose) `data-key`, with the associated data
//! `tokenseal data key v1`, a zero byte, `id length || id` and the canonical encryption context. The commitment is the ring
//! key's derivation for the purpose `data-key-commitment`; it is compared before anything is decrypted.
//!
//! `"K" || 0x01` has no commitment, and its cipher has the ring key's HKDF-SHA-256 derivation
//! `tokenseal keyring v1 data key`. It is read and no longer written.
//!
//! Nonces are random, so one key may wrap 2³² data keys (NIST SP 800-38D, section 8.3). A process warns at a quarter of
//! that and stops there; rotate once a year, which is long before.

mod disk;
mod error;
mod export;
mod file;
mod ledger;
mod master;
mod provider;
mod ring;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use envelope_core::DataKey;
use subtle::ConstantTimeEq;

pub use self::error::KeyringError;

use self::disk::Stamp;
use self::export::Exported;
use self::master::Master;
use self::ring::{Ring, RingKey};

/// How long a rotation elsewhere may go unnoticed by `generate`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A key service in a local file; see the [module](self) for its format.
///
/// It makes no call and waits only, rarely, for its file: at most once per second it looks whether another process
/// has rotated, and reads the file again only then. While the file is gone, damaged or under another master key it makes
/// no more data keys, because they might never be unwrapped, and still unwraps with the keys it has.
///
/// Making, rotating, rekeying and importing block on the file, its lock and the disk: keep them off async worker threads.
pub struct Keyring {
    path: PathBuf,
    master: Master,
    loaded: ArcSwap<Loaded>,
    // Held while the file is read or written, so that an older version never replaces a newer one in memory.
    reading: Mutex<()>,
    opened: Instant,
    // Milliseconds after `opened` at which the file was last looked at.
    looked: AtomicU64,
}

/// One key of a keyring, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyEntry {
    /// The key's id; values carry it as `keyring:<id>`.
    pub id: String,
    /// Whether new data keys are wrapped under it.
    pub active: bool,
    /// When it was made or imported: RFC 3339, in UTC.
    pub created_at: String,
}

/// The result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Ids that are new.
    pub added: Vec<String>,
    /// Ids that the keyring had already, with the same key.
    pub present: Vec<String>,
}

impl Keyring {
    /// Makes a keyring with one new key.
    ///
    /// # Errors
    /// [`KeyringError::Exists`] if there is such a file, and the errors of writing it.
    pub fn init(path: impl Into<PathBuf>, master: &DataKey) -> Result<Self, KeyringError> {
        let (path, master) = (path.into(), Master::derive(master));
        let _lock = disk::lock(&path)?;
        if path.symlink_metadata().is_ok() {
            return Err(KeyringError::Exists { path });
        }
        let ring = Ring::with_first(RingKey::generate(&master));
        let stamp = disk::replace(&path, &file::encode(&ring, &master))?;
        Ok(Self::with(path, master, Loaded { ring, stamp }))
    }

    /// Opens a keyring.
    ///
    /// # Errors
    /// [`KeyringError`]: each of its variants says what to do.
    pub fn open(path: impl Into<PathBuf>, master: &DataKey) -> Result<Self, KeyringError> {
        let (path, master) = (path.into(), Master::derive(master));
        let loaded = Loaded::read(&path, &path, &master)?;
        Ok(Self::with(path, master, loaded))
    }

    /// Brings a keyring from its master key under a new one, and opens it there. Its keys stay the same, so everything
    /// that they wrapped opens as before, without any change.
    ///
    /// A keyring that is under the new master key already stays as it is: a run that was killed is simply run again.
    /// A [`Keyring`] that is open elsewhere under the old one unwraps with the keys it has, and makes no more data keys
    /// until it is opened again.
    ///
    /// # Errors
    /// [`KeyringError::SameMasterKey`] if both keys are the same, and the errors of reading and writing; the
    /// file is then unchanged.
    pub fn rekey(
        path: impl Into<PathBuf>,
        master: &DataKey,
        new_master: &DataKey,
    ) -> Result<Self, KeyringError> {
        if same_key(master, new_master) {
            return Err(KeyringError::SameMasterKey);
        }
        let (path, old, new) = (path.into(), Master::derive(master), Master::derive(new_master));
        let target = disk::resolve(&path)?;
        let _lock = disk::lock(&target)?;
        let loaded = match Loaded::read(&path, &target, &old) {
            Ok(Loaded { ring, .. }) => {
                let ring = ring.rekeyed(&new);
                let stamp = disk::replace(&target, &file::encode(&ring, &new))?;
                Loaded { ring, stamp }
            }
            Err(KeyringError::WrongMasterKey { .. }) => Loaded::read(&path, &target, &new)?,
            Err(error) => return Err(error),
        };
        Ok(Self::with(path, new, loaded))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys, in the order in which they came.
    ///
    /// # Errors
    /// [`KeyringError`], if the file was changed and cannot be read any more.
    pub fn list(&self) -> Result<Vec<KeyEntry>, KeyringError> {
        let loaded = self.reloaded()?;
        Ok(loaded.ring.keys.iter().map(|key| entry(&loaded.ring, key)).collect())
    }

    /// Makes a new key and lets it wrap from now on; the earlier ones still unwrap.
    ///
    /// # Errors
    /// [`KeyringError`]; the file is then as it was.
    pub fn rotate(&self) -> Result<KeyEntry, KeyringError> {
        self.update(|ring| {
            ring.add(RingKey::generate(&self.master), true);
            Ok((true, entry(ring, ring.active())))
        })
    }

    /// Takes over the keys of the Node program's export,
    /// `{"keys":[{"id":"…","key":"<base64 of 32 bytes>","isActive":true},…]}`, so that values sealed by it
    /// open.
    ///
    /// The export's active key becomes active when it is imported for the first time, so that the Node
    /// program can still read values that are sealed from now on; importing again never undoes a rotation in
    /// between. Rotate as soon as that program is gone: its key was in a plaintext file. The caller wipes its
    /// copy of the export.
    ///
    /// # Errors
    /// [`KeyringError::Conflict`] if an id names another key here, and for failures of reading and writing. Nothing is
    /// imported then.
    pub fn import(&self, export: &[u8]) -> Result<Imported, KeyringError> {
        let exported = export::parse(export)?;
        self.update(|ring| {
            let mut imported = Imported::default();
            for Exported { id, key, active } in exported {
                match ring.get(&id) {
                    None => {
                        ring.add(RingKey::wrap(id.clone(), key, &self.master), active);
                        imported.added.push(id);
                    }
                    Some(own) if same_key(&own.key, &key) => {
                        imported.present.push(id);
                    }
                    Some(_) => return Err(KeyringError::Conflict { id }),
                }
            }
            Ok((!imported.added.is_empty(), imported))
        })
    }

    /// The key with this id, for formats that seal under it directly. A key that another process has added is found.
    #[must_use]
    pub fn data_key(&self, id: &str) -> Option<Arc<DataKey>> {
        self.find(id).ok().flatten().map(|key| key.key.clone())
    }

    /// The active key and its id, for formats that seal under it directly.
    #[must_use]
    pub fn active_data_key(&self) -> (String, Arc<DataKey>) {
        // The keys in memory do, if the file cannot be read just now.
        let loaded = self.current().unwrap_or_else(|_| self.loaded.load_full());
        let active = loaded.ring.active();
        (active.id.to_string(), active.key.clone())
    }

    fn with(path: PathBuf, master: Master, loaded: Loaded) -> Self {
        Self {
            path,
            master,
            loaded: ArcSwap::from_pointee(loaded),
            reading: Mutex::new(()),
            opened: Instant::now(),
            looked: AtomicU64::new(0),
        }
    }

    /// The keys as of less than [`LOOK_EVERY`] ago.
    fn current(&self) -> Result<Arc<Loaded>, KeyringError> {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        if Duration::from_millis(now.saturating_sub(self.looked.load(Ordering::Relaxed))) < LOOK_EVERY {
            return Ok(self.loaded.load_full());
        }
        let loaded = self.reloaded()?;
        // Only after success, so that every call fails while the file is missing, and not only one per
        // second.
        self.looked.store(now, Ordering::Relaxed);
        Ok(loaded)
    }

    /// The key with this id; the file is read if no key in memory has it.
    fn find(&self, id: &str) -> Result<Option<Arc<RingKey>>, KeyringError> {
        if let Some(key) = self.loaded.load().ring.get(id) {
            return Ok(Some(key.clone()));
        }
        Ok(self.reloaded()?.ring.get(id).cloned())
    }

    /// The keys as the file has them now; it is read only if it is another file than the one that was read last.
    fn reloaded(&self) -> Result<Arc<Loaded>, KeyringError> {
        if disk::stamp(&self.path)? == self.loaded.load().stamp {
            return Ok(self.loaded.load_full());
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if disk::stamp(&self.path)? != self.loaded.load().stamp {
            self.keep(Loaded::read(&self.path, &self.path, &self.master)?);
        }
        Ok(self.loaded.load_full())
    }

    /// Changes the file, starting from its current content and not from the copy in memory.
    fn update<T>(
        &self,
        change: impl FnOnce(&mut Ring) -> Result<(bool, T), KeyringError>,
    ) -> Result<T, KeyringError> {
        let target = disk::resolve(&self.path)?;
        let _lock = disk::lock(&target)?;
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut loaded = Loaded::read(&self.path, &target, &self.master)?;
        let (changed, outcome) = change(&mut loaded.ring)?;
        if changed {
            loaded.stamp = disk::replace(&target, &file::encode(&loaded.ring, &self.master))?;
        }
        self.keep(loaded);
        Ok(outcome)
    }

    /// Takes over a version of the file; counts so far are kept.
    fn keep(&self, mut loaded: Loaded) {
        loaded.ring.count_with(&self.loaded.load().ring);
        self.loaded.store(Arc::new(loaded));
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.loaded.load().ring.keys.len();
        f.debug_struct("Keyring").field("path", &self.path).field("keys", &keys).finish_non_exhaustive()
    }
}

/// One version of the file, read.
struct Loaded {
    ring: Ring,
    stamp: Stamp,
}

impl Loaded {
    /// Reads `target`, which errors call by the name `path` that the configuration has for it.
    fn read(path: &Path, target: &Path, master: &Master) -> Result<Self, KeyringError> {
        let (text, stamp) = disk::read(target)?;
        Ok(Self { ring: file::decode(path, &text, master)?, stamp })
    }
}

fn same_key(one: &DataKey, other: &DataKey) -> bool {
    one.expose_secret().ct_eq(other.expose_secret()).into()
}

fn entry(ring: &Ring, key: &RingKey) -> KeyEntry {
    KeyEntry { id: key.id.to_string(), active: ring.is_active(key), created_at: key.created_at.to_string() }
}
