//! The service as a process, its environment, and another program that writes into its table.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envelope_core::{DataKey, KeyProvider, Sealer};
use kms_provider::{Aws, Keyring};
use tempfile::TempDir;
use test_support::http::{self, Answer};
use test_support::moto::Moto;
use test_support::sql::Sql;
use token_store::{Database, NewToken, Profile, TokenCipher, TokenKey, TokenStore, schema};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// `KMS_MASTER_KEY` of the tests.
pub(crate) const MASTER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
/// The Region of the tests' keys.
pub(crate) const REGION: &str = "us-east-1";

/// A table, a key service and an environment to start the service in.
pub(crate) struct Place {
    pub(crate) db: Sql,
    pub(crate) directory: TempDir,
    environment: BTreeMap<String, String>,
}

impl Place {
    /// With only a table.
    pub(crate) async fn on(db: Sql) -> Self {
        let time = db.either("TIMESTAMPTZ", "TEXT");
        db.execute(&format!(
            "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL DEFAULT '', \
             access_token TEXT, refresh_token TEXT, expires_at {time}, scope TEXT, updated_at {time}, \
             PRIMARY KEY (provider, channel))"
        ))
        .await;
        let database = Database::connect(db.url()).await.unwrap();
        schema::migrate(&database, &Profile::load("vod-tender").unwrap()).await.unwrap();
        let mut place = Self { directory: tempfile::tempdir().unwrap(), environment: BTreeMap::new(), db };
        let url = place.db.url().to_owned();
        place.set("DATABASE_URL", &url).set("LISTEN", "127.0.0.1:0").set("OAUTH_LATENCY_MS", "5");
        place.set("OAUTH_CLIENT_SECRET", "client secret").set("AWS_EC2_METADATA_DISABLED", "true");
        place
    }

    /// On SQLite, with a local keyring.
    pub(crate) async fn on_keyring() -> Self {
        let mut place = Self::on(Sql::sqlite().await).await;
        let file = place.path().join("keyring.json");
        Keyring::init(&file, &master_key()).unwrap();
        place.set("KMS_KEY_ID", &format!("keyring:{}", file.display())).set("KMS_MASTER_KEY", MASTER_KEY);
        place
    }

    /// With a key of an AWS emulator at this address.
    pub(crate) async fn on_aws(db: Sql, endpoint: &str, key: &str) -> Self {
        let mut place = Self::on(db).await;
        place.set("KMS_KEY_ID", key).set("AWS_ENDPOINT_URL", endpoint).set("AWS_REGION", REGION);
        place.set("AWS_ACCESS_KEY_ID", "testing").set("AWS_SECRET_ACCESS_KEY", "testing");
        place
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    pub(crate) fn unset(&mut self, name: &str) -> &mut Self {
        self.environment.remove(name);
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The keyring, opened a second time.
    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        Arc::new(Keyring::open(self.path().join("keyring.json"), &master_key()).unwrap())
    }

    /// Another program on the same table, whose tokens the service has in no cache.
    pub(crate) async fn other_program(&self, keys: Arc<dyn KeyProvider>) -> TokenStore {
        let profile = Profile::load("vod-tender").unwrap();
        let sealer = Sealer::new(keys, profile.base_context()).unwrap();
        let database = Database::connect(self.db.url()).await.unwrap();
        TokenStore::open(database, profile, TokenCipher::new().with_sealer(sealer)).await.unwrap()
    }

    pub(crate) async fn start(&self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_example-service"));
        command.env_clear().envs(&self.environment).current_dir(self.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = Collected::of(child.stdout.take().unwrap());
        let log = Collected::of(child.stderr.take().unwrap());
        let line = within("the service serves", async || log.line_with("serving address=")).await;
        let address = line.rsplit_once('=').unwrap().1.to_owned();
        Running { child, address, out, log }
    }
}

pub(crate) fn master_key() -> DataKey {
    MASTER_KEY.parse().unwrap()
}

/// A new key of the emulator.
pub(crate) async fn create_key(moto: &Moto) -> String {
    let client = aws_sdk_kms::Client::new(&moto.sdk_config(REGION));
    client.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap()
}

/// The emulator's key, asked directly.
pub(crate) fn aws(moto: &Moto, key: &str) -> Arc<Aws> {
    Arc::new(Aws::from_config(&moto.sdk_config(REGION), key, &[] as &[String]).unwrap())
}

/// Writes a pair of tokens.
pub(crate) async fn put(store: &TokenStore, channel: &str) {
    // The provider takes a refresh token that comes twice for stolen.
    let refresh = format!("a refresh token of {channel}");
    let token = NewToken::new().access_token("an access token").refresh_token(refresh);
    store.put(&TokenKey::new("twitch", channel), token).await.unwrap();
}

/// A service that serves.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: String,
    out: Collected,
    log: Collected,
}

/// The exit code and output of a service that ended.
pub(crate) struct Stopped {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) log: String,
}

impl Running {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        http::get(&self.url(path)).await.unwrap()
    }

    pub(crate) async fn read(&self, channel: &str) -> Answer {
        self.get(&format!("/tokens/twitch/{channel}")).await
    }

    pub(crate) async fn refresh(&self, channel: &str) -> Answer {
        http::post(&self.url(&format!("/tokens/twitch/{channel}/refresh"))).await.unwrap()
    }

    /// The value of a sample, which has to be there.
    pub(crate) async fn value(&self, sample: &str) -> f64 {
        let text = self.get("/metrics").await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {sample} in:\n{text}")).parse().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    pub(crate) fn terminate(&self) {
        let id = self.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    }

    /// Ends it by SIGTERM.
    pub(crate) async fn stop(self) -> Stopped {
        self.terminate();
        self.ended().await
    }

    pub(crate) async fn ended(mut self) -> Stopped {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait());
        let code = ended.await.expect("the service ends").unwrap().code();
        Stopped { code, out: self.out.all().await, log: self.log.all().await }
    }
}

/// The output of a process so far.
struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Collected {
    fn of(mut stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let shared = text.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                shared.lock().unwrap().extend(&buffer[..length]);
            }
        });
        Self { text, task }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// A whole line that has these words.
    fn line_with(&self, words: &str) -> Option<String> {
        let text = self.text();
        let (whole, _) = text.rsplit_once('\n')?;
        whole.lines().find(|line| line.contains(words)).map(ToOwned::to_owned)
    }

    async fn all(mut self) -> String {
        (&mut self.task).await.unwrap();
        self.text()
    }
}

/// Waits until there is something, half a minute at most.
pub(crate) async fn within<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    found.unwrap_or_else(|_| panic!("half a minute has passed, and not yet: {what}"))
}
