//! One line of the trail: an event's fields as JSON, then the chain, the number and the MAC.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

use super::chain::{Chain, MAC_LEN};

/// Separates the authenticated part of the line from its MAC.
const MAC_MEMBER: &str = ",\"mac\":\"";
/// Ends a line.
const END: &str = "\"}";

/// The fields of an event, in their order.
#[derive(Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn of(event: &str, fields: &[(&str, &str)]) -> Self {
        let mut all = Self::default();
        all.set("event", event);
        for (name, value) in fields {
            all.set(name, *value);
        }
        all
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        // An event cannot pass itself off as another line of the chain.
        if !matches!(name, "time" | "level" | "program" | "chain" | "n" | "mac") {
            self.0.insert(name.to_owned(), value.into());
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }
}

/// An event that waits for its place in a chain.
pub(super) struct Pending {
    time: SystemTime,
    level: &'static str,
    fields: Fields,
}

impl Pending {
    pub(super) fn new(level: &'static str, fields: Fields) -> Self {
        Self { time: SystemTime::now(), level, fields }
    }

    /// The line without a chain.
    pub(super) fn unchained(&self, program: &str) -> String {
        format!("{}}}\n", self.begin(program))
    }

    /// The line, with its line break.
    pub(super) fn chained(&self, program: &str, id: &str, chain: &mut Chain) -> String {
        let covered = format!("{},\"chain\":{},\"n\":{}", self.begin(program), Value::from(id), chain.next());
        let mac = hex::encode(chain.add(covered.as_bytes()));
        format!("{covered}{MAC_MEMBER}{mac}{END}\n")
    }

    fn begin(&self, program: &str) -> String {
        let time = humantime::format_rfc3339_micros(self.time).to_string();
        let mut line = Map::new();
        line.insert("time".into(), time.into());
        line.insert("level".into(), self.level.into());
        line.insert("program".into(), program.into());
        line.extend(self.fields.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut text = Value::Object(line).to_string();
        text.truncate(text.len() - 1);
        text
    }
}

/// A line that was read back.
pub(super) struct Read<'a> {
    /// The bytes that the MAC covers.
    pub(super) covered: &'a [u8],
    pub(super) mac: [u8; MAC_LEN],
    pub(super) members: Map<String, Value>,
}

impl<'a> Read<'a> {
    /// Parses a line; `None` if it is not a line of a trail.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let (covered, rest) = line.rsplit_once(MAC_MEMBER)?;
        let mut mac = [0; MAC_LEN];
        hex::decode_to_slice(rest.strip_suffix(END)?, &mut mac).ok()?;
        // A reader of the file sees exactly the bytes that the MAC covers: one object, with each name once.
        let members: Map<String, Value> = serde_json::from_str(&format!("{covered}}}")).ok()?;
        let is_canonical = hex::encode(mac) == rest.strip_suffix(END)?;
        is_canonical.then_some(Self { covered: covered.as_bytes(), mac, members })
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str()
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.members.get("n")?.as_u64()
    }
}
