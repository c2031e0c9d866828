//! The forms of values under a ring key: made by the program where it still makes them, taken apart, put together and read.

use std::sync::Arc;

use aes_gcm::aead::Aead;
use aes_gcm::aead::Payload;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Sha256, Sha512};
use sqlx::{Connection, Row, SqliteConnection};
use tokenseal::envelope_core::format::node_json::{self, Accepted};
use tokenseal::envelope_core::index::{IndexKey, Normalization, Scope};
use tokenseal::envelope_core::{Binding, DataKey, EncryptionContext, KeyProvider, Purpose, WrappedDataKey};
use tokenseal::kms_provider::Keyring;
use tokenseal::secrecy;
use tokenseal::secrets_cache::local::LocalStore;
use tokenseal::secrets_cache::sealed_stream::{Opens, StreamKey, StreamKind, StreamReader, StreamWriter};
use tokenseal::secrets_cache::{NewSecret, SecretName, SecretSource, Stage};

/// As long as a data key, so that it fits where one does.
const PLAINTEXT: &[u8; 32] = b"a value that is a data key long.";
const KEY: [u8; 32] = [7; 32];
const KEY_ID: &str = "k";
const NAME: &str = "DATABASE_URL";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Version 2 of the JSON envelope, which names its purpose.
    Json,
    /// Version 1, which does not.
    EarlierJson,
    /// A data key that a keyring wrapped.
    Wrapped,
    /// The same, without a commitment.
    EarlierWrapped,
    /// A sealed stream that says its kind.
    Stream(StreamKind),
    /// One that does not.
    EarlierStream(StreamKind),
    /// The seal over the local store's metadata of a secret.
    Metadata,
    /// A blind index.
    Index,
}

impl Form {
    pub(super) fn is_earlier(self) -> bool {
        matches!(self, Self::EarlierJson | Self::EarlierWrapped | Self::EarlierStream(_))
    }

    /// A wrapped data key of the earlier form has a derived key of its own, and so a purpose.
    pub(super) fn says_no_purpose(self) -> bool {
        matches!(self, Self::EarlierJson | Self::EarlierStream(_))
    }
}

/// Everything that a form may consist of.
pub(super) struct Parts {
    /// A message id or a salt.
    id: [u8; 32],
    commitment: [u8; 32],
    nonce: [u8; 12],
    body: Vec<u8>,
    tag: [u8; 16],
}

impl Parts {
    /// The bytes of a MAC, in the place of each part.
    fn of_mac(mac: [u8; 32]) -> Self {
        let (nonce, tag) = (mac[..12].try_into().unwrap(), mac[..16].try_into().unwrap());
        Self { id: mac, commitment: mac, nonce, body: mac.to_vec(), tag }
    }

    /// A body with its tag at the end, and zeros for the rest.
    fn of_sealed(sealed: &[u8]) -> Self {
        let (body, tag) = sealed.split_at(sealed.len() - 16);
        let (body, tag) = (body.to_vec(), tag.try_into().unwrap());
        Self { id: [0; 32], commitment: [0; 32], nonce: [0; 12], body, tag }
    }

    fn sealed(&self) -> Vec<u8> {
        [&self.body[..], &self.tag].concat()
    }
}

/// One ring key in a keyring, and a local store under it.
pub(super) struct Ring {
    pub(super) keyring: Arc<Keyring>,
    key: DataKey,
    directory: tempfile::TempDir,
}

impl Ring {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keyring = Keyring::init(directory.path().join("keys.json"), &DataKey::generate()).unwrap();
        let export =
            format!(r#"{{"keys":[{{"id":"{KEY_ID}","key":"{}","isActive":true}}]}}"#, STANDARD.encode(KEY));
        keyring.import(export.as_bytes()).unwrap();
        let ring = Self { keyring: Arc::new(keyring), key: DataKey::from_slice(&KEY).unwrap(), directory };
        let store = LocalStore::open_or_create(ring.store(), ring.keyring.clone()).await.unwrap();
        let secret = NewSecret::new(SecretName::new(NAME).unwrap(), SecretString::from("value"));
        store.put(&secret).await.unwrap();
        store.close().await;
        ring
    }

