//! The vectors of every envelope and of the formats before it, through an agent whose key service knows their keys: as a
//! text of a caller's own statement, and in a row of the database.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use test_support::vectors::{self, StoredFormat};
use tokenseal::async_trait::async_trait;
use tokenseal::envelope_core::DataKey;
use tokenseal::envelope_core::provider::{GeneratedDataKey, KeyDescription};
use tokenseal::envelope_core::{EncryptionContext, ErrorClass, KeyError, KeyProvider, WrappedDataKey};
use tokenseal::secrecy::SecretSlice;
use tokenseal::{Settings, Tokenseal};
use tokenseal_agent::{Agent, Config, Listener, Policy};
use tokio::sync::oneshot;

use crate::support::{Answer, Client, Sql};

/// Knows one wrapped data key, or one text that the key service itself encrypted, under one context.
struct OneKey {
    data_key: Option<String>,
    wrapped: Option<Vec<u8>>,
    plaintext: String,
    context: Option<EncryptionContext>,
}

impl OneKey {
    fn check(&self, bytes: &[u8], context: &EncryptionContext) -> Result<(), KeyError> {
        let is_context = self.context.as_ref().is_none_or(|expected| expected == context);
        if is_context && self.wrapped.as_ref().is_none_or(|wrapped| wrapped == bytes) {
            return Ok(());
        }
        Err(KeyError::new(ErrorClass::ContextMismatchOrCorrupt, "not of this vector"))
    }
}

fn refused<T>() -> Result<T, KeyError> {
    Err(KeyError::new(ErrorClass::Denied, "only reads"))
}

#[async_trait]
impl KeyProvider for OneKey {
    async fn generate(&self, _: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        refused()
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        self.check(wrapped.bytes(), context)?;
        Ok(Arc::new(self.data_key.as_ref().unwrap().parse().unwrap()))
    }

    async fn rewrap(&self, _: &WrappedDataKey, _: &EncryptionContext) -> Result<WrappedDataKey, KeyError> {
        refused()
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        refused()
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        _: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        self.check(ciphertext, context)?;
        Ok(self.plaintext.clone().into_bytes().into())
    }
}

/// An agent in this process, and the end of it.
struct InProcess {
    client: Client,
    end: Option<oneshot::Sender<()>>,
    _directory: tempfile::TempDir,
}

impl InProcess {
    async fn start(db: &Sql, profile: &str, service: OneKey, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let profile = match profile.contains('\n') {
            true => {
                let path = directory.path().join("profile.toml");
                std::fs::write(&path, profile).unwrap();
                path.display().to_string()
            }
            false => profile.to_owned(),
        };
        let mut all: BTreeMap<&str, OsString> =
            variables.iter().map(|(name, value)| (*name, value.into())).collect();
        all.extend([("DATABASE_URL", db.url().into()), ("TOKEN_PROFILE", profile.into())]);
        let settings = Settings::from_variables(&|name| all.get(name).cloned()).unwrap();
        let uid = {
            use std::os::unix::fs::MetadataExt as _;
            std::fs::metadata("/proc/self").unwrap().uid()
        };
        let config = Config::new(Policy::only(uid), None, &settings);
        let connected = Tokenseal::builder(settings).key_service(Arc::new(service)).connect().await.unwrap();
        let agent = Agent::new(connected, config).await.unwrap();
        let socket = directory.path().join("agent.sock");
        let listener = Listener::unix(&socket, None).await.unwrap();
        let (end, ended) = oneshot::channel();
        tokio::spawn(async move { agent.serve(listener, async { drop(ended.await) }).await });
        Self { client: Client::unix(&socket), end: Some(end), _directory: directory }
    }

    async fn post(&self, path: &'static str, body: Value) -> Answer {
        let client = self.client.clone();
        tokio::task::spawn_blocking(move || client.post(path, &body)).await.unwrap()
    }

