//! The subject of an error of SQLite, and the part of its text that may be repeated.
//!
//! Source of the codes: <https://www.sqlite.org/rescode.html>. The low byte is the primary code.

use sqlx::error::DatabaseError as _;
use sqlx::sqlite::SqliteError;

use crate::error::{DatabaseError, Scope};

const ERROR: u32 = 1;
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const TOO_BIG: u32 = 18;
const CONSTRAINT: u32 = 19;
const MISMATCH: u32 = 20;
const CONSTRAINT_TRIGGER: u32 = 1811;

pub(in crate::database) fn read(error: &SqliteError) -> DatabaseError {
    let code = error.code().map(|code| code.to_string());
    let number: u32 = code.as_deref().and_then(|code| code.parse().ok()).unwrap_or_default();
    let scope = match number & 0xff {
        BUSY | LOCKED => Scope::Transient,
        TOO_BIG | CONSTRAINT | MISMATCH => Scope::Row,
        // A missing table or column, or a function that refuses a value.
        ERROR => Scope::Unsure,
        _ => Scope::Whole,
    };
    DatabaseError { message: message(number, error.message()), code, unreachable: false, scope }
}

/// The text of a trigger's RAISE and of a function may hold a value.
fn message(number: u32, text: &str) -> String {
    const OWN_WORDS: [&str; 4] = ["no such ", "duplicate column", "near ", "incomplete input"];
    let is_own = match number {
        CONSTRAINT_TRIGGER => false,
        ERROR => OWN_WORDS.iter().any(|words| text.starts_with(words)),
        _ => true,
    };
    match number {
        _ if is_own => format!("database refused: {text} (SQLite code {number})"),
        CONSTRAINT_TRIGGER => format!("database refused: SQLite code {number}, raised in a trigger"),
        _ => format!("database refused: SQLite code {number}"),
    }
}
