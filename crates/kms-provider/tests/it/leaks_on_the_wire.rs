//! No key in any log line at any level, nor in any error, while answers that hold one arrive broken.

use std::io::Write;
use std::sync::{Arc, Mutex};

use aws_sdk_kms::types::DataKeySpec;
use envelope_core::KeyProvider;
use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::moto::Moto;
use test_support::part;
use tracing_subscriber::filter::LevelFilter;

use crate::behind_a_proxy::{REGION, Stack};
use crate::leaks::assert_silent;
use crate::support::{row, told, wrapped};

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// On one thread, which is the one whose log lines are kept.
#[tokio::test]
async fn a_key_in_an_answer_that_arrives_broken_is_in_no_error_and_no_log_line() {
    let moto = part!(moto);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);

    let (mut texts, mut keys) = (Vec::new(), Vec::new());
    for failure in [AwsFailure::Truncated, AwsFailure::Reset, AwsFailure::Garbage, AwsFailure::INTERNAL] {
        // A new one each time, whose circuit lets every attempt through.
        let stack = Stack::new(&moto).await;
        let token = wrapped(&*stack.cache, &row(1)).await;
        stack.proxy.faults().always(Fault::Fail(failure));
        texts.push(told(&stack.cache.unwrap(&token, &row(1)).await.map(drop).unwrap_err()));
        texts.push(told(&stack.cache.generate(&row(2)).await.map(drop).unwrap_err()));
        assert_eq!(stack.proxy.faults().calls("Decrypt"), 3, "{failure:?}");
        stack.proxy.faults().heal();
        stack.recovery(&token, 1).await;
        keys.push(stack.cache.unwrap(&token, &row(1)).await.unwrap());
    }
    drop(guard);

    assert!(sdk_error(&moto).await.contains("Plaintext"), "the SDK's own error does hold the answer");
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("TRACE") && logged.contains("kms_provider"), "everything is logged");
    texts.push(logged);
    for text in texts {
        // The key that `GenerateDataKey` returned is not known here, but the spelling of its field is.
        assert!(!text.contains("Plaintext"), "an answer is in: {text}");
        keys.iter().for_each(|key| assert_silent(&text, key.expose_secret()));
    }
}

/// The log of a service that passes the SDK's error on.
async fn sdk_error(moto: &Moto) -> String {
    let stack = Stack::new(moto).await;
    stack.proxy.faults().always(Fault::Fail(AwsFailure::Truncated));
    let kms = aws_sdk_kms::Client::new(&stack.proxy.sdk_config(REGION));
    let request = kms.generate_data_key().key_id(&stack.key).key_spec(DataKeySpec::Aes256);
    format!("{:?}", request.send().await.unwrap_err())
}
