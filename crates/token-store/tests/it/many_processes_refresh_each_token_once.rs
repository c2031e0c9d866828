//! Eight processes of fifty callers each want two hundred tokens that expire together, from a provider that revokes what
//! is spent twice. Processes are killed, answers are slow, and the database is restarted.
//!
//! Each round has rows of its own. `TOKENSEAL_TEST_STORM_ROUNDS` asks for more than one.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use envelope_core::{DataKey, KeyProvider, Sealer};
use futures_util::future::join_all;
use kms_provider::Keyring;
use secrecy::ExposeSecret as _;
use test_support::http::post_form;
use test_support::oauth::{Behaviour, Family, Provider, Server};
use test_support::postgres::Restartable;
use token_store::refresh::{FreshError, GrantError, Granted, RefreshPolicy};
use token_store::{Database, NewToken, Token, TokenCipher, TokenKey, TokenStore, schema};
use tokio::process::{Child, Command};

use crate::support::{MASTER_KEY, Refused, refreshed_profile};

const PROCESSES: usize = 8;
const CALLERS: usize = 50;
const ROWS: usize = 200;
/// How many processes are killed in a round, each of which is replaced by another.
const KILLED: usize = 4;
/// Where a process finds its part.
const PART: &str = "TOKENSEAL_TEST_STORM_PART";

fn policy() -> RefreshPolicy {
    RefreshPolicy::default()
        .lease(Duration::from_secs(6))
        .grace(Duration::from_secs(1))
        .wait(Duration::from_secs(90))
        .pauses(Duration::from_millis(200), Duration::from_secs(1))
}

/// The arguments of a process: the database, the provider, the keyring, the round, and the file in which it
/// records its steps.
struct Part {
    database: String,
    token_url: String,
    keyring: PathBuf,
    round: String,
    log: PathBuf,
}

impl Part {
    fn written(&self) -> String {
        let Self { database, token_url, keyring, round, log } = self;
        format!("{database}\n{token_url}\n{}\n{round}\n{}", keyring.display(), log.display())
    }

    fn read(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let [database, token_url, keyring, round, log] = lines[..] else { panic!("no part: {text}") };
        Self {
            database: database.into(),
            token_url: token_url.into(),
            keyring: keyring.into(),
            round: round.into(),
            log: log.into(),
        }
    }

