//! A service's configuration: declared once, loaded from environment and secrets, every problem reported at
//! once.
//!
//! `cargo run -p secrets-cache --example typed_configuration` lists the missing settings; with
//! `LOG_LEVEL=info cargo run …` there is one problem less.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use secrets_cache::config::{Declared, Origins, Setting};
use secrets_cache::source::environment::EnvironmentVariables;
use secrets_cache::source::memory::MemorySource;
use secrets_cache::{NewSecret, SecretSource, SecretsCache};

fn settings() -> Declared {
    Declared::new()
        .with(Setting::url("DATABASE_URL", &["postgres"]).secret().found_at("billing/database#url"))
        .with(Setting::text_of("JWT_SECRET", 32..=usize::MAX).secret())
        .with(Setting::integer("PORT", 1..=65_535).or("8080"))
        .with(
            Setting::duration("REQUEST_TIMEOUT", Duration::from_secs(1)..=Duration::from_secs(60)).or("10s"),
        )
        .with(Setting::one_of("LOG_LEVEL", &["debug", "info", "warn"]))
        .with(Setting::url("BROKER_URL", &["amqp"]).or("amqp://guest:guest@localhost/"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // In production: SecretsManager::new(client), or LocalStore::open(path, ring).
    let source = Arc::new(MemorySource::new());
    let database = SecretString::from(r#"{"url":"postgres://billing:hunter2@db/billing"}"#);
    source.put(&NewSecret::new("billing/database".parse()?, database)).await?;
    let secrets = SecretsCache::builder(source).actor("billing").build();
    let environment = EnvironmentVariables::new();

    match settings().load(&Origins::environment(&environment).and_secrets(&secrets)).await {
        Ok(config) => {
            println!("listening on {}, settings {:?}", config.get::<u16>("PORT")?, config.public());
        }
        Err(error) => {
            for problem in &error.problems {
                println!("{problem}");
            }
        }
    }
    Ok(())
}
