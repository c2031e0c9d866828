//! The refresh grant at the profile's providers: the request, and the meaning of each answer for the refresh
//! token.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::Row as _;
use test_support::oauth::{Behaviour, Provider, Server};
use tokenseal::oauth::ProviderError;
use tokenseal::token_store::refresh::FreshError;
use tokenseal::token_store::{Database, NewToken, Profile, Token, TokenKey, schema};
use tokenseal::{Settings, Tokenseal};

const MINUTE: Duration = Duration::from_secs(60);

/// A table of tokens that have expired, and a connection to it.
struct Place {
    tokenseal: Tokenseal,
    database: sqlx::SqlitePool,
    provider: Provider,
    _directory: tempfile::TempDir,
}

impl Place {
    async fn new(token_url: &str, auth: &str, provider: Provider) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).display().to_string();
        let profile = format!(
            "name = \"test\"\n[context]\nApplication = \"test\"\n[[tables]]\nname = \"tokens\"\nkey = [\"id\"]\n\
             tokens = [\"access_token\", \"refresh_token\"]\n[tables.refresh]\naccess = \"access_token\"\n\
             refresh = \"refresh_token\"\nexpires_at = \"ends\"\nprovider = \"provider\"\n\
             [providers.here]\ntoken_url = \"{token_url}\"\nclient_id = \"the client\"\n\
             client_secret = \"PROVIDER_SECRET\"\nauth = \"{auth}\"\n"
        );
        std::fs::write(file("profile.toml"), &profile).unwrap();
        std::fs::write(file(".env"), "PROVIDER_SECRET=s3cret/+\n").unwrap();
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(file("tokens.db")).create_if_missing(true);
        let database = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let table = "CREATE TABLE tokens (id TEXT PRIMARY KEY, access_token TEXT, refresh_token TEXT, ends TEXT, provider TEXT)";
        sqlx::raw_sql(table).execute(&database).await.unwrap();
        let profile = Profile::from_toml(&profile).unwrap();
        schema::migrate(&Database::from_pool(database.clone()), &profile).await.unwrap();
        let variables = BTreeMap::from([
            ("DATABASE_URL", format!("sqlite://{}", file("tokens.db"))),
            ("TOKEN_PROFILE", file("profile.toml")),
            ("SECRETS_SOURCE", format!("dotenv:{}", file(".env"))),
        ]);
        let settings = Settings::from_variables(&|name| variables.get(name).map(Into::into)).unwrap();
        let tokenseal = Tokenseal::connect(settings).await.unwrap();
        Self { tokenseal, database, provider, _directory: directory }
    }

    /// A row whose token has expired, of the provider of this name.
    async fn row(&self, id: &str, provider: &str) -> TokenKey {
        let key = TokenKey::from_values([id]);
        let token = NewToken::new().access_token("expired").refresh_token(self.provider.sign_in());
        let token = token.plain("ends", "2020-01-01T00:00:00Z").plain("provider", provider);
        self.tokenseal.store().put(&key, token).await.unwrap();
        key
    }

    async fn fresh(&self, key: &TokenKey) -> Result<Token, FreshError<ProviderError>> {
        self.tokenseal.fresh(key, MINUTE).await
    }

    async fn state(&self, id: &str) -> String {
        let query =
            sqlx::query("SELECT state FROM tokenseal_leases WHERE row_key = 'id=' || ?1").bind(id.to_owned());
        query.fetch_one(&self.database).await.unwrap().get(0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_shows_its_secret_in_the_header_or_in_the_body() {
    for (auth, header, fields) in [
        // RFC 6749, section 2.3.1: both parts are encoded as in a form, and then as Basic has it.
        ("basic", Some("Basic dGhlK2NsaWVudDpzM2NyZXQlMkYlMkI="), ""),
        ("post", None, "&client_id=the+client&client_secret=s3cret%2F%2B"),
    ] {
        let provider = Provider::default();
        let server = Server::start(provider.clone(), Behaviour::default()).await;
        let place = Place::new(&server.token_url(), auth, provider).await;
        let key = place.row("1", "here").await;
        for _ in 0..2 {
            let token = place.fresh(&key).await.unwrap();
            assert_eq!(token.access_token().unwrap().expose_secret(), "access-0-1");
            assert_eq!(token.refresh_token().unwrap().expose_secret(), "refresh-0-1");
        }
        assert_eq!(server.requests(), 1, "a valid token costs no request");
        let (authorization, body) = server.last_request();
        assert_eq!(authorization.as_deref(), header);
        assert_eq!(body, format!("grant_type=refresh_token&refresh_token=refresh-0-0{fields}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_says_whether_the_refresh_token_is_spent() {
    let provider = Provider::default();
    let server = Server::start(provider.clone(), Behaviour::default()).await;
    let place = Place::new(&server.token_url(), "basic", provider).await;
    let long = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(100_000));
    for (number, (status, body, state)) in [
        (400, r#"{"error":"invalid_grant","error_description":"canary"}"#, "needs_consent"),
        (200, r#"{"error":"bad_refresh_token","error_description":"canary"}"#, "needs_consent"),
        (401, r#"{"error":"invalid_client"}"#, "idle"),
        (400, r#"{"error":"canary"}"#, "idle"),
        (400, "canary", "idle"),
        (429, "", "idle"),
        (302, "", "idle"),
        (500, r#"{"error":"canary"}"#, "spending"),
        (503, "canary", "spending"),
        (200, "canary", "spending"),
        (200, r#"{"token_type":"canary"}"#, "spending"),
        (200, r#"{"access_token":"","refresh_token":"","scope":"canary"}"#, "spending"),
        (200, long.as_str(), "spending"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = number.to_string();
        let key = place.row(&id, "here").await;
        server.behave(Behaviour { instead: Some((status, body.to_owned())), ..Behaviour::default() });
        let error = place.fresh(&key).await.unwrap_err();
        assert_eq!(place.state(&id).await, state, "{status} {body:.40}: {error:?}");
        assert_eq!(error.needs_consent(), state == "needs_consent", "{error:?}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
    let requests = server.requests();
    let elsewhere = place.row("elsewhere", "nobody").await;
    let error = place.fresh(&elsewhere).await.unwrap_err();
    assert!(matches!(error, FreshError::Grant(ProviderError::NoProvider { .. })), "{error:?}");
    assert_eq!((place.state("elsewhere").await, server.requests()), ("idle".to_owned(), requests));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_an_access_token_is_a_failure_that_keeps_its_refresh_token() {
    let provider = Provider::default();
    let server = Server::start(provider.clone(), Behaviour::default()).await;
    let place = Place::new(&server.token_url(), "basic", provider).await;
    for (number, access) in
        ["\"access_token\":\"\",", "\"access_token\":null,", "\"access_token\":[],", ""].iter().enumerate()
    {
        let id = number.to_string();
        let key = place.row(&id, "here").await;
        let body = format!(r#"{{{access}"refresh_token":"next-{id}","expires_in":3600}}"#);
        server.behave(Behaviour { instead: Some((200, body)), ..Behaviour::default() });
        let error = place.fresh(&key).await.unwrap_err();
        assert!(matches!(error, FreshError::NoAccessToken { .. }), "{access}: {error:?}");
        let token = place.tokenseal.store().get(&key).await.unwrap();
        assert_eq!(token.access_token().unwrap().expose_secret(), "expired");
        assert_eq!(token.refresh_token().unwrap().expose_secret(), &format!("next-{id}"));
        assert_eq!(token.plain("ends"), Some("2020-01-01T00:00:00Z"));
        assert_eq!(place.state(&id).await, "idle");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_away_spends_nothing() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = Place::new(&format!("http://{free}/token"), "basic", Provider::default()).await;
    let key = place.row("1", "here").await;
    let error = place.fresh(&key).await.unwrap_err();
    assert!(matches!(error, FreshError::Grant(ProviderError::Unreachable)), "{error:?}");
    assert_eq!(place.state("1").await, "idle");
}
