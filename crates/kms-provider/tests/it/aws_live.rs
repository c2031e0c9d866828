//! The suite against AWS itself; run by `cargo xtask aws-live`, with credentials and a key to use.

use envelope_core::conformance::check;
use envelope_core::{EncryptionContext, ErrorClass, KeyProvider};
use kms_provider::{Aws, Caching};
use std::sync::Arc;

async fn aws(key: &str) -> Aws {
    Aws::connect(key, std::iter::empty::<String>()).await.unwrap()
}

fn key() -> String {
    std::env::var("KMS_TEST_KEY_ID").unwrap()
}

#[tokio::test]
#[ignore = "needs an AWS account: cargo xtask aws-live"]
async fn aws_live_conforms() {
    check(&aws(&key()).await).await;
}

#[tokio::test]
#[ignore = "needs an AWS account: cargo xtask aws-live"]
async fn aws_live_conforms_behind_a_cache() {
    check(&Caching::new(Arc::new(aws(&key()).await))).await;
}

#[tokio::test]
#[ignore = "needs an AWS account: cargo xtask aws-live"]
async fn aws_live_reports_a_key_that_does_not_exist() {
    let nobody = aws("alias/tokenseal-no-such-key").await;
    let context = EncryptionContext::new([("Purpose", "test")]).unwrap();
    let class = nobody.generate(&context).await.unwrap_err().class();
    // An identity that may use one key only cannot find out whether there are others.
    assert!(matches!(class, ErrorClass::NotFound | ErrorClass::Denied), "{class}");
}
