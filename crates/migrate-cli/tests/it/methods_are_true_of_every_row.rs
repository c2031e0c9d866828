//! The old plan's validation query, by version and method, shows one row for each version.

use serde_json::json;

use crate::support::{Program, Sql, create_vod_tender, insert_vod, stored};

const QUERY: &str = "SELECT CAST(encryption_version AS text), encryption_method, CAST(count(*) AS text) FROM oauth_tokens \
                     GROUP BY encryption_version, encryption_method ORDER BY 1, 2";

async fn shown(db: &Sql) -> Vec<(String, String, String)> {
    let text = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "NULL".into());
    db.rows(QUERY).await.iter().map(|row| (text(&row[0]), text(&row[1]), text(&row[2]))).collect()
}

fn row(version: &str, method: &str, count: &str) -> (String, String, String) {
    (version.into(), method.into(), count.into())
}

on_each_database! {
    async fn after_a_migration_a_rollback_and_a_write(db) {
        create_vod_tender(&db).await;
        db.execute("ALTER TABLE oauth_tokens ADD COLUMN encryption_method TEXT DEFAULT 'direct'").await;
        for (channel, version) in [("a", 0), ("b", 0), ("c", 1), ("d", 1)] {
            insert_vod(&db, channel, version, &format!("access {channel}"), &format!("refresh {channel}")).await;
        }
        db.execute("UPDATE oauth_tokens SET encryption_method = NULL WHERE channel IN ('b', 'd')").await;
        let mut program = Program::on(&db);
        assert_eq!(program.json(0, &["migrate"])["migrated"], 4);
        assert_eq!(shown(&db).await, [row("2", "kms-envelope", "4")]);

        // Rows of version 2 as an older program left them: their tokens are not touched.
        db.execute("UPDATE oauth_tokens SET encryption_method = 'direct' WHERE channel = 'a'").await;
        db.execute("UPDATE oauth_tokens SET encryption_method = NULL WHERE channel = 'b'").await;
        let before = stored(&db).await;
        assert_eq!(program.json(0, &["migrate", "--dry-run"])["corrected"], 2);
        let report = program.json(0, &["migrate"]);
        assert_eq!((&report["corrected"], &report["already"], &report["migrated"]), (&json!(2), &json!(4), &json!(0)));
        assert_eq!((&report["values"], &report["kms_calls"]), (&json!(0), &json!(0)));
        assert_eq!(stored(&db).await, before);
        assert_eq!(shown(&db).await, [row("2", "kms-envelope", "4")]);
        assert_eq!(program.json(0, &["migrate"])["corrected"], 0);

        // Also of a new row, with any default of the column; the default stays.
        program.unset("KMS_KEY_ID").unset("ENCRYPTION_KEY");
        program.feed(&["put", "--row", "provider=twitch,channel=e"], "readable").expect(0);
        assert_eq!(shown(&db).await, [row("0", "plaintext", "1"), row("2", "kms-envelope", "4")]);
        let mut program = Program::on(&db);
        program.set("KMS_KEY_ID", "keyring:keyring.json");
        insert_vod(&db, "f", 0, "x", "y").await;
        let default = db.rows("SELECT encryption_method FROM oauth_tokens WHERE channel = 'f'").await;
        assert_eq!(default[0][0].as_deref(), Some("direct"), "an existing default is kept");
    }
}
