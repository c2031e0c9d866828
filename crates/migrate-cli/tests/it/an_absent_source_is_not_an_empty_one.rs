//! A mount or a namespace that is not there is a failure of the source: nothing is replaced, started or restarted by it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use test_support::part;
use tokio::task::block_in_place;

use crate::support::place::Place;
use crate::support::signal;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_that_is_not_there_replaces_no_backup_and_starts_no_program() {
    let bao = part!(openbao);
    let place = Place::on_openbao(&bao).await;
    block_in_place(|| {
        assert!(place.run(&["set", "A"], "canary").status.success());
        place.json(&["backup", "saved"], 0);
        let saved = std::fs::read(place.path().join("saved")).unwrap();
        let run = |arguments: &[&str], namespace: Option<&str>, source: &str| {
            let mut command: Command = place.command(&[&["--source", source], arguments].concat());
            command.envs(namespace.map(|namespace| ("VAULT_NAMESPACE", namespace)));
            command.stdin(Stdio::null()).output().unwrap()
        };
        let own = place.source()[1].clone();
        for (namespace, source) in
            [(None, "vault:no-such-mount/app"), (Some("no-such-namespace"), own.as_str())]
        {
            for arguments in [
                &["backup", "saved", "--overwrite"][..],
                &["list"],
                &["exec", "--", "sh", "-c", "echo started"],
                &["get", "A"],
            ] {
                let output = run(arguments, namespace, source);
                assert_eq!(output.status.code(), Some(5), "{source} {arguments:?}: {output:?}");
                assert!(!String::from_utf8_lossy(&output.stdout).contains("started"), "{output:?}");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(said.contains("does not exist") && said.contains("VAULT_NAMESPACE"), "{said}");
            }
            let doctor = run(&["doctor", "--format", "json"], namespace, source);
            assert_ne!(doctor.status.code(), Some(0), "{doctor:?}");
            assert_eq!(std::fs::read(place.path().join("saved")).unwrap(), saved, "the backup is as it was");
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_keeps_running_when_its_mount_goes() {
    let bao = part!(openbao);
    let place = Place::on_openbao(&bao).await;
    let log = place.path().join("log");
    let mut child = block_in_place(|| {
        assert!(place.run(&["set", "A"], "canary").status.success());
        let script = "echo started:${A:-none} >> log; exec sleep 600";
        let arguments = ["exec", "--watch", "--watch-interval", "200ms", "--", "sh", "-c", script];
        place.command(&arguments).stdin(Stdio::null()).spawn().unwrap()
    });
    let limit = Instant::now() + Duration::from_secs(60);
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains("started")) {
        assert!(Instant::now() < limit, "it does not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said = BufReader::new(child.stderr.take().unwrap());
    let mount = place.source()[1].trim_start_matches("vault:").split('/').next().unwrap().to_owned();
    bao.call("DELETE", &format!("sys/mounts/{mount}"), Value::Null).await;
    // Several checks have met the failure.
    let is_kept = |line: &String| line.contains("the program keeps the secrets that it has");
    let failed = block_in_place(|| said.lines().map_while(Result::ok).filter(is_kept).take(3).count());
    assert_eq!(failed, 3);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "started:canary\n", "no restart without secrets");
    assert!(child.try_wait().unwrap().is_none(), "it is still running");
    signal(&child, "TERM");
    block_in_place(|| child.wait().unwrap());
}
