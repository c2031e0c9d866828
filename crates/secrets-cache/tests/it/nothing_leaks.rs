//! A canary secret goes through everything, and is then in no log, error, debug form, audit event or file.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envelope_core::DataKey;
use secrets_cache::backup::Unlabelled;
use secrets_cache::local::LocalStore;
use secrets_cache::scan::Scanner;
use secrets_cache::sealed_stream::{Existing, StreamKey};
use secrets_cache::source::audited::Audited;
use secrets_cache::source::dotenv::Dotenv;
use secrets_cache::source::secrets_manager::SecretsManager;
use secrets_cache::typed::Json;
use secrets_cache::{Environment, SecretSource, SecretsCache, Stage, backup};
use test_support::emulator::Emulator;

use crate::support::{Ring, name, new, value, whole};

const CANARY: &str = "canary-9f3b1c";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// A secret as a whole, and in the forms in which bytes appear in dumps.
fn forms() -> Vec<String> {
    use base64::Engine;
    let bytes = CANARY.as_bytes();
    vec![
        CANARY.to_owned(),
        base64::engine::general_purpose::STANDARD.encode(bytes),
        hex::encode(bytes),
        format!("{bytes:?}").trim_matches(['[', ']']).to_owned(),
    ]
}

fn assert_clean(what: &str, text: &str) {
    for form in forms() {
        if let Some(at) = text.find(&form) {
            let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let around: String = text[line..].chars().take(at - line + 200).collect();
            panic!("{what} holds the secret: {around}");
        }
    }
}

fn assert_files_clean(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != ".env" {
            assert_clean(
                &path.display().to_string(),
                &String::from_utf8_lossy(&std::fs::read(&path).unwrap()),
            );
        }
    }
}

async fn use_source(source: Arc<dyn SecretSource>, told: &mut Vec<String>) {
    let cache = SecretsCache::builder(source.clone()).actor("test").build();
    let secret = cache.get("a").await.unwrap();
    told.push(format!("{secret:?} {:?} {:?}", secret.value, cache.candidates("a").await));
    told.push(whole(&cache.read::<u16>("a").await.unwrap_err()));
    told.push(whole(&cache.read::<Json<Vec<u8>>>("a").await.err().unwrap()));
    told.push(whole(&cache.read::<bool>("a#field").await.unwrap_err()));
    cache.get_fresh("a").await.unwrap();
    cache.get_many(&["a", "nobody"]).await;
    told.push(whole(&cache.get("nobody").await.unwrap_err()));
}

#[tokio::test]
async fn anywhere() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    // For every thread: the database driver and blocking work have their own.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut told = Vec::new();

    let ring = Ring::of(2);
    let local = LocalStore::open_or_create(directory.path().join("store.db"), ring.clone()).await.unwrap();
    let audited = Arc::new(Audited::new(Arc::new(local.clone()), "test"));
    let secret = new("a", CANARY).with_tag("team", "red");
    told.push(format!("{secret:?}"));
    audited.put(&secret).await.unwrap();
    audited.rotate(&name("a"), &value(&format!("{CANARY}-2"))).await.unwrap();
    audited.put(&new("brief", CANARY).with_expiry(time::OffsetDateTime::now_utc())).await.unwrap();
    told.push(whole(&audited.get(&name("brief"), &Stage::Current).await.unwrap_err()));
    use_source(audited.clone(), &mut told).await;
    assert_files_clean(directory.path());
    ring.add("key-3", DataKey::generate(), true);
    local.reseal(|_| ()).await.unwrap();
    local.clean_up(Duration::ZERO).await.unwrap();
    // Under a ring that lacks the key, the same value fails to open.
    let wrong = LocalStore::open(directory.path().join("store.db"), Ring::of(1)).await.unwrap();
    let error = wrong.get(&name("a"), &Stage::Current).await.unwrap_err();
    told.push(whole(&wrong.reseal(|_| ()).await.unwrap_err()));
    let again = wrong.get(&name("a"), &Stage::Current).await.unwrap_err();
    let unopened = [&error, &again].map(|error| error.correlation_id().unwrap());
    assert!(unopened[0] != unopened[1] && whole(&error).contains(&unopened[0].to_string()));
    told.push(whole(&error));

    let key = Arc::new(DataKey::generate());
    backup::write(
        &*audited,
        StreamKey::new(key.clone(), "test"),
        &directory.path().join("backup"),
        Existing::Replace,
        &|| false,
    )
    .await
    .unwrap();
    let aws = Emulator::start();
    let manager = Arc::new(SecretsManager::new(aws.secrets_manager()));
    told.push(format!(
        "{:?}",
        backup::restore(&directory.path().join("backup"), key, Unlabelled::Refuse, &*manager, &|| false)
            .await
            .unwrap()
    ));
    manager.rotate(&name("a"), &value(CANARY)).await.unwrap();
    use_source(manager.clone(), &mut told).await;
    aws.faults().always(test_support::faults::Fault::Fail(test_support::emulator::AwsFailure::Garbage));
    told.push(whole(&manager.get(&name("a"), &Stage::Current).await.unwrap_err()));
    told.push(whole(&manager.put(&new("a", CANARY)).await.unwrap_err()));

    let file = directory.path().join(".env");
    std::fs::write(&file, format!("a={CANARY}\n")).unwrap();
    use_source(Arc::new(Dotenv::open(&file, Environment::Development).unwrap()), &mut told).await;
    std::fs::write(&file, format!("PASSWORD={CANARY}\n")).unwrap();
    told.push(format!("{:?}", Scanner::default().scan([&file])));

    assert_files_clean(directory.path());
    told.iter().for_each(|text| assert_clean("a message", text));
    let log = log.text();
    for event in [
        "kms_initialized",
        "secret_stored",
        "secret_retrieved",
        "secret_expired",
        "secret_rotated",
        "data_key_rotated",
        "data_encrypted",
        "data_decrypted",
        "decryption_failed",
        "cache_hit",
        "cache_miss",
    ] {
        assert!(log.contains(&format!("event=\"{event}\"")), "no {event} in the log");
    }
    assert!(log.contains("actor=\"test\"") && log.contains("outcome=\"not_found\""));
    for id in unopened {
        let named = log.lines().filter(|line| line.contains(&format!("correlation_id={id}")));
        assert_eq!(named.filter(|line| line.contains("decryption_failed")).count(), 1, "{id}");
    }
    assert_clean("the log", &log);
}
