//! The user that a rotation makes is bound by the demands, limits and settings of the first one.

use secrets_cache::Stage;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};
use test_support::part;
use tokio::task::block_in_place;

use crate::credentials_rotate_without_a_failed_login::{
    STEPS, on_mariadb, on_postgresql, pg, run_pg, token, users,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_second_user_of_postgresql_has_the_limits_and_settings_of_the_first() {
    let (database, moto) = (part!(postgres), part!(moto));
    let rotating = on_postgresql(&moto, &database).await;
    let (user, name) = (users(database.name()).0, database.name());
    let mut server = PgConnection::connect(database.url()).await.unwrap();
    let until = "2099-01-02 03:04:05+00";
    run_pg(
        &mut server,
        format!(
            "ALTER ROLE {user} SET search_path TO app, \"$user\", \"a, \"\"b\"; ALTER ROLE {user} SET statement_timeout TO '7s'; \
             ALTER ROLE {user} IN DATABASE {name} SET statement_timeout TO '9s'; \
             ALTER ROLE {user} SET application_name TO 'it''s'; ALTER ROLE {user} CONNECTION LIMIT 7 VALID UNTIL '{until}'"
        ),
    )
    .await;
    block_in_place(|| rotating.rotate(&token(1)));
    let settings = "SELECT coalesce(d.datname::text, '') || ':' || c.setting FROM pg_db_role_setting s \
                    JOIN pg_roles r ON r.oid = s.setrole CROSS JOIN LATERAL unnest(s.setconfig) AS c (setting) \
                    LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE r.rolname = $1 AND c.setting NOT LIKE 'role=%' \
                    ORDER BY 1";
    let limits =
        "SELECT rolconnlimit || ' ' || coalesce(rolvaliduntil::text, '') FROM pg_roles WHERE rolname = $1";
    let clone = format!("{user}_clone");
    for query in [settings, limits] {
        let mut read = Vec::new();
        for user in [&user, &clone] {
            let rows: Vec<String> =
                sqlx::query_scalar(query).bind(user.clone()).fetch_all(&mut server).await.unwrap();
            assert!(!rows.is_empty());
            read.push(rows);
        }
        assert_eq!(read[0], read[1]);
    }
    let mut second = pg(rotating.value(&Stage::Current).await).await.unwrap();
    let timeout: String = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&mut second).await.unwrap();
    let path: String = sqlx::query_scalar("SHOW search_path").fetch_one(&mut second).await.unwrap();
    assert_eq!((timeout.as_str(), path.as_str()), ("9s", "app, \"$user\", \"a, \"\"b\""));
    // A setting that the first user no longer has goes at the next rotation but one.
    run_pg(&mut server, format!("ALTER ROLE {user} RESET ALL")).await;
    block_in_place(|| {
        rotating.rotate(&token(2));
        rotating.rotate(&token(3));
    });
    let rows: Vec<String> = sqlx::query_scalar(settings).bind(clone).fetch_all(&mut server).await.unwrap();
    assert_eq!(rows, [format!("{name}:statement_timeout=9s")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_second_user_of_mariadb_has_the_demands_and_limits_of_the_first() {
    let (database, moto) = (part!(mariadb), part!(moto));
    let (rotating, user) = on_mariadb(&moto, &database).await;
    let mut server = MySqlConnection::connect(database.url()).await.unwrap();
    let accounts = [user.clone(), format!("{user}_clone")];
    let columns = "SELECT CAST(CONCAT_WS('|', ssl_type, ssl_cipher, x509_issuer, x509_subject, max_questions, max_updates, \
                   max_connections, max_user_connections, max_statement_time) AS CHAR) FROM mysql.user WHERE User = ?";
    for (round, (demand, steps)) in (0_u8..).zip([
        ("REQUIRE NONE WITH MAX_USER_CONNECTIONS 50 MAX_STATEMENT_TIME 2.5", &STEPS[..]),
        // The server of the test has no TLS: the new user is only made.
        ("REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 900 MAX_USER_CONNECTIONS 0", &STEPS[..2]),
        ("REQUIRE SUBJECT '/CN=a, b' AND ISSUER '/C=x'", &STEPS[..2]),
    ]) {
        let demanded = format!("ALTER USER '{user}'@'%' {demand}");
        sqlx::raw_sql(AssertSqlSafe(demanded)).execute(&mut server).await.unwrap();
        // Each round begins with the first user as the current one.
        let (first, second) = (token(10 + 2 * round), token(11 + 2 * round));
        block_in_place(|| steps.iter().for_each(|step| drop(rotating.step(step, &first, 0))));
        let mut read = Vec::new();
        for account in &accounts {
            let row: String =
                sqlx::query_scalar(columns).bind(account.clone()).fetch_one(&mut server).await.unwrap();
            read.push(row);
        }
        assert_eq!(read[0], read[1], "{demand}");
        if steps.len() == STEPS.len() {
            block_in_place(|| rotating.rotate(&second));
        }
    }
    for account in [&accounts[0], &accounts[1], &format!("a{user}")] {
        let drop = format!("DROP USER IF EXISTS '{account}'@'%'");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut server).await.unwrap();
    }
}
