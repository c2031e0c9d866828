//! After `fork`, parent and child draw different keys, nonces and message ids: a generator of the process would not.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use envelope_core::correlation::CorrelationId;
use envelope_core::format::bound::{self, Suite};
use envelope_core::format::{direct_aes, kms_envelope, node_json, pulseplan_local};
use envelope_core::{Binding, DataKey, Purpose, WrappedDataKey};
use fork::Fork;

use crate::support::memory::OneKey;

/// The file in which the forking process writes its random bytes.
const DIRECTORY: &str = "TOKENSEAL_TEST_FORK";

/// One of everything that is random, as text.
fn draw(ring: &OneKey) -> Vec<String> {
    let (key, wrapped) = (&*ring.1, WrappedDataKey::new(*b"wrapped", None).unwrap());
    let binding = Binding::new("t", "c").key("id", "1");
    let (fresh, nonce) = DataKey::generate_with_nonce();
    vec![
        hex::encode(DataKey::generate().expose_secret()),
        hex::encode(fresh.expose_secret()),
        hex::encode(nonce),
        CorrelationId::random().to_string(),
        direct_aes::seal(key, "x"),
        kms_envelope::seal(key, &wrapped, "x"),
        bound::seal(Suite::Aes256Gcm, key, &wrapped, &binding, b"x").unwrap(),
        node_json::seal(ring, Purpose::Secret, None, b"x", 0),
        node_json::seal_unlabelled(ring, None, b"x", 0),
        pulseplan_local::seal(key, std::num::NonZeroU32::MIN, "x"),
    ]
}

#[test]
fn parent_and_child_draw_different_keys_nonces_and_message_ids() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return draw_on_both_sides(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    // A process of its own, in which nothing else runs while it forks.
    let test =
        "forked_processes_share_no_randomness::parent_and_child_draw_different_keys_nonces_and_message_ids";
    let mut program = Command::new(std::env::current_exe().unwrap());
    let done = program.args([test, "--exact", "--test-threads=1"]).env(DIRECTORY, directory.path()).output();
    assert!(done.as_ref().is_ok_and(|done| done.status.success()), "{done:?}");
    let drawn = |side: &str| std::fs::read_to_string(directory.path().join(side)).unwrap();
    let (parent, child) = (drawn("parent"), drawn("child"));
    let lines: Vec<&str> = parent.lines().chain(child.lines()).collect();
    let kinds = draw(&OneKey::generate()).len();
    assert_eq!(lines.len(), 2 * kinds);
    assert_eq!(
        lines.iter().collect::<HashSet<_>>().len(),
        lines.len(),
        "both sides drew the same: {lines:?}"
    );
}

fn draw_on_both_sides(directory: &Path) {
    let ring = OneKey::generate();
    // A generator that is set up at its first use is set up before the fork.
    let _ = draw(&ring);
    let write = |side: &str| std::fs::write(directory.join(side), draw(&ring).join("\n")).unwrap();
    match fork::fork().unwrap() {
        Fork::Child => {
            write("child");
            std::process::exit(0);
        }
        Fork::Parent(child) => {
            write("parent");
            fork::waitpid(child).unwrap();
        }
    }
}
