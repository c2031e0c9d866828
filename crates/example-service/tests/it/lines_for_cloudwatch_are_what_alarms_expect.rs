//! The lines that the service prints for CloudWatch are of the metrics that the alarms in `infra/` are made on.

use std::time::Duration;

use crate::support::{Place, put};
use test_support::emf::{Line, expected};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_name_unit_and_dimension() {
    let mut place = Place::on_keyring().await;
    put(&place.other_program(place.keyring()).await, "mine").await;
    let service = place.set("EMF_METRICS", "1s").set("ENVIRONMENT", "staging").start().await;
    assert_eq!(service.refresh("mine").await.status, 200);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let stopped = service.stop().await;
    assert_eq!(stopped.code, Some(0), "{}", stopped.log);

    let lines: Vec<Line> = stopped.out.lines().map(Line::parse).collect();
    assert!(lines.len() >= 2, "one a period and one at the end: {lines:?}");
    let mut printed = expected();
    printed.metrics.clear();
    for line in &lines {
        assert_eq!(line.namespace, printed.namespace);
        assert_eq!(line.dimensions.keys().collect::<Vec<_>>(), ["Application", "Environment"]);
        assert_eq!(
            (&*line.dimensions["Application"], &*line.dimensions["Environment"]),
            ("vod-tender", "staging")
        );
        printed.metrics.extend(line.metrics.iter().map(|(name, (unit, _))| (name.clone(), unit.clone())));
    }
    assert_eq!(printed, expected(), "all lines together have every metric");
    let total = |name: &str| lines.iter().map(|line| line.metrics[name].1.as_u64().unwrap()).sum::<u64>();
    assert_eq!((total("TokenRefreshes"), total("TokenRefreshErrors"), total("SecretReadErrors")), (1, 0, 0));
    assert_eq!((total("SecretReads"), total("KMSCacheMisses"), total("KMSDecryptErrors")), (1, 2, 0));
    assert_eq!(total("Heartbeat"), lines.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_none_unless_asked_for() {
    let stopped = Place::on_keyring().await.start().await.stop().await;
    assert_eq!(stopped.out, "");
}
