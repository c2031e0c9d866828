//! Asherah: a data key for each value, wrapped under an intermediate key that its session keeps.

use std::sync::Arc;

use asherah::aead::AES256GCM;
use asherah::kms::StaticKMS;
use asherah::metastore::InMemoryMetastore;
use asherah::{Config, DataRowRecord};

use crate::measure::{Contest, Peer};

type Session = asherah::Session<AES256GCM, StaticKMS<AES256GCM>, InMemoryMetastore>;

/// The record as a value of the program.
struct Core(Session);

/// The record as the JSON text that is stored, by its own writer.
struct Text(Session);

impl Peer for Core {
    type Sealed = DataRowRecord;

    fn seal(&self, value: &str) -> anyhow::Result<DataRowRecord> {
        self.0.encrypt(value.as_bytes())
    }

    fn open(&self, sealed: DataRowRecord) -> anyhow::Result<usize> {
        Ok(self.0.decrypt(sealed)?.len())
    }
}

impl Peer for Text {
    type Sealed = String;

    fn seal(&self, value: &str) -> anyhow::Result<String> {
        Ok(self.0.encrypt(value.as_bytes())?.to_json_fast())
    }

    fn open(&self, sealed: String) -> anyhow::Result<usize> {
        Ok(self.0.decrypt(serde_json::from_str(&sealed)?)?.len())
    }
}

/// A session with the default policy, keys in memory, and no key service to wait for.
fn session() -> anyhow::Result<Session> {
    let crypto = Arc::new(AES256GCM::new());
    let kms = StaticKMS::new(crypto.clone(), rand::random::<[u8; 32]>().to_vec())?;
    let store = Arc::new(InMemoryMetastore::new());
    let config = Config::new("vod-tender", "oauth-token");
    Ok(asherah::api::new_session_factory(config, store, Arc::new(kms), crypto).get_session("my-channel"))
}

pub(super) fn contests(value: &str) -> anyhow::Result<Vec<Contest>> {
    Ok(vec![
        Contest::new(super::ASHERAH, Core(session()?), value)?,
        Contest::new("Asherah, as JSON text", Text(session()?), value)?,
    ])
}