    /// Opens the text of an item by both routes: as it is given, and from a row that holds it. The other
    /// cells are those that the table requires. No row has a key with the character U+0000.
    async fn open(&self, db: &Sql, item: Value, others: &[(&str, &str)]) -> Vec<Value> {
        let opened = self.post("/v1/open", json!({ "items": [item] })).await.expect(200)["items"][0].clone();
        if [&item["row"], &item["owner"]].iter().any(|cells| cells.to_string().contains("\\u0000")) {
            return vec![opened];
        }
        let (table, column) = (text(&item["table"]), text(&item["column"]));
        let cells = [&item["row"], &item["owner"]].map(|cells| cells.as_object().unwrap());
        let mut cells: Vec<(String, String)> =
            cells.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect();
        cells.push((column.clone(), text(&item["text"])));
        cells.extend(others.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let quoted: Vec<(String, String)> =
            cells.into_iter().map(|(name, value)| (format!("\"{name}\""), value)).collect();
        let cells: Vec<(&str, Option<&str>)> =
            quoted.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))).collect();
        db.execute(&format!("DELETE FROM \"{table}\"")).await;
        db.insert(&format!("\"{table}\""), &cells).await;
        let body = json!({ "table": table, "row": item["row"], "owner": item["owner"], "columns": [column] });
        let read = self.post("/v1/tokens/get", body).await;
        let read = match read.status {
            200 => json!({ "value": read.json()["tokens"][column] }),
            _ => json!({ "error": read.expect(422)["error"] }),
        };
        vec![opened, read]
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        let _ = self.end.take().unwrap().send(());
    }
}

