//! The types of key and owner columns, as a profile declares them for clients that make keys canonical by themselves.

use super::Table;
use crate::database::Kind;

/// The values that a client takes for a declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    Text,
    Padded,
    Integer,
    Decimal,
    Uuid,
    Boolean,
    /// A type whose values have no text that a client could make: it takes the text that was read back from
    /// the database.
    Other,
}

impl KeyType {
    /// The type that a word names; none for a word that is no type. Lengths and letter case do not count.
    pub(crate) fn of(declared: &str) -> Option<Self> {
        let name = declared.trim().to_ascii_lowercase();
        let (before, after) = match name.split_once('(') {
            Some((before, rest)) => (before, rest.rsplit_once(')')?.1),
            None => (name.as_str(), ""),
        };
        let words = before.split_whitespace().chain(after.split_whitespace()).collect::<Vec<_>>().join(" ");
        let words = words.strip_suffix(" zerofill").unwrap_or(&words);
        let words = words.strip_suffix(" unsigned").unwrap_or(words);
        Some(match words {
            "text" | "varchar" | "character varying" | "tinytext" | "mediumtext" | "longtext" => Self::Text,
            "char" | "character" | "bpchar" => Self::Padded,
            "integer" | "int" | "bigint" | "smallint" | "int2" | "int4" | "int8" | "tinyint"
            | "mediumint" | "oid" => Self::Integer,
            "numeric" | "decimal" => Self::Decimal,
            "uuid" => Self::Uuid,
            "boolean" | "bool" => Self::Boolean,
            "timestamp"
            | "timestamp with time zone"
            | "timestamp without time zone"
            | "timestamptz"
            | "date"
            | "time"
            | "time with time zone"
            | "time without time zone"
            | "timetz"
            | "datetime"
            | "year"
            | "interval"
            | "real"
            | "float"
            | "float4"
            | "float8"
            | "double"
            | "double precision"
            | "money"
            | "bytea"
            | "blob"
            | "tinyblob"
            | "mediumblob"
            | "longblob"
            | "binary"
            | "varbinary"
            | "bit"
            | "bit varying"
            | "json"
            | "jsonb"
            | "xml"
            | "citext"
            | "inet"
            | "cidr"
            | "macaddr" => Self::Other,
            _ => return None,
        })
    }

    /// Whether a client computes the same text for a value as a column of this kind.
    pub(crate) fn fits(self, kind: Kind) -> bool {
        match self {
            Self::Text => kind == Kind::Text,
            Self::Padded => matches!(kind, Kind::Padded | Kind::Text),
            Self::Integer => matches!(kind, Kind::Integer | Kind::IntegerOrText),
            Self::Decimal => matches!(kind, Kind::Decimal | Kind::IntegerOrText | Kind::Other),
            Self::Uuid => kind == Kind::Uuid,
            Self::Boolean => matches!(kind, Kind::Boolean | Kind::IntegerOrText),
            Self::Other => matches!(kind, Kind::Other | Kind::IntegerOrText),
        }
    }
}

/// The word that a profile declares a column with; none where a client is better off without one.
pub(crate) fn word(kind: Kind, declared: &str) -> Option<String> {
    let family = match kind {
        Kind::Integer => return Some("bigint".into()),
        Kind::Uuid => return Some("uuid".into()),
        Kind::Text => return Some("text".into()),
        Kind::Padded => Some("character"),
        Kind::Decimal => Some("numeric"),
        Kind::Boolean => Some("boolean"),
        Kind::IntegerOrText | Kind::Other => None,
    };
    let own = declared.to_ascii_lowercase();
    let is_known = KeyType::of(&own).is_some_and(|known| known.fits(kind));
    if is_known { Some(own) } else { family.map(Into::into) }
}

impl Table {
    /// A column of `types` whose type is no word for one, and that word.
    pub(super) fn unknown_type(&self) -> Option<(&str, &str)> {
        let mut types = self.types.iter().map(|(column, declared)| (column.as_str(), declared.as_str()));
        types.find(|(_, declared)| KeyType::of(declared).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_three_databases_are_known_with_their_lengths() {
        for (declared, expected) in [
            ("VARCHAR(36)", KeyType::Text),
            ("character varying", KeyType::Text),
            ("char(36)", KeyType::Padded),
            ("bigint(20) unsigned", KeyType::Integer),
            ("int(10) unsigned zerofill", KeyType::Integer),
            ("numeric(8,2)", KeyType::Decimal),
            ("timestamp(3) with time zone", KeyType::Other),
        ] {
            assert_eq!(KeyType::of(declared), Some(expected), "{declared}");
        }
        for unknown in ["", "biginteger", "uuid4", "text(", "text; drop", "string"] {
            assert_eq!(KeyType::of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_word_of_a_column_fits_it() {
        let kinds = [Kind::Text, Kind::Padded, Kind::Integer, Kind::Decimal, Kind::Uuid, Kind::Boolean];
        for kind in kinds {
            for declared in ["mood", "", "text", "bigint", "numeric(8,2)", "character(5)", "boolean"] {
                let word = word(kind, declared).unwrap_or_default();
                assert!(KeyType::of(&word).is_some_and(|known| known.fits(kind)), "{kind:?} {declared}");
            }
        }
        assert_eq!(word(Kind::Other, "citext"), Some("citext".into()));
        assert_eq!((word(Kind::Other, "mood"), word(Kind::IntegerOrText, "")), (None, None));
    }
}
