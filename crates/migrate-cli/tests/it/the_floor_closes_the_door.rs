//! The floor from outside: refused values, exit codes, and how to raise and lower it.

use serde_json::json;

use crate::support::{Program, channel, count_version, fill};

on_each_database! {
    async fn a_migrated_table_is_closed_and_a_rollback_says_so_first(db) {
        fill(&db, 4).await;
        let mut program = Program::on(&db);
        let status = program.json(0, &["status"]);
        assert_eq!((&status["floor"], &status["below_floor"]), (&json!("any"), &json!(0)));
        program.run(&["status", "--check"]).expect(4);
        program.set("READ_FLOOR", "bound");
        let status = program.json(4, &["status", "--check"]);
        assert_eq!((&status["floor"], &status["below_floor"]), (&json!("bound"), &json!(4)));
        // Closed too early, the rows are named and not moved.
        let early = program.json(3, &["migrate"]);
        assert_eq!((&early["failed"], &early["migrated"]), (&json!(4), &json!(0)));
        assert_eq!(early["failures"][0]["class"], "below_floor");
        let get = ["get", "--row", &format!("provider=twitch,channel={}", channel(0)), "--column", "access_token"];
        let refused = program.run(&get);
        refused.expect(3);
        let moved = program.json(0, &["migrate", "--below-floor"]);
        assert_eq!(moved["migrated"], 4);
        assert_eq!(program.json(0, &["status", "--check"])["below_floor"], 0);
        assert_eq!(program.json(0, &["verify"])["failed"], 0);
        program.run(&get).expect(0);

        for back in [&["rollback"][..], &["migrate", "--to", "direct-aes"]] {
            program.run(back).expect(2);
        }
        assert_eq!(count_version(&db, 2).await, 4, "nothing was written below the floor");
        program.json(0, &["rollback", "--below-floor"]);
        assert_eq!(count_version(&db, 1).await, 4);
        let verified = program.json(4, &["verify"]);
        assert_eq!(verified["failed"], verified["below_floor"]);
        program.run(&get).expect(3);
        program.set("READ_FLOOR", "any").run(&get).expect(0);
    }

    async fn settings_that_write_below_the_floor_are_refused(db) {
        fill(&db, 1).await;
        let refused = |changes: &[(&str, &str)]| {
            let mut program = Program::on(&db);
            for (name, value) in changes {
                program.set(name, value);
            }
            program.run(&["status"]).expect(2);
        };
        refused(&[("READ_FLOOR", "bound"), ("KMS_FALLBACK", "local")]);
        refused(&[("READ_FLOOR", "envelope"), ("KMS_FALLBACK", "local")]);
        refused(&[("READ_FLOOR", "bound"), ("BINDING", "off")]);
        refused(&[("BINDING", "require"), ("PLAINTEXT_POLICY", "forbid"), ("KMS_FALLBACK", "local")]);
        for word in ["Bound", "none", "strict", "bound,any"] {
            refused(&[("READ_FLOOR", word)]);
        }
        let mut program = Program::on(&db);
        program.set("READ_FLOOR", "envelope").set("BINDING", "off").run(&["status"]).expect(0);
        program.unset("KMS_KEY_ID").run(&["verify"]).expect(2);
        program.run(&["status"]).expect(0);
    }

    async fn require_and_forbid_verify_nothing_but_bound_envelopes(db) {
        fill(&db, 3).await;
        let mut program = Program::on(&db);
        program.set("BINDING", "require").set("PLAINTEXT_POLICY", "forbid").set("READ_FLOOR", "any");
        assert_eq!(program.json(0, &["status"])["floor"], "bound");
        program.run(&["verify"]).expect(4);
        program.json(0, &["migrate", "--below-floor"]);
        assert_eq!(program.json(0, &["verify"])["ok"], 6);
    }
}
