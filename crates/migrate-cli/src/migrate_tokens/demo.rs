//! `demo`: an end-to-end run on a SQLite file and a local keyring, which stay on disk for inspection.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::format::direct_aes;
use envelope_core::{DataKey, KeyProvider, Sealer};
use kms_provider::Counting;
use kms_provider::keyring::Keyring;
use serde::Serialize;
use serde_json::Value;
use token_store::migration::{self, MigrationOptions, StopFlag};
use token_store::status::status;
use token_store::verify::verify;
use token_store::{Database, Profile, TokenCipher, TokenStore, WriteFormat, schema};

use super::{Options, migrate, status as status_command, verify as verify_command};
use crate::exit::{CliError, Exit};
use crate::output::{Format, emit, print};

/// The files of a demo. `demo.env` is last: as long as anything of a demo is there, it shows whose that is.
const FILES: [&str; 6] =
    ["tokens.db", "tokens.db-wal", "tokens.db-shm", "tokens.db-journal", "keyring.json", ENV_FILE];
const ENV_FILE: &str = "demo.env";
/// The first line of [`ENV_FILE`], by which a demo recognises the files of an earlier one.
const FIRST_LINE: &str = "# Keys of a demonstration. Never keep real ones in a file.\n";

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the files go; only files of an earlier demo in it are replaced
    #[arg(long, default_value = "tokenseal-demo")]
    dir: PathBuf,
    /// Rows in the table
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rows: u32,
}

#[derive(Serialize)]
struct Report {
    dir: String,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    step: &'static str,
    result: Value,
}

pub(super) async fn run(args: Args, options: Options) -> Result<Exit, CliError> {
    let mut demo = Demo::prepare(&args, options).await?;
    let store = demo.store.clone();
    demo.step("status before", &status(&store).await?, status_command::lines)?;
    demo.sample("a token on disk before").await?;
    demo.migrate("migrate --dry-run", WriteFormat::KmsEnvelope, true).await?;
    demo.migrate("migrate", WriteFormat::KmsEnvelope, false).await?;
    demo.step("status after", &status(&store).await?, status_command::lines)?;
    demo.sample("the same token on disk after").await?;
    demo.verify().await?;
    demo.migrate("rollback", WriteFormat::DirectAes, false).await?;
    demo.migrate("migrate again", WriteFormat::KmsEnvelope, false).await?;
    demo.verify().await?;
    demo.finish()
}

struct Demo {
    dir: PathBuf,
    store: TokenStore,
    calls: Arc<Counting>,
    options: Options,
    steps: Vec<Step>,
}

impl Demo {
    /// Makes the keys, the keyring and a table of readable and directly encrypted tokens.
    async fn prepare(args: &Args, options: Options) -> Result<Self, CliError> {
        let dir = args.dir.clone();
        fs::create_dir_all(&dir).map_err(CliError::io(format!("{} cannot be made", dir.display())))?;
        clear(&dir)?;
        let (master, direct) = (DataKey::generate(), DataKey::generate());
        write_env(&dir, &master, &direct)?;
        make_table(&dir.join("tokens.db"), args.rows, &direct).await?;
        let keyring: Arc<dyn KeyProvider> = Arc::new(Keyring::init(dir.join("keyring.json"), &master)?);
        let calls = Arc::new(Counting::new(keyring));
        let profile = Profile::load("vod-tender")?;
        let database = Database::connect(&database_url(&dir)).await?;
        schema::migrate(&database, &profile).await?;
        let sealer = Sealer::new(calls.clone(), profile.base_context())
            .map_err(|error| CliError::usage(error.to_string()))?;
        let cipher = TokenCipher::new().with_sealer(sealer).with_direct_key(direct);
        let store = TokenStore::open(database, profile, cipher).await?;
        Ok(Self { dir, store, calls, options, steps: Vec::new() })
    }

    fn step<T: Serialize>(
        &mut self,
        step: &'static str,
        value: &T,
        lines: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        if self.options.format == Format::Human {
            let indented: Vec<String> = lines(value).lines().map(|line| format!("   {line}")).collect();
            print(&format!("== {step}\n{}", indented.join("\n")))?;
        }
        let result = serde_json::to_value(value).map_err(|error| CliError::usage(error.to_string()))?;
        self.steps.push(Step { step, result });
        Ok(())
    }

    async fn migrate(&mut self, step: &'static str, to: WriteFormat, dry_run: bool) -> Result<(), CliError> {
        let mut options = MigrationOptions::to(to);
        options.run.dry_run = dry_run;
        let before = self.calls.counts().total();
        let mut outcome = migration::run(&self.store, &options, &StopFlag::default(), |_| {}).await;
        outcome.report.kms_calls += self.calls.counts().total() - before;
        if let Some(ended) = outcome.ended_by {
            return Err(ended.into());
        }
        self.step(step, &outcome.report, migrate::lines)
    }

    async fn verify(&mut self) -> Result<(), CliError> {
        let report = verify(&self.store, None, &StopFlag::default(), |_| {}).await?;
        self.step("verify", &report, verify_command::lines)
    }

    /// Shows the beginning of one stored text, as a thief of the file would see it.
    async fn sample(&mut self, step: &'static str) -> Result<(), CliError> {
        let pool = open(&self.dir.join("tokens.db"), false).await?;
        let sql = "SELECT access_token FROM oauth_tokens ORDER BY provider, channel LIMIT 1";
        let text: String = sqlx::query_scalar(sql).fetch_one(&pool).await.map_err(database_error)?;
        pool.close().await;
        let shown: String = text.chars().take(72).collect();
        self.step(step, &shown, |shown| format!("{shown}…"))
    }

