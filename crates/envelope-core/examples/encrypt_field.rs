//! Seals an e-mail address for its row, opens it there, and shows that it opens nowhere else.

use std::sync::Arc;

use envelope_core::field::{FieldKeys, decrypt_field, encrypt_field};
use envelope_core::format::node_json::DataKeyRing;
use envelope_core::{Binding, DataKey};
use secrecy::ExposeSecret;

/// A ring of one key. A service would load its keys from a key file, or use `FieldKeys::Provider` with a key service.
struct OneKey(Arc<DataKey>);

impl DataKeyRing for OneKey {
    fn data_key(&self, id: &str) -> Option<Arc<DataKey>> {
        (id == "2025-01").then(|| self.0.clone())
    }

    fn active(&self) -> (String, Arc<DataKey>) {
        ("2025-01".into(), self.0.clone())
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example shows something")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ring = OneKey(Arc::new(DataKey::generate()));
    let keys = FieldKeys::Ring(&ring);
    let ada = Binding::new("customers", "email").key("id", "7").owner("tenant", "acme");

    let stored = encrypt_field(keys, &ada, "ada@example.org").await?;
    println!("stored: {stored}");

    let opened = decrypt_field(keys, &ada, &stored).await?;
    println!("in its own row: {}", opened.expose_secret());

    let other_row = Binding::new("customers", "email").key("id", "8").owner("tenant", "acme");
    match decrypt_field(keys, &other_row, &stored).await {
        Ok(_) => Err("a copied value opened".into()),
        Err(error) => {
            println!("in another row: {error}");
            Ok(())
        }
    }
}