fn file(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envelope-core/tests/vectors").join(name);
    let parsed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    parsed["vectors"].as_array().unwrap().clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// That an answer is what its vector says, and repeats nothing where it is an error.
#[track_caller]
fn check(name: &str, vector: &Value, opened: &Value) {
    let plaintext = vector["plaintext"].as_str().map(|text| STANDARD.decode(text).unwrap());
    match plaintext.map(String::from_utf8) {
        Some(Ok(plaintext)) if !name.starts_with("fail_") => {
            assert_eq!(opened, &json!({ "value": plaintext }), "{name}");
        }
        plaintext => {
            assert_eq!(opened["error"]["class"], "context_mismatch_or_corrupt", "{name}: {opened}");
            assert!(opened.get("value").is_none(), "{name}");
            let secrets = [plaintext.and_then(Result::ok), vector["stored"].as_str().map(ToOwned::to_owned)];
            for secret in secrets.into_iter().flatten().filter(|secret| secret.len() > 12) {
                assert!(!opened.to_string().contains(&secret), "{name}: {opened}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_3_vector_does_what_its_name_says() {
    let all = file("bound.json");
    assert!(all.len() >= 39);
    for vector in all {
        let (name, binding) = (text(&vector["name"]), &vector["binding"]);
        let pairs = |role: &str| -> Vec<(String, String)> {
            let pairs = binding[role].as_array().unwrap().iter();
            pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
        };
        let (key, owner, column) = (pairs("key"), pairs("owner"), text(&binding["column"]));
        let names =
            |pairs: &[(String, String)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let quoted = |pairs: &[(String, String)]| -> String {
            pairs.iter().map(|(name, _)| format!("\"{name}\" TEXT, ")).collect()
        };
        let table = text(&binding["table"]);
        let db = Sql::sqlite().await;
        let unique: Vec<String> = names(&key).iter().map(|name| format!("\"{name}\"")).collect();
        db.execute(&format!(
            "CREATE TABLE \"{table}\" ({}{}\"{column}\" TEXT, version INTEGER, method TEXT, key_id TEXT, PRIMARY KEY ({}))",
            quoted(&key), quoted(&owner), unique.join(", ")
        ))
        .await;
        let profile = format!(
            "name = \"vectors\"\ncontext = {{ Application = \"vectors\" }}\n[[tables]]\nname = {table:?}\nkey = {:?}\nowner = {:?}\n\
             tokens = [{column:?}]\n[tables.version]\nversion = \"version\"\nmethod = \"method\"\nkey_id = \"key_id\"\n",
            names(&key),
            names(&owner)
        );
        let service = OneKey {
            data_key: Some(text(&vector["data_key"])),
            wrapped: None,
            plaintext: String::new(),
            context: None,
        };
        let agent = InProcess::start(&db, &profile, service, &[]).await;
        let object = |pairs: Vec<(String, String)>| {
            Value::from(pairs.into_iter().map(|(n, v)| (n, v.into())).collect::<serde_json::Map<_, _>>())
        };
        let item = json!({ "table": table, "column": column, "row": object(key), "owner": object(owner),
                           "version": 2, "text": vector["stored"] });
        for opened in agent.open(&db, item, &[("version", "2")]).await {
            check(&name, &vector, &opened);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_2_vector_does_what_its_name_says() {
    let all = file("envelope_v2.json");
    assert!(all.len() >= 30);
    let db = Sql::sqlite().await;
    crate::support::create_tables(&db).await;
    db.execute("ALTER TABLE oauth_tokens ADD COLUMN expires_at TEXT").await;
    db.execute("ALTER TABLE oauth_tokens ADD COLUMN updated_at TEXT").await;
    for vector in all {
        let name = text(&vector["name"]);
        let context = vector["context"].as_object().map(|pairs| {
            EncryptionContext::new(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())))
                .unwrap()
        });
        let has_channel =
            vector["context"].get("channel").is_some() || vector["context"].get("table").is_none();
        let service = OneKey {
            data_key: Some(text(&vector["data_key"])),
            wrapped: vector["wrapped_data_key"].as_str().map(|text| STANDARD.decode(text).unwrap()),
            plaintext: String::new(),
            context,
        };
        let agent = InProcess::start(&db, "vod-tender", service, &[]).await;
        let channel = if has_channel { "my-channel" } else { "" };
        let item = json!({ "table": "oauth_tokens", "column": "access_token", "version": 2, "text": vector["stored"],
                           "row": { "provider": "twitch", "channel": channel }, "owner": {} });
        for opened in agent.open(&db, item, &[("encryption_version", "2")]).await {
            check(&name, &vector, &opened);
        }
    }
}

/// Every byte of a bound envelope, flipped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flipped_byte_is_refused() {
    let vector = file("bound.json").into_iter().next().unwrap();
    let db = Sql::sqlite().await;
    db.execute("CREATE TABLE oauth_tokens (provider TEXT, channel TEXT, tenant TEXT, access_token TEXT, version INTEGER, method TEXT, key_id TEXT, PRIMARY KEY (provider, channel))").await;
    let profile = "name = \"vectors\"\ncontext = { Application = \"vectors\" }\n[[tables]]\nname = \"oauth_tokens\"\nkey = [\"provider\", \"channel\"]\n\
        owner = [\"tenant\"]\ntokens = [\"access_token\"]\n[tables.version]\nversion = \"version\"\nmethod = \"method\"\nkey_id = \"key_id\"\n";
    let wrapped = Some(STANDARD.decode(text(&vector["wrapped_data_key"])).unwrap());
    let service = OneKey {
        data_key: Some(text(&vector["data_key"])),
        wrapped,
        plaintext: String::new(),
        context: None,
    };
    let agent = InProcess::start(&db, profile, service, &[]).await;
    let stored = text(&vector["stored"]);
    let item = |text: &str| {
        json!({ "table": "oauth_tokens", "column": "access_token", "version": 2, "text": text, "owner": { "tenant": "acme" },
                "row": { "provider": "twitch", "channel": "my-channel" } })
    };
    for opened in agent.open(&db, item(&stored), &[("version", "2")]).await {
        check("whole", &vector, &opened);
    }
    let flipped: Vec<Value> = (0..stored.len())
        .map(|at| {
            let mut bytes = stored.clone().into_bytes();
            bytes[at] ^= 1;
            item(&String::from_utf8(bytes).unwrap())
        })
        .collect();
    let (client, count) = (agent.client.clone(), flipped.len());
    let asked = tokio::task::spawn_blocking(move || client.post("/v1/open", &json!({ "items": flipped })));
    let opened = asked.await.unwrap().expect(200);
    for at in 0..count {
        assert_eq!(
            opened["items"][at]["error"]["class"], "context_mismatch_or_corrupt",
            "byte {at}: {}",
            opened["items"][at]
        );
    }
}

/// The formats of before, each in the table of the system that wrote it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_of_the_formats_before_open_too() {
    let db = Sql::sqlite().await;
    crate::support::create_tables(&db).await;
    for column in ["expires_at", "updated_at", "id", "user_id"] {
        db.execute(&format!("ALTER TABLE oauth_tokens ADD COLUMN {column} TEXT")).await;
    }
    db.execute("CREATE UNIQUE INDEX by_id ON oauth_tokens (id)").await;
    db.execute("CREATE TABLE slack_connection (id text PRIMARY KEY, org_id text, access_token text, refresh_token text)").await;
    let (mut seen, vod) = (0, vec![("Application", "vod-tender"), ("Purpose", "oauth-token")]);
    for vector in vectors::all().into_iter().filter(|vector| vector.format != StoredFormat::NodeJson) {
        let user = vector.user_id.clone().unwrap_or_else(|| "somebody".into());
        let twitch = json!({ "provider": "twitch", "channel": "me" });
        let (profile, context, table, row, owner, version) = match vector.format {
            StoredFormat::DirectAes => {
                ("vod-tender", vod.clone(), "oauth_tokens", twitch, json!({}), json!(1))
            }
            StoredFormat::KmsV2 | StoredFormat::KmsV2Twice => {
                ("vod-tender", vod.clone(), "oauth_tokens", twitch, json!({}), json!(2))
            }
            StoredFormat::PulseplanLocal | StoredFormat::PulseplanKms => {
                let context =
                    vec![("user_id", user.as_str()), ("service", "pulseplan"), ("data_type", "auth_token")];
                (
                    "pulseplan",
                    context,
                    "oauth_tokens",
                    json!({ "id": "1" }),
                    json!({ "user_id": user }),
                    Value::Null,
                )
            }
            _ => ("autonomous", vec![], "slack_connection", json!({ "id": "1" }), json!({}), Value::Null),
        };
        let held = vector.wrapped_data_key.as_ref().or(vector.blob.as_ref());
        let service = OneKey {
            data_key: vector.data_key.clone(),
            wrapped: held.map(|text| STANDARD.decode(text).unwrap()),
            plaintext: vector.plaintext.clone(),
            context: Some(EncryptionContext::new(context).unwrap()),
        };
        let variables: Vec<(&str, &str)> = [
            ("ENCRYPTION_KEY", &vector.encryption_key),
            ("TOKEN_ENCRYPTION_KEY", &vector.token_encryption_key),
            ("DEV_ENCRYPTION_KEY", &vector.dev_encryption_key),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect();
        let agent = InProcess::start(&db, profile, service, &variables).await;
        let mut item = json!({ "table": table, "column": "access_token", "row": row, "owner": owner, "text": vector.stored });
        if !version.is_null() {
            item["version"] = version;
        }
        let others: &[(&str, &str)] = match &item["version"] {
            Value::Null if table == "oauth_tokens" => &[("provider", "none"), ("channel", "none")],
            Value::Null => &[],
            version if version == 1 => &[("encryption_version", "1")],
            _ => &[("encryption_version", "2")],
        };
        for opened in agent.open(&db, item, others).await {
            assert_eq!(opened, json!({ "value": vector.plaintext }), "{:?}", vector.format);
        }
        seen += 1;
    }
    assert_eq!(seen + vectors::of(StoredFormat::NodeJson).len(), vectors::all().len());
}
