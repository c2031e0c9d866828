//! The vectors of the stored formats, and how to open each with its named inputs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envelope_core::format::{autonomous, direct_aes, node_json, pulseplan_kms, pulseplan_local};
use envelope_core::{Binding, DataKey, EncryptionContext, OpenError, Sealer};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::memory::{KEY_ID, MemoryKms, OneKey};
use super::{ANY, now, pairs};

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
pub struct Vector {
    pub format: String,
    pub plaintext: String,
    pub stored: String,
    encryption_key: Option<String>,
    data_key: Option<String>,
    wrapped_data_key: Option<String>,
    token_encryption_key: Option<String>,
    pub user_id: Option<String>,
    blob: Option<String>,
    dev_encryption_key: Option<String>,
    data_key_id: Option<String>,
    aad: Option<String>,
}

pub fn all() -> Vec<Vector> {
    let file: File = serde_json::from_str(include_str!("../../vectors/formats.json")).unwrap();
    file.vectors
}

/// The keys and sealers that open a vector, prepared once.
pub struct Opener(Box<Open>);

type Open = dyn Fn(&str) -> Result<SecretString, OpenError>;

impl Opener {
    pub fn open(&self, text: &str) -> Result<String, OpenError> {
        (self.0)(text).map(|opened| opened.expose_secret().to_owned())
    }
}

/// The context that the vectors' PulsePlan rows of a user were encrypted under.
pub fn user_context(user_id: &str) -> EncryptionContext {
    EncryptionContext::new([("user_id", user_id), ("service", "pulseplan"), ("data_type", "auth_token")])
        .unwrap()
}

impl Vector {
    pub fn opener(&self) -> Opener {
        Opener(match self.format.as_str() {
            "direct-aes" => {
                let key: DataKey = self.encryption_key.as_deref().unwrap().parse().unwrap();
                Box::new(move |text| direct_aes::open(&key, text))
            }
            "kms-v2" | "kms-v2-twice" => {
                let base = pairs(&[("Application", "vod-tender"), ("Purpose", "oauth-token")]);
                let binding = Binding::new("oauth_tokens", "access_token").key("provider", "twitch");
                let kms = self.kms(binding.plain_context(&base).unwrap());
                let sealer = Sealer::new(Arc::new(kms), base).unwrap();
                Box::new(move |text| {
                    now(sealer.open(text, Some(KEY_ID), &binding)).map(|opened| opened.plaintext)
                })
            }
            "pulseplan-local" => self.local_opener(),
            "pulseplan-kms" => {
                let context = user_context(self.user_id.as_deref().unwrap());
                let blob = decode(self.blob.as_deref().unwrap());
                let kms = MemoryKms::new().with(&blob, context.clone(), self.plaintext.as_bytes());
                Box::new(move |text| now(pulseplan_kms::open(&kms, text, &context)))
            }
            "autonomous" => {
                let kms = self.kms(EncryptionContext::empty());
                Box::new(move |text| now(autonomous::open(&kms, text)))
            }
            "autonomous-dev" => {
                let key =
                    autonomous::DevKey::from_variable(self.dev_encryption_key.as_deref().unwrap()).unwrap();
                Box::new(move |text| autonomous::open_dev(&key, text))
            }
            "node-json" => {
                let key = Arc::new(self.data_key.as_deref().unwrap().parse().unwrap());
                let ring = OneKey(self.data_key_id.clone().unwrap(), key);
                let aad = self.aad.clone();
                Box::new(move |text| {
                    node_json::open_text(&ring, ANY, aad.as_deref().map(str::as_bytes), text)
                })
            }
            other => panic!("vector of an unknown format: {other}"),
        })
    }

    fn kms(&self, context: EncryptionContext) -> MemoryKms {
        let (blob, key) = (self.wrapped_data_key.as_deref().unwrap(), self.data_key.as_deref().unwrap());
        MemoryKms::new().with(&decode(blob), context, &decode(key))
    }

    fn local_opener(&self) -> Box<Open> {
        let master =
            pulseplan_local::MasterKey::from_variable(self.token_encryption_key.as_deref().unwrap()).unwrap();
        let user_id = self.user_id.clone().unwrap();
        let derived = Mutex::new(HashMap::new());
        Box::new(move |text| {
            let envelope = pulseplan_local::Envelope::parse(text)?;
            let mut result = Err(OpenError::NotAuthentic);
            for reading in master.readings() {
                let mut derived = derived.lock().unwrap();
                let key = derived.entry((reading.kind(), envelope.version())).or_insert_with(|| {
                    pulseplan_local::derive_user_key(reading, &user_id, envelope.version())
                });
                result = result.or_else(|_| envelope.open(key));
            }
            result
        })
    }
}

pub fn decode(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap()
}

pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
