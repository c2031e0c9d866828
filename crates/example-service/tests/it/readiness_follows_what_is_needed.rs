//! `/readyz` is 503 while the key service or the database does not answer, and 200 when both do again.

use std::time::{Duration, Instant};

use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::proxy::Proxy;
use test_support::sql::Sql;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::{Place, Running, create_key, within};

async fn ready(service: &Running) -> (u16, String) {
    let asked = Instant::now();
    let answer = service.get("/readyz").await;
    assert!(asked.elapsed() < Duration::from_secs(10), "readiness is bounded in time");
    assert_eq!(service.get("/healthz").await.status, 200, "it is alive, even while it waits");
    (answer.status, answer.body)
}

async fn becomes(service: &Running, status: u16, body: &str) {
    let wanted = (status, body.to_owned());
    within(body, async || (ready(service).await == wanted).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_service() {
    let moto = test_support::part!(moto);
    let (key, proxy) = (create_key(&moto).await, Proxy::start(moto.endpoint()));
    let service = Place::on_aws(Sql::sqlite().await, proxy.endpoint(), &key).await.start().await;
    becomes(&service, 200, "ready\n").await;
    for fault in [
        Fault::Hang,
        Fault::Fail(AwsFailure::Refused),
        Fault::Fail(AwsFailure::DISABLED),
        Fault::Fail(AwsFailure::INTERNAL),
    ] {
        proxy.faults().always(fault);
        becomes(&service, 503, "key service does not answer\n").await;
        proxy.faults().heal();
        becomes(&service, 200, "ready\n").await;
    }
    proxy.faults().always(Fault::Fail(AwsFailure::ACCESS_DENIED));
    assert_eq!(ready(&service).await.0, 200, "who may not describe the key may still use it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_ask_the_key_service_is_seldom_asked() {
    let moto = test_support::part!(moto);
    let (key, proxy) = (create_key(&moto).await, Proxy::start(moto.endpoint()));
    let service = Place::on_aws(Sql::sqlite().await, proxy.endpoint(), &key).await.start().await;
    proxy.faults().always_for("DescribeKey", Fault::Fail(AwsFailure::DISABLED));
    becomes(&service, 503, "key service does not answer\n").await;
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(service.get("/readyz").await.status, 503);
    }
    let asked = service.value("vod_kms_describe_errors_total{class=\"disabled\"}").await;
    let most = 2.0 + begun.elapsed().as_secs_f64() / 2.0;
    assert!(asked <= most, "{asked} calls, at most {most}");
}

/// A proxy between the service and its database, until it is cut.
struct Wire {
    port: u16,
    server: String,
    task: Option<JoinHandle<()>>,
}

impl Wire {
    async fn to(server: &str) -> Self {
        let mut wire = Self { port: 0, server: server.to_owned(), task: None };
        wire.mend().await;
        wire
    }

    /// Drops the listener and every connection.
    async fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    async fn mend(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let server = self.server.clone();
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let server = server.clone();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database() {
    let database = test_support::part!(postgres);
    let mut url: url::Url = database.url().parse().unwrap();
    let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
    let mut wire = Wire::to(&server).await;
    let mut place = Place::on(Sql::postgres(database).await).await;
    url.set_ip_host("127.0.0.1".parse().unwrap()).unwrap();
    url.set_port(Some(wire.port)).unwrap();
    let service = place.set("DATABASE_URL", url.as_str()).start().await;
    becomes(&service, 200, "ready\n").await;
    wire.cut().await;
    becomes(&service, 503, "database does not answer\n").await;
    assert_eq!(service.read("anything").await.status, 503);
    wire.mend().await;
    becomes(&service, 200, "ready\n").await;
}
