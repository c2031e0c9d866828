//! A secret as the file has it, with everything that its seal covers, and the seal itself.

use std::collections::HashMap;

use envelope_core::format::node_json::DataKeyRing;
use envelope_core::{OpenError, Purpose};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

/// Begins what a secret's seal covers.
const LABEL: &[u8] = b"tokenseal secret v1\0";

/// A row of `secrets`, its versions and its tags.
pub(super) struct Record {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) created_ms: i64,
    pub(super) changed_ms: i64,
    pub(super) expires_ms: Option<i64>,
    pub(super) every_ms: Option<i64>,
    pub(super) grace_ms: Option<i64>,
    pub(super) seal: Option<Vec<u8>>,
    pub(super) seal_key: Option<String>,
    /// By stage.
    pub(super) versions: Vec<Version>,
    /// By name.
    pub(super) tags: Vec<(String, String)>,
}

pub(super) struct Version {
    pub(super) id: i64,
    pub(super) version: String,
    pub(super) stage: String,
    pub(super) is_binary: bool,
    pub(super) key_id: String,
    pub(super) created_ms: i64,
    pub(super) until_ms: Option<i64>,
    pub(super) envelope: String,
}

impl Record {
    /// Loads secrets by their ids, in the order of their names. `sealed` says whether the file has seals at all.
    pub(super) async fn load(
        connection: &mut SqliteConnection,
        ids: &[i64],
        sealed: bool,
    ) -> Result<Vec<Self>, sqlx::Error> {
        let ids = serde_json::json!(ids).to_string();
        let mut versions: HashMap<i64, Vec<Version>> = HashMap::new();
        let query = "SELECT v.id, v.secret, v.version, v.stage, v.is_binary, v.key_id, v.created_ms, v.until_ms, \
                     coalesce(e.envelope, '') AS envelope FROM versions v LEFT JOIN envelopes e ON e.version = v.id \
                     WHERE v.secret IN (SELECT value FROM json_each(?)) ORDER BY v.secret, v.stage";
        for row in sqlx::query(query).bind(&ids).fetch_all(&mut *connection).await? {
            versions.entry(row.get("secret")).or_default().push(Version::of(&row));
        }
        let mut tags: HashMap<i64, Vec<(String, String)>> = HashMap::new();
        let query = "SELECT secret, name, value FROM tags WHERE secret IN (SELECT value FROM json_each(?)) \
                     ORDER BY secret, name";
        for row in sqlx::query(query).bind(&ids).fetch_all(&mut *connection).await? {
            tags.entry(row.get("secret")).or_default().push((row.get("name"), row.get("value")));
        }
        let columns = if sealed { "seal, seal_key" } else { "NULL AS seal, NULL AS seal_key" };
        let query = format!(
            "SELECT id, name, created_ms, changed_ms, expires_ms, every_ms, grace_ms, {columns} FROM secrets \
             WHERE id IN (SELECT value FROM json_each(?)) ORDER BY name"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(&ids).fetch_all(&mut *connection).await?;
        let record = |row: &SqliteRow| {
            let id = row.get("id");
            Self {
                id,
                name: row.get("name"),
                created_ms: row.get("created_ms"),
                changed_ms: row.get("changed_ms"),
                expires_ms: row.get("expires_ms"),
                every_ms: row.get("every_ms"),
                grace_ms: row.get("grace_ms"),
                seal: row.get("seal"),
                seal_key: row.get("seal_key"),
                versions: versions.remove(&id).unwrap_or_default(),
                tags: tags.remove(&id).unwrap_or_default(),
            }
        };
        Ok(rows.iter().map(record).collect())
    }

    /// The version under a stage.
    pub(super) fn version(&self, stage: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.stage == stage)
    }

    /// Checks the seal. A secret without one is from before there were seals, and passes unless `demanded`.
    pub(super) fn check(&self, ring: &dyn DataKeyRing, store: &str, demanded: bool) -> Result<(), OpenError> {
        let (Some(seal), Some(key_id)) = (&self.seal, &self.seal_key) else {
            return if demanded { Err(OpenError::NotAuthentic) } else { Ok(()) };
        };
        let mac = keyed(ring, key_id)?;
        self.sealed_by(mac, store).verify_slice(seal).map_err(|_| OpenError::NotAuthentic)
    }

    /// The seal of the secret as it is now, and the key that it is under.
    pub(super) fn seal(&self, ring: &dyn DataKeyRing, store: &str) -> Result<(Vec<u8>, String), OpenError> {
        let key_id = ring.active().0;
        let mac = self.sealed_by(keyed(ring, &key_id)?, store);
        Ok((mac.finalize().into_bytes().to_vec(), key_id))
    }

    /// Everything that is not a value, and a hash of every value's envelope, each text after its length.
    fn sealed_by(&self, mut mac: Hmac<Sha256>, store: &str) -> Hmac<Sha256> {
        mac.update(LABEL);
        for text in [store, &self.name] {
            push_bytes(&mut mac, text.as_bytes());
        }
        let times =
            [Some(self.created_ms), Some(self.changed_ms), self.expires_ms, self.every_ms, self.grace_ms];
        times.iter().for_each(|time| push_time(&mut mac, *time));
        mac.update(&(self.tags.len() as u64).to_be_bytes());
        for (name, value) in &self.tags {
            push_bytes(&mut mac, name.as_bytes());
            push_bytes(&mut mac, value.as_bytes());
        }
        mac.update(&(self.versions.len() as u64).to_be_bytes());
        for version in &self.versions {
            for text in [&version.version, &version.stage, &version.key_id] {
                push_bytes(&mut mac, text.as_bytes());
            }
            mac.update(&[version.is_binary.into()]);
            push_time(&mut mac, Some(version.created_ms));
            push_time(&mut mac, version.until_ms);
            mac.update(&Sha256::digest(&version.envelope));
        }
        mac
    }
}

impl Version {
    fn of(row: &SqliteRow) -> Self {
        Self {
            id: row.get("id"),
            version: row.get("version"),
            stage: row.get("stage"),
            is_binary: row.get("is_binary"),
            key_id: row.get("key_id"),
            created_ms: row.get("created_ms"),
            until_ms: row.get("until_ms"),
            envelope: row.get("envelope"),
        }
    }
}

/// An HMAC-SHA-256 under a ring key's derivation for this purpose.
pub(super) fn keyed(ring: &dyn DataKeyRing, key_id: &str) -> Result<Hmac<Sha256>, OpenError> {
    let key = ring.data_key(key_id).ok_or_else(|| OpenError::UnknownDataKey { id: key_id.into() })?;
    let derived = Purpose::SecretMetadata.derive(&key);
    Hmac::<Sha256>::new_from_slice(derived.expose_secret()).map_err(|_| OpenError::NotAuthentic)
}

pub(super) fn push_bytes(mac: &mut Hmac<Sha256>, bytes: &[u8]) {
    mac.update(&(bytes.len() as u64).to_be_bytes());
    mac.update(bytes);
}

fn push_time(mac: &mut Hmac<Sha256>, time: Option<i64>) {
    mac.update(&[time.is_some().into()]);
    mac.update(&time.unwrap_or_default().to_be_bytes());
}
