//! The subject of an error of MariaDB or MySQL. None of the server's texts is repeated: most quote values.
//!
//! Source of the numbers: the error codes of MariaDB's and of MySQL's documentation.

use sqlx::mysql::MySqlDatabaseError;

use crate::error::{DatabaseError, Scope};

pub(in crate::database) fn read(error: &MySqlDatabaseError) -> DatabaseError {
    let (number, scope) = (error.number(), scope(error.number()));
    let is_raised = is_raised(error, scope);
    let what = match meaning(number) {
        // A trigger may give its own error any number.
        _ if is_raised && number != SIGNAL => format!("error {number}, raised in a function of the database"),
        Some(words) => format!("{words} (error {number})"),
        None => format!("error {number}"),
    };
    DatabaseError {
        message: format!("database refused: {what}"),
        code: Some(number.to_string()),
        unreachable: false,
        scope: if is_raised && scope == Scope::Whole { Scope::Row } else { scope },
    }
}

/// The number of an error that a trigger raises without naming one.
const SIGNAL: u16 = 1644;

/// Whether a trigger or a function raised the error: its SQLSTATE is of the class for users, or of one that the server itself
/// gives to no number of [`Scope::Whole`]. One that a trigger raises with the server's own state looks like the server's.
fn is_raised(error: &MySqlDatabaseError, scope: Scope) -> bool {
    const SERVERS: [&str; 6] = ["HY", "08", "25", "28", "42", "70"];
    let state = error.code().unwrap_or_default();
    let is_servers = || state.is_empty() || SERVERS.iter().any(|class| state.starts_with(class));
    state.starts_with("45") || scope == Scope::Whole && !is_servers()
}

/// The numbers that say more to an operator in words.
fn meaning(number: u16) -> Option<&'static str> {
    Some(match number {
        1021 | 1114 => "no space is left",
        1040 => "too many connections",
        1044 | 1045 | 1698 => "access denied to this user",
        1048 => "a column that must not be NULL",
        1049 => "no such database",
        1053 | 1927 => "the server ended the connection",
        1054 => "no such column",
        1062 => "a unique index holds this value already",
        1064 => "a statement that it does not understand",
        1142 | 1143 | 1227 | 1370 => "the user lacks a privilege",
        1146 => "no such table",
        1205 => "a lock was not free in time",
        1213 => "a deadlock",
        1265 | 1366 | 1406 => "a value does not fit its column",
        1290 | 1792 | 1836 => "the server takes no writes",
        1451 | 1452 => "a foreign key",
        SIGNAL => "a trigger refused the row",
        1969 | 3024 => "the statement took too long",
        3819 | 4025 => "a CHECK constraint",
        _ => return None,
    })
}

fn scope(number: u16) -> Scope {
    match number {
        // Lock wait timeout, deadlock, a row that changed since the snapshot, NOWAIT of MySQL.
        1205 | 1213 | 1020 | 3572 => Scope::Transient,
        // Privileges, tables and columns: of the table, or of something that a trigger of one row uses.
        1142 | 1143 | 1227 | 1370 | 1146 | 1054 => Scope::Unsure,
        // Resources, connections, authorization, the database, the server's state, syntax.
        1021 | 1030 | 1037 | 1038 | 1040 | 1041 | 1044 | 1045 | 1049 | 1053 | 1064 | 1114 | 1129 | 1130
        | 1290 | 1317 | 1665 | 1698 | 1792 | 1836 | 1927 => Scope::Whole,
        _ => Scope::Row,
    }
}

/// The index that a duplicate is in: `… for key 'PRIMARY'`, on MySQL with the table before it.
///
/// The value before it may contain the same words, so that the last ones count.
pub(super) fn index_of_duplicate(error: &MySqlDatabaseError) -> Option<&str> {
    if error.number() != 1062 {
        return None;
    }
    let (_, name) = error.message().trim_end_matches('\'').rsplit_once("for key '")?;
    Some(name.rsplit_once('.').map_or(name, |(_, name)| name))
}