    /// Makes a value for a purpose, and takes it apart.
    pub(super) async fn make(&self, form: Form, purpose: Purpose) -> Parts {
        match form {
            Form::Json => {
                let text = node_json::seal(&*self.keyring, purpose, Some(&aad(purpose)), PLAINTEXT, 7);
                of_json(&text, &["messageId", "commitment"])
            }
            Form::EarlierJson => {
                let text = node_json::seal_unlabelled(&*self.keyring, Some(&aad(purpose)), PLAINTEXT, 7);
                of_json(&text, &["iv"])
            }
            Form::Wrapped => {
                let made = self.keyring.generate(&context()).await.unwrap();
                let rest = made.wrapped.bytes().strip_prefix(b"K\x02\x01k").unwrap();
                let (commitment, nonce) = (rest[..32].try_into().unwrap(), rest[32..44].try_into().unwrap());
                Parts { commitment, nonce, ..Parts::of_sealed(&rest[44..]) }
            }
            Form::EarlierWrapped => earlier_wrapped(),
            Form::Stream(kind) => {
                let key = StreamKey::new(DataKey::from_slice(&KEY).unwrap(), KEY_ID);
                let mut writer = StreamWriter::new(Vec::new(), &key, kind).unwrap();
                std::io::Write::write_all(&mut writer, PLAINTEXT).unwrap();
                let stream = writer.finish().unwrap();
                let rest = stream.strip_prefix(&header(form)[..]).unwrap();
                let (id, commitment) = (rest[..32].try_into().unwrap(), rest[32..64].try_into().unwrap());
                Parts { id, commitment, ..Parts::of_sealed(&rest[64..]) }
            }
            Form::EarlierStream(_) => earlier_stream(&header(form)),
            Form::Metadata => {
                let mut connection = self.connect().await;
                let row = sqlx::query("SELECT seal FROM secrets").fetch_one(&mut connection).await.unwrap();
                Parts::of_mac(row.get::<Vec<u8>, _>("seal").try_into().unwrap())
            }
            Form::Index => {
                let text = self.index();
                Parts::of_mac(hex::decode(text.strip_prefix("k1:").unwrap()).unwrap().try_into().unwrap())
            }
        }
    }

    /// Whether a reader of a purpose takes these parts: one that accepts values without a purpose, and one that does not.
    pub(super) async fn reads(&self, form: Form, purpose: Purpose, parts: &Parts) -> [bool; 2] {
        match form {
            Form::Json | Form::EarlierJson => {
                let text =
                    if form == Form::Json { json(purpose, parts) } else { earlier_json(purpose, parts) };
                [Accepted::OrUnlabelled(purpose), Accepted::Only(purpose)].map(|accepted| {
                    let opened = node_json::open(&*self.keyring, accepted, Some(&aad(purpose)), &text);
                    // Wrapped data keys have another content.
                    opened.is_ok_and(|opened| opened.expose_secret().len() == PLAINTEXT.len())
                })
            }
            Form::Wrapped => {
                let bytes = [b"K\x02\x01k", &parts.commitment[..], &parts.nonce, &parts.sealed()].concat();
                [self.unwraps(bytes).await; 2]
            }
            Form::EarlierWrapped => {
                let bytes = [b"K\x01\x01k", &parts.nonce[..], &parts.sealed()].concat();
                [self.unwraps(bytes).await; 2]
            }
            Form::Stream(kind) | Form::EarlierStream(kind) => {
                let stream = [&header(form)[..], &parts.id, &parts.commitment, &parts.sealed()].concat();
                [Opens::OrUnlabelled(kind), Opens::Only(kind)].map(|opens| {
                    let reader = StreamReader::new(stream.as_slice(), &self.key, opens);
                    reader.is_ok_and(|mut reader| reader.next_chunk().is_ok())
                })
            }
            Form::Metadata => [self.store_takes(&parts.commitment).await; 2],
            Form::Index => [format!("k1:{}", hex::encode(parts.commitment)) == self.index(); 2],
        }
    }

    async fn unwraps(&self, bytes: Vec<u8>) -> bool {
        let wrapped = WrappedDataKey::new(bytes, Some("keyring:k")).unwrap();
        self.keyring.unwrap(&wrapped, &context()).await.is_ok()
    }

    fn store(&self) -> std::path::PathBuf {
        self.directory.path().join("store.db")
    }

    async fn connect(&self) -> SqliteConnection {
        SqliteConnection::connect(self.store().to_str().unwrap()).await.unwrap()
    }

    /// Whether the store gives out a secret that has this seal. Its own seal is put back after that.
    async fn store_takes(&self, seal: &[u8]) -> bool {
        let mut connection = self.connect().await;
        let own: Vec<u8> =
            sqlx::query("SELECT seal FROM secrets").fetch_one(&mut connection).await.unwrap().get("seal");
        let mut set = async |seal: Vec<u8>| {
            sqlx::query("UPDATE secrets SET seal = ?").bind(seal).execute(&mut connection).await.unwrap();
        };
        set(seal.to_vec()).await;
        let read = match LocalStore::open(self.store(), self.keyring.clone()).await {
            Ok(store) => {
                let read = store.get(&SecretName::new(NAME).unwrap(), &Stage::Current).await;
                store.close().await;
                read.is_ok()
            }
            Err(_) => false,
        };
        set(own).await;
        read
    }

