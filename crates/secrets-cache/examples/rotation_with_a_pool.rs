//! A connection pool that lives through a rotation: the server changes its password, then the secret changes, and no
//! request fails.
//!
//! The server here is a fake that knows one password. Everything else is what a service would do.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use envelope_core::DataKey;
use envelope_core::format::node_json::DataKeyRing;
use secrecy::SecretString;
use secrets_cache::local::LocalStore;
use secrets_cache::{NewSecret, SecretSource, SecretValue, SecretsCache, Stage, generate};

const NAME: &str = "database/password";

/// A database server.
struct Server(Mutex<String>);

impl Server {
    fn accepts(&self, password: &str) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == password
    }

    fn change(&self, password: &str) {
        password.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Connects as a pool would: tries the current value, then the previous one, and only then asks the source
/// again.
async fn connect(secrets: &SecretsCache, server: &Server) -> Result<&'static str, Box<dyn Error>> {
    let candidates = secrets.candidates(NAME).await?;
    for (candidate, which) in candidates.iter().zip(["current", "previous"]) {
        if candidate.value.expose_text().is_some_and(|password| server.accepts(password)) {
            return Ok(which);
        }
    }
    let fresh = secrets.get_fresh(NAME).await?;
    match fresh.value.expose_text().is_some_and(|password| server.accepts(password)) {
        true => Ok("fresh"),
        false => Err("no password is accepted".into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("rotation-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let store =
        Arc::new(LocalStore::open_or_create(directory.join("secrets.db"), Arc::new(Ring::new())).await?);
    store.put(&NewSecret::new(NAME.parse()?, SecretString::from("first"))).await?;
    let server = Server(Mutex::new("first".into()));
    let secrets = SecretsCache::builder(store.clone()).actor("billing").build();
    let mut watch = secrets.watch(NAME, Duration::from_millis(100)).await?;
    println!("before: connected with the {} value", connect(&secrets, &server).await?);

    // The rotation, as it runs elsewhere: a pending value first, so that nothing is lost if it stops half-way.
    let next = SecretValue::from(generate::alphanumeric(32));
    store.put(&NewSecret::new(NAME.parse()?, next.duplicate()).at_stage(Stage::Pending)).await?;
    store.promote(&NAME.parse()?).await?;
    let seen = watch.changed().await.ok_or("the cache is gone")?;
    println!("the secret has changed to version {}", seen.version);
    println!("the server has not: connected with the {} value", connect(&secrets, &server).await?);
    server.change(next.expose_text().unwrap_or_default());
    println!("now it has: connected with the {} value", connect(&secrets, &server).await?);

    store.close().await;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// One data key in memory, where a service has its keyring.
struct Ring(Arc<DataKey>);

impl Ring {
    fn new() -> Self {
        Self(Arc::new(DataKey::generate()))
    }
}

impl DataKeyRing for Ring {
    fn data_key(&self, id: &str) -> Option<Arc<DataKey>> {
        (id == "only").then(|| Arc::clone(&self.0))
    }

    fn active(&self) -> (String, Arc<DataKey>) {
        ("only".into(), Arc::clone(&self.0))
    }
}
