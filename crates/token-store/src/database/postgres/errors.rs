//! The subject of an error of PostgreSQL, and the part of its text that may be repeated.
//!
//! Source of the codes: appendix A of PostgreSQL's documentation.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::error::{DatabaseError, Scope};

pub(in crate::database) fn read(error: &PgDatabaseError) -> DatabaseError {
    let code = error.code();
    DatabaseError {
        message: message(error),
        code: Some(code.to_owned()),
        unreachable: false,
        scope: match scope(code) {
            Scope::Whole if is_of_user(error) => Scope::Row,
            scope => scope,
        },
    }
}

/// Whether a function of the user raised the error for a reason of its own, whatever code it chose. The server's own errors
/// while a function runs have its context too: those about resources, and those that end the session, are the server's.
fn is_of_user(error: &PgDatabaseError) -> bool {
    const SERVERS: [&str; 3] = ["53", "57", "58"];
    if error.severity() != PgSeverity::Error {
        return false;
    }
    let may_be_servers = SERVERS.iter().any(|class| error.code().starts_with(class));
    error.routine() == Some("exec_stmt_raise") || error.r#where().is_some() && !may_be_servers
}

/// A function or a constraint that refuses a value quotes it; only the server's own words about anything else are
/// repeated.
fn message(error: &PgDatabaseError) -> String {
    let code = error.code();
    let is_raised = error.r#where().is_some() || error.routine() == Some("exec_stmt_raise");
    let is_about_values = ["22", "23", "44", "P0"].iter().any(|class| code.starts_with(class));
    if !is_raised && !is_about_values {
        return format!("database refused: {} (SQLSTATE {code})", error.message());
    }
    let mut message = format!("database refused: SQLSTATE {code}");
    // An error that a function raises may carry a value in any of its fields.
    if is_raised {
        message.push_str(", raised in a function of the database");
        return message;
    }
    let names = [("constraint", error.constraint()), ("column", error.column()), ("table", error.table())];
    for (what, name) in names {
        if let Some(name) = name {
            message.push_str(&format!(", {what} {name:?}"));
        }
    }
    message
}

fn scope(code: &str) -> Scope {
    match code {
        // deadlock_detected, serialization_failure, lock_not_available.
        "40P01" | "40001" | "55P03" => Scope::Transient,
        // insufficient_privilege, undefined_table, undefined_column, invalid_schema_name: of the table, or of something
        // that a trigger of one row uses.
        "42501" | "42P01" | "42703" | "3F000" => Scope::Unsure,
        // query_canceled: one row may be what takes so long.
        "57014" => Scope::Row,
        _ => match code.get(..2) {
            // Connection, transaction state, authorization, catalog name, resources, operator, system.
            Some("08" | "25" | "28" | "3D" | "53" | "57" | "58") => Scope::Whole,
            _ => Scope::Row,
        },
    }
}
