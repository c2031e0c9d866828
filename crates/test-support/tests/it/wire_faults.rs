//! The proxy breaks real connections on demand, and restores them.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::part;
use test_support::proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A client that makes one attempt.
fn kms(proxy: &Proxy) -> aws_sdk_kms::Client {
    let config = proxy.sdk_config("us-east-1").to_builder();
    let retries = aws_sdk_kms::config::retry::RetryConfig::disabled();
    aws_sdk_kms::Client::new(&config.retry_config(retries).build())
}

async fn connects(proxy: &Proxy) -> std::io::Result<TcpStream> {
    TcpStream::connect(proxy.endpoint().trim_start_matches("http://")).await
}

#[tokio::test]
async fn calls_go_through_and_are_counted_by_operation() {
    let moto = part!(moto);
    let proxy = Proxy::start(moto.endpoint());
    let kms = kms(&proxy);
    let key = kms.create_key().send().await.expect("a key").key_metadata.expect("its data").key_id;
    for _ in 0..3 {
        kms.describe_key().key_id(&key).send().await.expect("the same key");
    }
    let error = kms.describe_key().key_id("none").send().await.expect_err("no such key");
    assert_eq!(error.code(), Some("NotFoundException"), "errors go through too");
    assert_eq!((proxy.faults().calls("CreateKey"), proxy.faults().calls("DescribeKey")), (1, 4));
}

#[tokio::test]
async fn a_refused_connection_is_refused_by_the_system_and_the_same_port_serves_again() {
    let moto = part!(moto);
    let proxy = Proxy::start(moto.endpoint());
    let kms = kms(&proxy);
    for _ in 0..3 {
        kms.list_keys().send().await.expect("keys");
        let mut idle = connects(&proxy).await.expect("a connection");
        proxy.faults().always(Fault::Fail(AwsFailure::Refused));
        proxy.settled().await;
        let error = connects(&proxy).await.expect_err("nothing listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(matches!(idle.read(&mut [0; 1]).await, Ok(0) | Err(_)), "open connections are closed");
        let error = kms.list_keys().send().await.expect_err("nothing listens");
        assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
        proxy.faults().heal();
        proxy.settled().await;
    }
    assert_eq!(proxy.faults().calls("ListKeys"), 3);
    let endpoint = proxy.endpoint().to_owned();
    drop(proxy);
    let start = Instant::now();
    while TcpStream::connect(endpoint.trim_start_matches("http://")).await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(5), "a dropped proxy is gone soon");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_reset_comes_in_the_middle_of_the_answer() {
    let moto = part!(moto);
    let proxy = Proxy::start(moto.endpoint());
    kms(&proxy).create_key().send().await.expect("a key");
    proxy.faults().always_for("ListKeys", Fault::Fail(AwsFailure::Reset));
    let mut stream = connects(&proxy).await.expect("a connection");
    let request = "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: TrentService.ListKeys\r\n\
                   Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/kms/aws4_request\r\n\
                   Content-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut received = Vec::new();
    let error = stream.read_to_end(&mut received).await.expect_err("no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let text = String::from_utf8(received).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
    let announced = head.to_lowercase().split_once("content-length: ").map(|(_, rest)| rest.to_owned());
    let announced = announced.expect("a length").lines().next().map(str::parse::<usize>);
    assert_eq!(announced, Some(Ok(body.len() * 2)), "{text}");
    kms(&proxy).list_aliases().send().await.expect("other operations work");
}

#[tokio::test]
async fn a_truncated_answer_arrives_as_an_answer_that_is_no_json() {
    let moto = part!(moto);
    let proxy = Proxy::start(moto.endpoint());
    proxy.faults().always(Fault::Fail(AwsFailure::Truncated));
    let error = kms(&proxy).list_keys().send().await.expect_err("no JSON");
    let answer = error.raw_response().expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    let body = answer.body().bytes().expect("a body");
    assert!(body.starts_with(b"{") && !body.ends_with(b"}"), "{}", String::from_utf8_lossy(body));
}

#[tokio::test]
async fn faults_of_the_service_reach_the_client_as_they_do_in_process() {
    let moto = part!(moto);
    let proxy = Proxy::start(moto.endpoint());
    let kms = kms(&proxy);
    proxy.faults().next(1, Fault::Fail(AwsFailure::DISABLED));
    let error = kms.list_keys().send().await.expect_err("a made-up answer");
    assert_eq!(error.code(), Some("DisabledException"));
    for failure in [AwsFailure::Status(503), AwsFailure::Garbage, AwsFailure::Refused] {
        proxy.faults().next_for("ListKeys", 1, Fault::Fail(failure));
        kms.list_keys().send().await.expect_err("broken");
        kms.list_keys().send().await.expect("whole again");
    }
    proxy.faults().next(1, Fault::Delay(Duration::from_millis(200)));
    let start = Instant::now();
    kms.list_keys().send().await.expect("late");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_hanging_call_is_taken_and_never_answered_until_the_port_closes() {
    let moto = part!(moto);
    let proxy = Proxy::start(moto.endpoint());
    proxy.faults().always(Fault::Hang);
    let mut call = Box::pin(kms(&proxy).list_keys().send());
    let early = timeout(Duration::from_millis(300), &mut call).await;
    assert!(early.is_err(), "no answer");
    assert_eq!(proxy.faults().calls("ListKeys"), 1, "but taken");
    proxy.faults().instead(Fault::Fail(AwsFailure::Refused));
    let error = timeout(Duration::from_secs(5), call).await.expect("an end").expect_err("reset");
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{}", DisplayErrorContext(error));
}