    fn finish(self) -> Result<Exit, CliError> {
        let report = Report { dir: self.dir.display().to_string(), steps: self.steps };
        match self.options.format {
            Format::Json | Format::Sarif => emit(Format::Json, &report, |_| String::new())?,
            Format::Human => print(&next_commands(&report.dir))?,
        }
        Ok(Exit::Done)
    }
}

/// Commands that work as they are typed, in this directory: the program by the name that it was started under.
fn next_commands(dir: &str) -> String {
    let program = std::env::args_os().next().unwrap_or_else(|| "migrate-tokens".into());
    let program = quoted(&program.to_string_lossy());
    let file = |name| quoted(&Path::new(".").join(dir).join(name).display().to_string());
    format!(
        "== look into it\n   {}, {}; then\n   . {}\n   {program} status\n   \
         {program} get --row provider=twitch,channel=channel-00000 --reveal",
        file("tokens.db"),
        file("keyring.json"),
        file(ENV_FILE)
    )
}

/// Where the demo's table is. Characters that end a path in an address, or escape in it, are escaped.
fn database_url(dir: &Path) -> String {
    let path = dir.join("tokens.db").display().to_string();
    format!("sqlite://{}", path.replace('%', "%25").replace('?', "%3F"))
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The variables that the other commands need to work on the demo's files.
fn write_env(dir: &Path, master: &DataKey, direct: &DataKey) -> Result<(), CliError> {
    let absolute =
        fs::canonicalize(dir).map_err(CliError::io(format!("{} cannot be found", dir.display())))?;
    let text = zeroize::Zeroizing::new(format!(
        "{FIRST_LINE}export DATABASE_URL={}\n\
         export KMS_KEY_ID={}\n\
         export KMS_MASTER_KEY='{}'\n\
         export ENCRYPTION_KEY='{}'\n",
        quoted(&database_url(&absolute)),
        quoted(&format!("keyring:{}/keyring.json", absolute.display())),
        STANDARD.encode(master.expose_secret()),
        STANDARD.encode(direct.expose_secret())
    ));
    let path = dir.join(ENV_FILE);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(CliError::io(format!("{} cannot be written", path.display())))
}

/// A table as vod-tender has it: every other token readable, the rest in direct AES.
async fn make_table(path: &Path, rows: u32, direct: &DataKey) -> Result<(), CliError> {
    let pool = open(path, true).await?;
    let table = "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL DEFAULT '', \
                 access_token TEXT, refresh_token TEXT, expires_at TEXT, scope TEXT, \
                 updated_at TEXT DEFAULT CURRENT_TIMESTAMP, encryption_version INTEGER DEFAULT 0, \
                 encryption_key_id TEXT, PRIMARY KEY (provider, channel))";
    sqlx::query(table).execute(&pool).await.map_err(database_error)?;
    let mut transaction = pool.begin().await.map_err(database_error)?;
    for row in 0..rows {
        let (access, refresh) =
            (format!("demo-access-{}", random_hex()), format!("demo-refresh-{}", random_hex()));
        let encrypted = row % 2 == 1;
        let stored = |token: String| {
            if encrypted { direct_aes::seal(direct, &token) } else { token }
        };
        sqlx::query(
            "INSERT INTO oauth_tokens (provider, channel, access_token, refresh_token, scope, encryption_version, \
             encryption_key_id) VALUES ('twitch', ?, ?, ?, 'chat:read', ?, ?)",
        )
        .bind(format!("channel-{row:05}"))
        .bind(stored(access))
        .bind(stored(refresh))
        .bind(i32::from(encrypted))
        .bind(encrypted.then_some(direct_aes::KEY_ID))
        .execute(&mut *transaction)
        .await
        .map_err(database_error)?;
    }
    transaction.commit().await.map_err(database_error)?;
    pool.close().await;
    Ok(())
}

async fn open(path: &Path, create: bool) -> Result<sqlx::SqlitePool, CliError> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(create);
    let options = sqlx::ConnectOptions::disable_statement_logging(options);
    let pool =
        sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    pool.connect_with(options).await.map_err(database_error)
}

fn database_error(error: sqlx::Error) -> CliError {
    CliError::Store(token_store::StoreError::Database(error.into()))
}

fn random_hex() -> String {
    let bytes: [u8; 20] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes room for the demo's files. A keyring or a table that no demo made may be its owner's only copy.
fn clear(dir: &Path) -> Result<(), CliError> {
    let there = || FILES.iter().map(|file| dir.join(file)).filter(|path| path.symlink_metadata().is_ok());
    if let Some(foreign) = there().next().filter(|_| !is_of_a_demo(dir)) {
        return Err(CliError::usage_with_hint(
            format!("{} is there, and no earlier demo made it", foreign.display()),
            "name an empty or new directory with --dir; nothing was changed in this one",
        ));
    }
    there().try_for_each(|path| remove(&path))
}

fn is_of_a_demo(dir: &Path) -> bool {
    fs::read(dir.join(ENV_FILE)).is_ok_and(|text| text.starts_with(FIRST_LINE.as_bytes()))
}

fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::io(format!("{} cannot be replaced", path.display()))(error))
        }
        _ => Ok(()),
    }
}
