//! `rotation-step`: credentials rotate on real servers while an application keeps logging in, killed at every
//! step.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use secrets_cache::source::secrets_manager::SecretsManager;
use secrets_cache::{SecretSource as _, SecretsCache, Stage};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};
use test_support::moto::Moto;
use test_support::part;
use tokio::task::{JoinHandle, block_in_place};

use crate::support::{Program, Run};

const REGION: &str = "us-east-1";
pub(crate) const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// A secret in the emulator with the credentials of a real server, and the program that rotates it.
pub(crate) struct Rotating {
    pub(crate) program: Program,
    manager: Arc<SecretsManager>,
    pub(crate) name: String,
}

impl Rotating {
    /// Stores the credentials of an application and of the administrator.
    fn new(moto: &Moto, name: &str, application: &Value, administrator: &Value) -> Self {
        let mut program = Program::bare();
        program
            .set("AWS_ENDPOINT_URL", moto.endpoint())
            .set("AWS_REGION", REGION)
            .set("AWS_ACCESS_KEY_ID", "testing")
            .set("AWS_SECRET_ACCESS_KEY", "testing");
        let client = aws_sdk_secretsmanager::Client::new(&moto.sdk_config(REGION));
        let rotating =
            Self { program, manager: Arc::new(SecretsManager::new(client)), name: name.to_owned() };
        let mut application = application.clone();
        application["masterarn"] = format!("{name}-admin").into();
        rotating.set(name, &application);
        rotating.set(&format!("{name}-admin"), administrator);
        rotating
    }

    fn set(&self, name: &str, value: &Value) {
        self.program.secrets(&["set", name], &value.to_string()).expect(0);
    }

    pub(crate) fn event(&self, step: &str, token: &str) -> String {
        json!({ "Step": step, "SecretId": self.name, "ClientRequestToken": token }).to_string()
    }

    pub(crate) fn step(&self, step: &str, token: &str, code: i32) -> Run {
        let arguments = ["rotation-step", "--format", "json"];
        self.program.secrets(&arguments, &self.event(step, token)).expect(code)
    }

    pub(crate) fn rotate(&self, token: &str) {
        for step in STEPS {
            assert_eq!(self.step(step, token, 0).document()["step"], step);
        }
    }

    /// Kills the program in the middle of a step, at several moments, and lets it take the step after that.
    fn rotate_with_kills(&self, token: &str) -> usize {
        let mut killed = 0;
        for step in STEPS {
            for round in 0..8 {
                let mut command = self.program.secrets_command(&["rotation-step"]);
                let mut child = command.spawn().unwrap();
                std::io::Write::write_all(
                    &mut child.stdin.take().unwrap(),
                    self.event(step, token).as_bytes(),
                )
                .unwrap();
                std::thread::sleep(Duration::from_millis(8 + 17 * round));
                child.kill().unwrap();
                killed += usize::from(child.wait().unwrap().code().is_none());
            }
            self.step(step, token, 0);
            assert_eq!(self.step(step, token, 0).document()["step"], step, "a step may be repeated");
        }
        killed
    }

    pub(crate) async fn value(&self, stage: &Stage) -> Value {
        let secret = self.manager.get(&self.name.parse().unwrap(), stage).await.unwrap();
        serde_json::from_str(secret.value.expose_text().unwrap()).unwrap()
    }
}

/// The id of the version that a rotation makes.
pub(crate) fn token(n: u8) -> String {
    format!("{n:08}-0000-4000-8000-000000000000")
}

/// An application that logs in again and again with what its cache has.
struct Application {
    stop: Arc<AtomicBool>,
    logins: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Application {
    fn start<F: Future<Output = Result<(), String>> + Send + 'static>(
        rotating: &Rotating,
        ttl: Duration,
        log_in: impl Fn(Value) -> F + Send + 'static,
    ) -> Self {
        let cache = SecretsCache::builder(rotating.manager.clone()).ttl(ttl).build();
        let (stop, logins) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, name) = (stop.clone(), logins.clone(), rotating.name.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let secret = cache.get(&name).await.unwrap();
                let value = serde_json::from_str(secret.value.expose_text().unwrap()).unwrap();
                log_in(value).await.unwrap_or_else(|error| panic!("a login failed: {error}"));
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Self { stop, logins, task }
    }

