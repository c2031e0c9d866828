//! The head of the file: the store's id, the number of its last change, and digests of all of its secrets.
//!
//! The secrets are spread over 256 buckets by their names. A bucket's digest covers the names and seals in it, and the
//! head's seal covers all digests and the number of the last change. So no secret can be added, removed or put back to
//! an older state without the ring; and the ring remembers the number, so that the whole file cannot be either.

use envelope_core::OpenError;
use envelope_core::format::node_json::DataKeyRing;
use envelope_core::ledger::StoreRecord;
use hmac::Mac;
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};

use super::record::{keyed, push_bytes};
use crate::error::Untrusted;

/// The prefix of the data under the head's seal.
const LABEL: &[u8] = b"tokenseal secret store v1\0";
/// Buckets that secrets are spread over.
const BUCKETS: usize = 256;

type DigestBytes = [u8; 32];

/// The head, read and not yet checked.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) revision: u64,
    /// Whether every value carries its purpose and every secret has a seal.
    pub(super) labelled: bool,
    pub(super) key_id: String,
    seal: Vec<u8>,
    digests: Vec<DigestBytes>,
}

impl Head {
    /// The head of a store that is made or upgraded now.
    pub(super) fn new(labelled: bool) -> Self {
        Self {
            id: hex::encode(envelope_core::random::bytes::<16>()),
            revision: 0,
            labelled,
            key_id: String::new(),
            seal: Vec::new(),
            digests: vec![DigestBytes::default(); BUCKETS],
        }
    }

    /// Reads the head; `None` in a file of the first version.
    pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Option<Self>, sqlx::Error> {
        let known =
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('store', 'digests')";
        if sqlx::query(known).fetch_one(&mut *connection).await?.get::<i64, _>(0) < 2 {
            return Ok(None);
        }
        let query = "SELECT id, revision, labelled, key_id, seal FROM store WHERE one = 1";
        let Some(row) = sqlx::query(query).fetch_optional(&mut *connection).await? else {
            return Ok(None);
        };
        let mut digests = vec![DigestBytes::default(); BUCKETS];
        for row in sqlx::query("SELECT bucket, digest FROM digests").fetch_all(&mut *connection).await? {
            let at = usize::try_from(row.get::<i64, _>("bucket")).unwrap_or(BUCKETS);
            let digest = row.get::<Vec<u8>, _>("digest").try_into();
            if let (Some(place), Ok(digest)) = (digests.get_mut(at), digest) {
                *place = digest;
            }
        }
        Ok(Some(Self {
            id: row.get("id"),
            revision: row.get::<i64, _>("revision").unsigned_abs(),
            labelled: row.get("labelled"),
            key_id: row.get("key_id"),
            seal: row.get("seal"),
            digests,
        }))
    }

    /// Checks the seal, and the number of the last change against the ring's record.
    ///
    /// A number one lower is accepted: the ring raises the number before the change is committed.
    pub(super) fn check(&self, ring: &dyn DataKeyRing, known: Option<&StoreRecord>) -> Result<(), Untrusted> {
        let mac = self.sealed_by(ring, &self.key_id).map_err(Untrusted::from)?;
        mac.verify_slice(&self.seal).map_err(|_| Untrusted::Changed)?;
        match known {
            Some(known) if self.revision.saturating_add(1) < known.revision => Err(Untrusted::RolledBack),
            _ => Ok(()),
        }
    }

    /// Checks a bucket: its secrets are those of the last change, in the state of then.
    pub(super) async fn check_bucket(
        &self,
        connection: &mut SqliteConnection,
        bucket: u8,
    ) -> Result<Result<(), Untrusted>, sqlx::Error> {
        let digest = digest_of(connection, bucket).await?;
        let same = digest == self.digests[usize::from(bucket)];
        Ok(if same { Ok(()) } else { Err(Untrusted::Changed) })
    }

    /// Checks every bucket, and that every secret is in its own.
    pub(super) async fn check_all(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Result<(), Untrusted>, sqlx::Error> {
        for bucket in 0..=u8::MAX {
            if let Err(untrusted) = self.check_bucket(connection, bucket).await? {
                return Ok(Err(untrusted));
            }
        }
        let strays = "SELECT count(*) FROM secrets WHERE bucket IS NULL OR bucket NOT BETWEEN 0 AND 255";
        let strays: i64 = sqlx::query(strays).fetch_one(connection).await?.get(0);
        Ok(if strays == 0 { Ok(()) } else { Err(Untrusted::Changed) })
    }

    /// Takes over a bucket as it is now.
    pub(super) async fn take_over(
        &mut self,
        connection: &mut SqliteConnection,
        bucket: u8,
    ) -> Result<(), sqlx::Error> {
        let digest = digest_of(connection, bucket).await?;
        self.digests[usize::from(bucket)] = digest;
        let query = "INSERT INTO digests (bucket, digest) VALUES (?, ?) \
                     ON CONFLICT (bucket) DO UPDATE SET digest = excluded.digest";
        sqlx::query(query).bind(i64::from(bucket)).bind(digest.to_vec()).execute(connection).await?;
        Ok(())
    }

    /// Seals the head under the active key, and writes it.
    pub(super) async fn write(
        &mut self,
        connection: &mut SqliteConnection,
        ring: &dyn DataKeyRing,
    ) -> Result<Result<(), OpenError>, sqlx::Error> {
        self.key_id = ring.active().0;
        self.seal = match self.sealed_by(ring, &self.key_id) {
            Ok(mac) => mac.finalize().into_bytes().to_vec(),
            Err(error) => return Ok(Err(error)),
        };
        let query = "INSERT INTO store (one, id, revision, labelled, key_id, seal) VALUES (1, ?, ?, ?, ?, ?) \
                     ON CONFLICT (one) DO UPDATE SET revision = excluded.revision, labelled = excluded.labelled, \
                     key_id = excluded.key_id, seal = excluded.seal";
        sqlx::query(query)
            .bind(self.id.clone())
            .bind(i64::try_from(self.revision).unwrap_or(i64::MAX))
            .bind(self.labelled)
            .bind(self.key_id.clone())
            .bind(self.seal.clone())
            .execute(connection)
            .await?;
        Ok(Ok(()))
    }

    fn sealed_by(&self, ring: &dyn DataKeyRing, key_id: &str) -> Result<hmac::Hmac<Sha256>, OpenError> {
        let mut mac = keyed(ring, key_id)?;
        mac.update(LABEL);
        push_bytes(&mut mac, self.id.as_bytes());
        mac.update(&self.revision.to_be_bytes());
        mac.update(&[self.labelled.into()]);
        self.digests.iter().for_each(|digest| mac.update(digest));
        Ok(mac)
    }
}

/// The bucket of a name.
pub(super) fn bucket(name: &str) -> u8 {
    Sha256::digest(name)[0]
}

/// The digest of a bucket as it is now; that of an empty one is all zeros.
async fn digest_of(connection: &mut SqliteConnection, bucket: u8) -> Result<DigestBytes, sqlx::Error> {
    let query = "SELECT name, coalesce(seal, x'') AS seal FROM secrets WHERE bucket = ? ORDER BY name";
    let rows = sqlx::query(query).bind(i64::from(bucket)).fetch_all(connection).await?;
    if rows.is_empty() {
        return Ok(DigestBytes::default());
    }
    let mut digest = Sha256::new();
    for row in rows {
        for bytes in [row.get::<&str, _>("name").as_bytes(), row.get::<&[u8], _>("seal")] {
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        }
    }
    Ok(digest.finalize().into())
}
