//! `gate` lets a rollout continue only if each of its numbers exists and is within its limit; `load` makes
//! some.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Program, fill};

/// Answers every request with what this returns for its first line; until the test ends.
fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap();
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let body = answer(text.lines().next().unwrap_or_default());
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    format!("http://{address}")
}

/// A scrape of a healthy process; each number can be another one.
#[derive(Clone, Copy)]
struct Scrape {
    failed: u32,
    refreshed: u32,
    not_refreshed: u32,
    secret_failures: u32,
    seconds: f64,
}

const HEALTHY: Scrape =
    Scrape { failed: 1, refreshed: 99, not_refreshed: 1, secret_failures: 0, seconds: 2.0 };

impl Scrape {
    fn text(self) -> String {
        let Self { failed, refreshed, not_refreshed, secret_failures, seconds } = self;
        format!(
            "vod_kms_decrypt_errors_total{{class=\"denied\"}} {failed}\nvod_kms_cache_hits_total 900\n\
             vod_kms_requests_total{{operation=\"unwrap\"}} 100\nvod_kms_requests_total{{operation=\"generate\"}} 7\n\
             vod_token_refreshes_total{{outcome=\"ok\"}} {refreshed}\n\
             vod_token_refreshes_total{{outcome=\"failed\"}} {not_refreshed}\n\
             secrets_accesses_total{{source=\"x\",operation=\"get\",outcome=\"ok\"}} 100\n\
             secrets_failures_total{{class=\"denied\"}} {secret_failures}\n\
             vod_kms_decrypt_duration_seconds_sum {seconds}\nvod_kms_decrypt_duration_seconds_count 100\n# EOF\n"
        )
    }
}

#[track_caller]
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn failed(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false);
    checks.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
}

const ALL: [&str; 4] = ["error_rate", "refresh_success", "secret_failures", "latency_increase"];

#[test]
fn without_data_it_is_never_go() {
    let program = Program::bare();
    let nothing = serve(|_| "# nothing\n".into());
    let zeros = serve(|_| {
        let zero = Scrape { failed: 0, refreshed: 0, not_refreshed: 0, secret_failures: 0, seconds: 0.0 };
        zero.text().replace(" 900", " 0").replace(" 100", " 0")
    });
    let empty =
        serve(|_| "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[]}}".into());
    let nonsense = serve(|_| "<html>".into());
    for args in [
        ["--metrics", "http://127.0.0.1:9/metrics"],
        ["--metrics", &nothing],
        ["--metrics", &zeros],
        ["--prometheus", "http://127.0.0.1:9"],
        ["--prometheus", &empty],
        ["--prometheus", &nonsense],
    ] {
        let report = program.json(4, &["gate", args[0], args[1]]);
        assert_eq!(
            (&report["go"], failed(&report)),
            (&json!(false), ALL.map(String::from).to_vec()),
            "{args:?}"
        );
        assert!(
            report["checks"].as_array().unwrap().iter().all(|check| check["value"].is_null()),
            "{report}"
        );
    }
    let skipped = ["gate", "--metrics", &nothing, "--skip", "error_rate", "--skip", "refresh_success"];
    let report = program
        .json(4, &[&skipped[..], &["--skip", "secret_failures", "--skip", "latency_increase"]].concat());
    assert_eq!(
        (&report["go"], &report["checks"]),
        (&json!(false), &json!([])),
        "to look at nothing is no data"
    );
    program.run(&["gate"]).expect(2);
    program.run(&["gate", "--metrics", &nothing, "--max-error-rate", "5"]).expect(2);
}