    async fn end(self) {
        // It has seen the new credentials too.
        let (before, limit) = (self.logins.load(Ordering::Relaxed), Instant::now() + Duration::from_secs(60));
        while self.logins.load(Ordering::Relaxed) < before + 10
            && Instant::now() < limit
            && !self.task.is_finished()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

fn url(scheme: &str, value: &Value, more: &str) -> String {
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    let (user, password, database) = (text("username"), text("password"), text("dbname"));
    format!("{scheme}://{user}:{password}@{}:{}/{database}{more}", text("host"), value["port"])
}

pub(crate) async fn pg(value: Value) -> Result<PgConnection, String> {
    let url = url("postgres", &value, "?sslmode=disable");
    PgConnection::connect(&url).await.map_err(|error| error.to_string())
}

async fn maria(value: Value) -> Result<MySqlConnection, String> {
    let url = url("mysql", &value, "?ssl-mode=DISABLED");
    MySqlConnection::connect(&url).await.map_err(|error| error.to_string())
}

/// Host and port in the URL of a server.
fn address(url: &str) -> (String, u16) {
    let authority = url.split("://").nth(1).unwrap().split('/').next().unwrap();
    let (host, port) = authority.rsplit('@').next().unwrap().rsplit_once(':').unwrap();
    (host.to_owned(), port.parse().unwrap())
}

pub(crate) async fn run_pg(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement.clone()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// The test server trusts everyone: these users have to say their passwords.
pub(crate) async fn demand_passwords(server: &mut PgConnection, users: &str) {
    // One test after the other reads and writes the file.
    run_pg(server, "SELECT pg_advisory_lock(727274)".into()).await;
    let (file, rules): (String, String) =
        sqlx::query_as("SELECT setting, pg_read_file(setting) FROM pg_settings WHERE name = 'hba_file'")
            .fetch_one(&mut *server)
            .await
            .unwrap();
    let rules = format!("host all {users} all scram-sha-256\n{rules}");
    let rules = rules.replace('\'', "''");
    run_pg(
        server,
        format!(
            "COPY (SELECT unnest(string_to_array('{rules}', E'\\n'))) TO '{file}'; SELECT pg_reload_conf()"
        ),
    )
    .await;
    run_pg(server, "SELECT pg_advisory_unlock(727274)".into()).await;
}

/// The names of the application's user and of the administrator: those of a server are shared by all tests.
pub(crate) fn users(database: &str) -> (String, String) {
    let end = &database[database.len().saturating_sub(20)..];
    (format!("u_{end}"), format!("a_{end}"))
}

pub(crate) async fn on_postgresql(moto: &Moto, database: &test_support::postgres::TestDatabase) -> Rotating {
    let (user, admin) = users(database.name());
    let mut server = PgConnection::connect(database.url()).await.unwrap();
    demand_passwords(&mut server, &format!("{user},{user}_clone,{admin}")).await;
    let rotating = on_trusting_postgresql(moto, database).await;
    until_refused(rotating.value(&Stage::Current).await).await;
    rotating
}

/// Waits until the server refuses a wrong password: it reads its rules shortly after the reload.
pub(crate) async fn until_refused(mut login: Value) {
    login["password"] = "wrong".into();
    let limit = Instant::now() + Duration::from_secs(60);
    while pg(login.clone()).await.is_ok() {
        assert!(Instant::now() < limit, "the server checks no passwords");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// On a server that lets everyone in with any password.
pub(crate) async fn on_trusting_postgresql(
    moto: &Moto,
    database: &test_support::postgres::TestDatabase,
) -> Rotating {
    let name = database.name();
    let (user, admin) = users(name);
    let mut server = PgConnection::connect(database.url()).await.unwrap();
    run_pg(
        &mut server,
        format!(
            "CREATE ROLE {user} LOGIN PASSWORD 'first'; CREATE ROLE {admin} LOGIN CREATEROLE PASSWORD 'adm'; \
             GRANT {user} TO {admin} WITH ADMIN OPTION; CREATE SCHEMA app AUTHORIZATION {user}; \
             CREATE TABLE app.tokens (id int); ALTER TABLE app.tokens OWNER TO {user}"
        ),
    )
    .await;
    let (host, port) = address(database.url());
    let application = json!({ "engine": "postgres", "host": host, "port": port, "username": user, "password": "first",
                              "dbname": name, "ssl": false, "note": "kept" });
    let administrator = json!({ "username": admin, "password": "adm", "ssl": false });
    Rotating::new(moto, name, &application, &administrator)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_postgresql_killed_at_every_step() {
    let (database, moto) = (part!(postgres), part!(moto));
    let rotating = on_postgresql(&moto, &database).await;
    let log_in = |value: Value| async move {
        let mut connection = pg(value).await?;
        let insert = sqlx::query("INSERT INTO app.tokens VALUES (1)").execute(&mut connection).await;
        insert.map(drop).map_err(|error| error.to_string())
    };
    let quick = Application::start(&rotating, Duration::from_millis(50), log_in);
    let slow = Application::start(&rotating, Duration::from_secs(300), log_in);
    let killed = block_in_place(|| rotating.rotate_with_kills(&token(1)));
    assert!(killed >= 8, "killed {killed} times");
    let first = rotating.value(&Stage::Current).await;
    assert_eq!(first["username"], format!("{}_clone", users(database.name()).0));
    assert_eq!((&first["note"], first["password"].as_str().unwrap().len()), (&json!("kept"), 32));
    assert_eq!(rotating.value(&Stage::Previous).await["password"], "first");
    quick.end().await;
    slow.end().await;

    // Objects that the second user creates belong to the first, so the next rotation takes nothing away.
    let mut second = pg(first).await.unwrap();
    run_pg(&mut second, "CREATE TABLE app.made (id int)".into()).await;
    let again = Application::start(&rotating, Duration::from_millis(50), log_in);
    block_in_place(|| rotating.rotate(&token(2)));
    again.end().await;
    let value = rotating.value(&Stage::Current).await;
    assert_eq!(value["username"], users(database.name()).0);
    let mut back = pg(value).await.unwrap();
    run_pg(&mut back, "INSERT INTO app.made VALUES (1); DROP TABLE app.made".into()).await;
    run_pg(&mut second, "SELECT 1".into()).await;
}

/// With the name of the application's user.
pub(crate) async fn on_mariadb(
    moto: &Moto,
    database: &test_support::mariadb::TestDatabase,
) -> (Rotating, String) {
    let name = database.name();
    let user = format!("u{}", &name[name.len() - 12..]);
    let mut server = MySqlConnection::connect(database.url()).await.unwrap();
    for statement in [
        format!("CREATE TABLE {name}.tokens (id int)"),
        format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'first'"),
        format!("GRANT SELECT, INSERT ON {name}.* TO '{user}'@'%'"),
        format!("CREATE USER 'a{user}'@'%' IDENTIFIED BY 'adm'"),
        format!("GRANT ALL ON *.* TO 'a{user}'@'%' WITH GRANT OPTION"),
    ] {
        let done = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut server).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let (host, port) = address(database.url());
    let application = json!({ "engine": "mariadb", "host": host, "port": port.to_string(), "username": user,
                              "password": "first", "dbname": name, "ssl": false });
    let administrator = json!({ "username": format!("a{user}"), "password": "adm", "ssl": "false" });
    (Rotating::new(moto, name, &application, &administrator), user)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_mariadb_killed_at_every_step() {
    let (database, moto) = (part!(mariadb), part!(moto));
    let (rotating, user) = on_mariadb(&moto, &database).await;
    let mut server = MySqlConnection::connect(database.url()).await.unwrap();
    let log_in = |mut value: Value| async move {
        value["port"] = value["port"].as_str().unwrap().parse::<u16>().unwrap().into();
        let mut connection = maria(value).await?;
        let insert = sqlx::query("INSERT INTO tokens VALUES (1)").execute(&mut connection).await;
        insert.map(drop).map_err(|error| error.to_string())
    };
    let quick = Application::start(&rotating, Duration::from_millis(50), log_in);
    let slow = Application::start(&rotating, Duration::from_secs(300), log_in);
    let killed = block_in_place(|| rotating.rotate_with_kills(&token(1)));
    assert!(killed >= 8, "killed {killed} times");
    assert_eq!(rotating.value(&Stage::Current).await["username"], format!("{user}_clone"));
    quick.end().await;
    slow.end().await;
    block_in_place(|| rotating.rotate(&token(2)));
    let value = rotating.value(&Stage::Current).await;
    assert_eq!(value["username"], user);
    log_in(value).await.unwrap();
    for account in [user.clone(), format!("{user}_clone"), format!("a{user}")] {
        let drop = format!("DROP USER IF EXISTS '{account}'@'%'");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut server).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_out_of_order_or_of_other_credentials_changes_nothing() {
    let (database, moto) = (part!(postgres), part!(moto));
    let rotating = on_postgresql(&moto, &database).await;
    let before = rotating.value(&Stage::Current).await;
    block_in_place(|| {
        let class = |run: Run| run.document()["error"]["class"].as_str().unwrap().to_owned();
        for step in &STEPS[1..] {
            assert_eq!(class(rotating.step(step, &token(1), 3)), "order", "{step} without a pending version");
        }
        for event in [
            "",
            "{}",
            "not json",
            &rotating.event("dropSecret", &token(1)),
            &rotating.event(STEPS[0], "short"),
        ] {
            let run = rotating.program.secrets(&["rotation-step", "--format", "json"], event).expect(2);
            assert_eq!(class(run), "event", "{event}");
        }
        rotating.step(STEPS[0], &token(1), 0);
        assert_eq!(
            class(rotating.step(STEPS[2], &token(1), 3)),
            "refused",
            "the database does not know it yet"
        );
        assert_eq!(class(rotating.step(STEPS[3], &token(1), 3)), "refused", "and it does not become current");

        // The administrator of another server sets no password there.
        let administrator = format!("{}-admin", rotating.name);
        for other in [json!({ "host": "db.example.org" }), json!({ "port": 1 }), json!({ "engine": "mysql" })]
        {
            let mut value = json!({ "username": users(database.name()).1, "password": "adm", "ssl": false });
            value.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
            rotating.set(&administrator, &value);
            assert_eq!(class(rotating.step(STEPS[1], &token(1), 6)), "administrator", "{other}");
        }
        let wrong = json!({ "username": users(database.name()).1, "password": "canary-wrong", "ssl": false });
        rotating.set(&administrator, &wrong);
        let refused = rotating.step(STEPS[1], &token(1), 6);
        assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");

        // An operator changes the current version to the pending user: its password is not touched.
        let mut changed = before.clone();
        changed["username"] = format!("{}_clone", users(database.name()).0).into();
        rotating.set(&rotating.name, &changed);
        assert_eq!(class(rotating.step(STEPS[1], &token(1), 3)), "order");
        rotating.set(&rotating.name, &json!({ "key": "signs sessions" }));
        assert_eq!(class(rotating.step(STEPS[0], &token(2), 3)), "credentials");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_entry_point_of_a_function_answers_the_runtime() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (database, moto) = (part!(postgres), part!(moto));
    let rotating = on_postgresql(&moto, &database).await;
    let runtime = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = runtime.local_addr().unwrap().to_string();
    let mut command = rotating.program.secrets_command(&["rotation-function"]);
    let mut function = command.env("AWS_LAMBDA_RUNTIME_API", &address).spawn().unwrap();
    let mut events: Vec<String> = STEPS.iter().map(|step| rotating.event(step, &token(1))).collect();
    events.insert(0, rotating.event("testSecret", &token(9)));
    let (mut next, mut answers) = (events.into_iter(), Vec::new());
    while answers.len() < 5 {
        let (mut stream, _) = runtime.accept().await.unwrap();
        let mut request = vec![0; 4_096];
        let mut length = stream.read(&mut request).await.unwrap();
        let text = |length: usize, request: &[u8]| String::from_utf8_lossy(&request[..length]).into_owned();
        let mut answer = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned();
        if text(length, &request).starts_with("GET /2018-06-01/runtime/invocation/next ") {
            let event = next.next().unwrap();
            answer = format!(
                "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: id-{}\r\ncontent-length: {}\r\n\r\n{event}",
                answers.len(),
                event.len()
            );
        } else {
            while !text(length, &request).contains("null") && !text(length, &request).contains("errorMessage")
            {
                length += stream.read(&mut request[length..]).await.unwrap();
            }
            answers.push(text(length, &request));
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    function.kill().unwrap();
    function.wait().unwrap();
    assert!(answers[0].starts_with("POST /2018-06-01/runtime/invocation/id-0/error "), "{answers:?}");
    assert!(answers[0].contains("\"errorType\":\"order\""), "{answers:?}");
    for (n, answer) in answers.iter().enumerate().skip(1) {
        assert!(
            answer.starts_with(&format!("POST /2018-06-01/runtime/invocation/id-{n}/response ")),
            "{answer}"
        );
    }
    let current = rotating.value(&Stage::Current).await;
    pg(current).await.unwrap();
}
