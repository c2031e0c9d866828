//! Every key service passes the suite, bare and under every decorator.

use std::sync::Arc;

use envelope_core::conformance::{Capabilities, check_with};
use envelope_core::{DataKey, KeyProvider};
use kms_provider::{Aws, CacheOptions, Caching, Counting, Keyring, Memory, Pacing, Vault};
use test_support::emulator::Emulator;

async fn passes_bare_and_decorated(provider: Arc<dyn KeyProvider>, capabilities: Capabilities) {
    let counting =
        |inner: &Arc<dyn KeyProvider>| Arc::new(Counting::new(inner.clone())) as Arc<dyn KeyProvider>;
    let caching =
        |inner: &Arc<dyn KeyProvider>| Arc::new(Caching::new(inner.clone())) as Arc<dyn KeyProvider>;
    let forgetful = CacheOptions::default().with_remember_generated(false);
    let stacks: [(&str, Arc<dyn KeyProvider>); 7] = [
        ("bare", provider.clone()),
        ("counting", counting(&provider)),
        ("caching", caching(&provider)),
        ("caching(counting)", caching(&counting(&provider))),
        ("counting(caching)", counting(&caching(&provider))),
        ("caching, generated keys not kept", Arc::new(Caching::with_options(provider.clone(), forgetful))),
        ("pacing", Arc::new(Pacing::new(provider.clone(), 1e6))),
    ];
    for (name, stack) in stacks {
        println!("stack: {name}");
        check_with(&*stack, capabilities).await;
    }
}

#[tokio::test]
async fn memory_conforms() {
    passes_bare_and_decorated(Arc::new(Memory::new()), Capabilities::default()).await;
}

#[tokio::test]
async fn memory_conforms_after_a_rotation() {
    let memory = Memory::new();
    memory.rotate();
    passes_bare_and_decorated(Arc::new(memory), Capabilities::default()).await;
}

#[tokio::test]
async fn keyring_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let keyring = Keyring::init(directory.path().join("keys.json"), &DataKey::generate()).unwrap();
    keyring.rotate().unwrap();
    passes_bare_and_decorated(Arc::new(keyring), Capabilities::default()).await;
}

#[tokio::test]
async fn openbao_conforms() {
    let bao = test_support::part!(openbao);
    let mount = bao.transit().await;
    passes_bare_and_decorated(Arc::new(crate::vault::vault(&bao, &mount)), Capabilities::default()).await;
}

#[tokio::test]
async fn openbao_conforms_after_a_rotation_and_with_a_second_allowed_key() {
    let bao = test_support::part!(openbao);
    let (mount, other) = (bao.transit().await, bao.transit().await);
    bao.call("POST", &format!("{mount}/keys/tokens/rotate"), serde_json::json!({})).await;
    let client = crate::vault::client(&bao, test_support::openbao::ROOT_TOKEN);
    let key = |mount: &str| format!("vault:{mount}/tokens").parse().unwrap();
    let vault = Vault::new(client, key(&mount), [key(&other)]);
    passes_bare_and_decorated(Arc::new(vault), Capabilities::default()).await;
}

#[tokio::test]
async fn aws_conforms_by_every_way_to_name_a_key() {
    let emulator = Emulator::start();
    let key = emulator.create_key_with_alias("alias/tokens").await;
    // The emulator joins a name and its value with an equals sign.
    let capabilities = Capabilities::default().without_unambiguous_contexts();
    let alias_arn = key.arn.replace(&format!("key/{}", key.id), "alias/tokens");
    for name in [key.arn.as_str(), key.id.as_str(), "alias/tokens", &alias_arn] {
        println!("key: {name}");
        let aws = Aws::from_client(emulator.kms(), name, [""; 0]);
        passes_bare_and_decorated(Arc::new(aws), capabilities).await;
    }
}

/// A second emulator that shares no code with the first. It strings contexts together, and answers damage in its own way.
#[tokio::test]
async fn aws_conforms_against_moto() {
    let moto = test_support::part!(moto);
    let config = moto.sdk_config("us-east-1");
    let admin = aws_sdk_kms::Client::new(&config);
    let arn = admin.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    let capabilities =
        Capabilities::default().without_unambiguous_contexts().without_damage_about_the_value();
    let aws = Aws::from_config(&config, arn, [""; 0]).unwrap();
    check_with(&aws, capabilities).await;
    check_with(&Caching::new(Arc::new(aws)), capabilities).await;
}