    /// The index of a value under the ring key itself: in production it is a data key from a key service.
    fn index(&self) -> String {
        let scope = Scope { profile: "crm", table: "users", column: "email" };
        IndexKey::new(&self.key, scope, 1, Normalization::None, 256).unwrap().value(NAME).unwrap()
    }
}

/// A token's row has the secret's name as its key, which is the worst case.
fn aad(purpose: Purpose) -> Vec<u8> {
    match purpose {
        Purpose::Field => Binding::new("customers", "email").key("id", NAME).canonical().unwrap(),
        _ => NAME.into(),
    }
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("Application", "crm")]).unwrap()
}

fn sealed_under(key: &[u8; 32], nonce: [u8; 12], aad: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: PLAINTEXT, aad };
    Aes256Gcm::new(key.into()).encrypt(&Nonce::from(nonce), payload).unwrap()
}

/// As the program made it before wrapped data keys had a commitment.
fn earlier_wrapped() -> Parts {
    let (mut key, nonce) = ([0; 32], [9; 12]);
    Hkdf::<Sha256>::new(None, &KEY).expand(b"tokenseal keyring v1 data key", &mut key).unwrap();
    let associated = [b"tokenseal data key v1\0", &b"\x01k"[..], context().canonical()].concat();
    Parts { nonce, ..Parts::of_sealed(&sealed_under(&key, nonce, &associated)) }
}

/// As the program made it before streams said their kind.
fn earlier_stream(header: &[u8]) -> Parts {
    let (id, mut derived) = ([3; 32], [0; 71]);
    let hkdf = Hkdf::<Sha512>::new(Some(&id), &KEY);
    hkdf.expand_multi_info(&[b"tokenseal sealed stream", header], &mut derived).unwrap();
    // The number of the chunk, 0, and the mark of the last one.
    let nonce = [&derived[32..39], &[0, 0, 0, 0, 1]].concat().try_into().unwrap();
    let sealed = sealed_under(&derived[..32].try_into().unwrap(), nonce, &[]);
    Parts { id, commitment: derived[39..].try_into().unwrap(), ..Parts::of_sealed(&sealed) }
}

/// A stream's header up to the salt; the streams here have one label.
fn header(form: Form) -> Vec<u8> {
    match form {
        Form::Stream(StreamKind::Backup) => b"TKSTREAM\x02\x01\x01\x01k".to_vec(),
        Form::Stream(_) => b"TKSTREAM\x02\x01\x02\x01k".to_vec(),
        _ => b"TKSTREAM\x01\x01\x01k".to_vec(),
    }
}

fn of_json(text: &str, names: &[&str]) -> Parts {
    let fields: serde_json::Value = serde_json::from_str(text).unwrap();
    let bytes = |name: &str| STANDARD.decode(fields[name].as_str().unwrap()).unwrap();
    let mut parts = Parts::of_sealed(&[bytes("ciphertext"), bytes("tag")].concat());
    for name in names {
        match *name {
            "messageId" => parts.id = bytes(name).try_into().unwrap(),
            "commitment" => parts.commitment = bytes(name).try_into().unwrap(),
            _ => parts.nonce = bytes(name).try_into().unwrap(),
        }
    }
    parts
}

fn json(purpose: Purpose, parts: &Parts) -> String {
    let [id, commitment, tag] =
        [&parts.id[..], &parts.commitment, &parts.tag].map(|bytes| STANDARD.encode(bytes));
    let (ciphertext, aad, label) =
        (STANDARD.encode(&parts.body), STANDARD.encode(aad(purpose)), purpose.label());
    format!(
        r#"{{"v":2,"alg":"aes-256-gcm-hkdf-sha512-commit","purpose":"{label}","keyId":"{KEY_ID}","messageId":"{id}","commitment":"{commitment}","tag":"{tag}","ciphertext":"{ciphertext}","aad":"{aad}","timestamp":7}}"#
    )
}

fn earlier_json(purpose: Purpose, parts: &Parts) -> String {
    let [iv, tag] = [&parts.nonce[..], &parts.tag].map(|bytes| STANDARD.encode(bytes));
    let (ciphertext, aad) = (STANDARD.encode(&parts.body), STANDARD.encode(aad(purpose)));
    format!(
        r#"{{"v":1,"alg":"aes-256-gcm","keyId":"{KEY_ID}","iv":"{iv}","tag":"{tag}","ciphertext":"{ciphertext}","aad":"{aad}","timestamp":7}}"#
    )
}