#[test]
fn a_healthy_process_is_go_and_each_trigger_alone_is_no_go() {
    let program = Program::bare();
    let now = Arc::new(Mutex::new(HEALTHY));
    let served = now.clone();
    let url = serve(move |_| served.lock().unwrap().text());
    let gate = ["gate", "--metrics", &url, "--baseline", "before.json"];
    let first = program.json(4, &gate);
    assert_eq!(failed(&first), ["latency_increase"], "nothing to compare with before the first run");
    let report = program.json(0, &gate);
    assert_eq!(report["go"], true);
    assert_eq!(check(&report, "error_rate")["value"], 0.001);
    assert_eq!(check(&report, "refresh_success")["value"], 0.99);
    assert_eq!(check(&report, "latency_increase")["limit"], 0.2);
    for (scrape, name) in [
        (Scrape { failed: 60, ..HEALTHY }, "error_rate"),
        (Scrape { not_refreshed: 20, ..HEALTHY }, "refresh_success"),
        (Scrape { secret_failures: 6, ..HEALTHY }, "secret_failures"),
        (Scrape { seconds: 2.5, ..HEALTHY }, "latency_increase"),
    ] {
        *now.lock().unwrap() = scrape;
        let report = program.json(4, &gate);
        assert_eq!((&report["go"], failed(&report)), (&json!(false), vec![name.to_owned()]));
        let skipped = program.json(0, &[&gate[..], &["--skip", name]].concat());
        assert_eq!((&skipped["go"], &skipped["skipped"]), (&json!(true), &json!([name])));
    }
    *now.lock().unwrap() = Scrape { failed: 60, ..HEALTHY };
    program.run(&[&gate[..], &["--max-error-rate", "0.07"]].concat()).expect(0).says(&["go"]);
    // Over a window in which nothing happened there is no data.
    assert_eq!(failed(&program.json(4, &[&gate[..], &["--window", "1s"]].concat())), ALL);
    std::fs::write(program.path().join("before.json"), "{}").unwrap();
    program.run(&gate).expect(2).says(&["before.json"]);
}

#[test]
fn prometheus_is_asked_for_the_profile_the_window_and_the_day_before() {
    let program = Program::bare();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let asked = seen.clone();
    let url = serve(move |request| {
        asked.lock().unwrap().push(request.to_owned());
        let value = match request {
            request if request.contains("errors_total") || request.contains("failures_total") => "1",
            request if request.contains("failed") => "2",
            request if request.contains("duration_seconds_sum") => "3.5",
            _ => "100",
        };
        format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{{\"metric\":{{}},\"value\":[1,\"{value}\"]}}]}}}}"
        )
    });
    let report =
        program.json(0, &["gate", "--prometheus", &url, "--match", "version=\"canary\"", "--window", "10m"]);
    assert_eq!((&report["go"], &check(&report, "latency_increase")["value"]), (&json!(true), &json!(0.0)));
    let seen = seen.lock().unwrap();
    assert!(
        seen.iter().all(|request| request.contains("/api/v1/query?query=") && request.contains("canary"))
    );
    let of = |part: &str| seen.iter().filter(|request| request.contains(part)).count();
    assert_eq!((of("%5B600s%5D"), of("offset")), (9, 2), "{seen:?}");
}

on_each_database! {
    async fn load_reports_times_errors_and_the_hit_rate(db) {
        fill(&db, 10).await;
        let program = Program::on(&db);
        program.run(&["migrate"]).expect(0);
        let report = program.json(0, &["load", "--readers", "4", "--for", "1s"]);
        assert!(report["reads"].as_u64().unwrap() > 10, "{report}");
        assert_eq!(report["errors"], 0);
        assert!(report["hit_rate"].as_f64().unwrap() > 0.5, "{report}");
        assert!(report["p99_ms"].as_f64().unwrap() >= report["p50_ms"].as_f64().unwrap(), "{report}");
        db.execute("UPDATE oauth_tokens SET access_token = 'kms:v2:broken'").await;
        let report = program.json(3, &["load", "--readers", "2", "--for", "100ms"]);
        assert_eq!(report["errors"], report["reads"]);
        db.execute("DELETE FROM oauth_tokens").await;
        program.run(&["load", "--for", "1s"]).expect(2).says(&["no row"]);
    }
}