    async fn store(&self) -> TokenStore {
        let profile = refreshed_profile();
        let ring: Arc<dyn KeyProvider> =
            Arc::new(Keyring::open(&self.keyring, &MASTER_KEY.parse::<DataKey>().unwrap()).unwrap());
        let mut tries = 0;
        let store = loop {
            let opened = async {
                let sealer = Sealer::new(ring.clone(), profile.base_context()).unwrap();
                let database = Database::connect(&self.database).await?;
                TokenStore::open(database, profile.clone(), TokenCipher::new().with_sealer(sealer)).await
            };
            match opened.await {
                Ok(store) => break store,
                // The database is being restarted.
                Err(_) if tries < 100 => tries += 1,
                Err(error) => panic!("{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        store.with_refresh_policy(policy())
    }

    fn key(&self, row: usize) -> TokenKey {
        TokenKey::new(format!("round-{}", self.round), format!("{row:04}"))
    }
}

/// Lines that are in the file when the process is killed a moment later.
#[derive(Clone)]
struct Log(Arc<File>);

impl Log {
    fn open(path: &Path) -> Self {
        Self(Arc::new(OpenOptions::new().create(true).append(true).open(path).unwrap()))
    }

    fn line(&self, what: &str, row: usize) {
        (&*self.0).write_all(format!("{what} {row}\n").as_bytes()).unwrap();
    }
}

/// The rows of the lines that begin so.
fn rows_of(log: &str, what: &str) -> BTreeSet<usize> {
    let rows = log.lines().filter_map(|line| line.strip_prefix(what)?.strip_prefix(' ')?.parse().ok());
    rows.collect()
}

async fn exchange(token_url: &str, tokens: &Token) -> Result<Granted, GrantError<Refused>> {
    let refresh = tokens.refresh_token().unwrap().expose_secret();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let answer = post_form(token_url, &fields).await.map_err(|_| GrantError::Unknown(Refused))?;
    if answer.status != 200 {
        return Err(GrantError::Rejected(Refused));
    }
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    let lifetime = Duration::from_secs(body["expires_in"].as_u64().unwrap());
    Ok(Granted::new(text("access_token")).refresh_token(text("refresh_token")).expires_in(lifetime))
}

/// One process: its callers have all rows between them, each in an order of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as a process of the test below"]
async fn storm_process() {
    let Ok(part) = std::env::var(PART) else { return };
    let part = Arc::new(Part::read(&part));
    let (store, log) = (part.store().await, Log::open(&part.log));
    let first = rand::random_range(0..ROWS);
    let callers = (0..CALLERS).map(|caller| {
        let (store, log, part) = (store.clone(), log.clone(), part.clone());
        tokio::spawn(async move {
            for turn in 0..ROWS / CALLERS {
                let row = (first + caller + turn * CALLERS) % ROWS;
                let (asks, token_url) = (log.clone(), part.token_url.clone());
                let grant = async move |tokens: Token| {
                    asks.line("asked", row);
                    exchange(&token_url, &tokens).await
                };
                match store.fresh(&part.key(row), Duration::from_secs(60), grant).await {
                    Ok(token) => {
                        assert!(token.access_token().unwrap().expose_secret().starts_with("access-"));
                        log.line("served", row);
                    }
                    Err(FreshError::NeedsConsent { .. }) => log.line("consent", row),
                    Err(error) => panic!("row {row}: {error:?}"),
                }
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
}

struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(part: &Part) -> Self {
        let name = "many_processes_refresh_each_token_once::storm_process";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(PART, part.written()).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        Self { child: command.spawn().unwrap(), log: part.log.clone() }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Everything that the rounds are about.
struct Storm {
    server: Restartable,
    provider: Provider,
    endpoint: Server,
    directory: tempfile::TempDir,
}

impl Storm {
    async fn new(server: Restartable) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Keyring::init(directory.path().join("keys.json"), &MASTER_KEY.parse().unwrap()).unwrap();
        let provider = Provider::default();
        let behaviour = Behaviour {
            latency: Duration::from_millis(100),
            slow_every: 10,
            slow: Duration::from_millis(1500),
            ..Behaviour::default()
        };
        let endpoint = Server::start(provider.clone(), behaviour).await;
        Self { server, provider, endpoint, directory }
    }

    fn part(&self, round: usize, process: usize) -> Part {
        Part {
            database: self.server.url().to_owned(),
            token_url: self.endpoint.token_url(),
            keyring: self.directory.path().join("keys.json"),
            round: round.to_string(),
            log: self.directory.path().join(format!("{round}-{process}.log")),
        }
    }

    /// Rows whose tokens have expired. The database has its own table of leases.
    async fn prepare(&self, round: usize) -> TokenStore {
        if round == 0 {
            let pool = sqlx::PgPool::connect(self.server.url()).await.unwrap();
            let table = "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL, access_token TEXT, \
                         refresh_token TEXT, expires_at TIMESTAMPTZ, scope TEXT, updated_at TIMESTAMPTZ, \
                         PRIMARY KEY (provider, channel))";
            sqlx::raw_sql(table).execute(&pool).await.unwrap();
            let database = Database::from_pool(pool);
            schema::migrate(&database, &refreshed_profile()).await.unwrap();
            database.close().await;
        }
        let part = self.part(round, 0);
        let store = part.store().await;
        for row in 0..ROWS {
            let token = NewToken::new().access_token("expired").refresh_token(self.provider.sign_in());
            store.put(&part.key(row), token.plain("expires_at", "2020-01-01T00:00:00Z")).await.unwrap();
        }
        store
    }

    /// Runs the processes, kills some of them, restarts the database, and returns the logs of those that were killed
    /// and of those that ended.
    async fn run(&self, round: usize) -> (Vec<String>, Vec<String>) {
        let mut running: Vec<Process> =
            (0..PROCESSES).map(|number| Process::start(&self.part(round, number))).collect();
        let (mut killed, mut ended) = (Vec::new(), Vec::new());
        for number in 0..KILLED {
            // Once refreshes are under way.
            let victim = rand::random_range(0..running.len());
            for _ in 0..1000 {
                if running[victim].log().lines().count() > 2 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..400))).await;
            let mut victim = running.swap_remove(victim);
            victim.child.kill().await.unwrap();
            killed.push(victim.log());
            running.push(Process::start(&self.part(round, PROCESSES + number)));
            if number == KILLED / 2 {
                self.server.restart().await.unwrap();
            }
        }
        for mut process in running {
            let end = tokio::time::timeout(Duration::from_secs(180), process.child.wait()).await;
            assert!(end.expect("every caller is served").unwrap().success(), "a caller was not served");
            ended.push(process.log());
        }
        (killed, ended)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_and_whatever_is_restarted() {
    let test = "token-store whatever_dies_and_whatever_is_restarted";
    let server = test_support::parts::settle("postgres", test, Restartable::start().await);
    let Some(server) = server else { return };
    let storm = Storm::new(server).await;
    let rounds = std::env::var("TOKENSEAL_TEST_STORM_ROUNDS").map_or(1, |text| text.parse().unwrap());
    for round in 0..rounds {
        let store = storm.prepare(round).await;
        let (killed, ended) = storm.run(round).await;
        let families = storm.provider.families().split_off(round * ROWS);
        judge(&storm, round, &store, &families, &killed, &ended).await;
        store.database().close().await;
    }
}

/// Each refresh token was spent once. Only a holder that was killed between its request and its write leaves a family
/// that may be revoked.
async fn judge(
    storm: &Storm,
    round: usize,
    store: &TokenStore,
    families: &[Family],
    killed: &[String],
    ended: &[String],
) {
    let open = |log: &String| &rows_of(log, "asked") - &rows_of(log, "served");
    let open: BTreeSet<usize> = killed.iter().flat_map(open).collect();
    let served: BTreeSet<usize> = ended.iter().chain(killed).flat_map(|log| rows_of(log, "served")).collect();
    let consent: BTreeSet<usize> =
        ended.iter().chain(killed).flat_map(|log| rows_of(log, "consent")).collect();
    let (mut revoked, part) = (0, storm.part(round, 0));
    for (row, family) in families.iter().enumerate() {
        if family.is_revoked {
            revoked += 1;
            assert!(open.contains(&row), "row {row} was revoked, and no holder of it died");
            assert!(consent.contains(&row), "row {row} was revoked, and no caller knows it");
            continue;
        }
        assert_eq!((family.grants, family.reused), (1, 0), "row {row}");
        assert!(served.contains(&row) && !consent.contains(&row), "row {row}");
        let token = store.get(&part.key(row)).await.unwrap();
        let stored = token.refresh_token().unwrap().expose_secret().to_owned();
        assert_eq!(stored, format!("refresh-{}-1", round * ROWS + row), "the only valid token is stored");
    }
    for log in ended {
        let done = rows_of(log, "served").union(&rows_of(log, "consent")).count();
        assert_eq!(done, ROWS, "every caller has an answer for every one of its rows");
    }
    let asked: usize = killed.iter().chain(ended).map(|log| rows_of(log, "asked").len()).sum();
    let line = format!(
        "round {round}: {asked} grants for {ROWS} tokens, {} processes killed, {} requests of theirs without an end, \
         {revoked} families revoked\n",
        killed.len(),
        open.len()
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
