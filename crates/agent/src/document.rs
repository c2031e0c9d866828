//! The OpenAPI document of one agent: with the tables and columns of its profile instead of unspecified
//! objects.

use serde_json::{Map, Value, json};
use tokenseal::token_store::Profile;
use tokenseal::token_store::profile::Table;

/// A text that is a UUID, in the notation that all databases take.
const UUID: &str = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";
/// A text that a database can store.
const STORABLE: &str = "^[^\\u0000]*$";
/// Each request with a row, by its schema. The items of a batch stay as they are: one with another name is an error of its own.
const REQUESTS: [&str; 6] =
    ["FreshRequest", "GetRequest", "PutRequest", "DeleteRequest", "LeaseRequest", "ReleaseRequest"];

/// The document with what this profile's tables take. A table that the database lacks is left out.
pub(crate) fn for_profile(document: &str, profile: &Profile, absent: &[String]) -> String {
    let Ok(mut parsed) = serde_json::from_str::<Value>(document) else { return document.to_owned() };
    let tables: Vec<&Table> = profile.tables.iter().filter(|table| !absent.contains(&table.name)).collect();
    let first = profile.tables.first().map(|table| table.name.as_str());
    for name in REQUESTS {
        let schema = &mut parsed["components"]["schemas"][name];
        let any: Vec<Value> =
            tables.iter().map(|table| of_table(schema, table, first == Some(table.name.as_str()))).collect();
        *schema = either(schema, any);
    }
    let searched = &mut parsed["components"]["schemas"]["FindRequest"];
    let indexed = tables.iter().filter(|table| !table.index.is_empty());
    let any: Vec<Value> =
        indexed.map(|table| of_table(searched, table, first == Some(table.name.as_str()))).collect();
    if !any.is_empty() {
        *searched = either(searched, any);
    }
    bound_numbers(&mut parsed["components"]["schemas"]);
    parsed.to_string()
}

/// A schema in place of another: the only one, or one of several.
fn either(schema: &Value, any: Vec<Value>) -> Value {
    match <[Value; 1]>::try_from(any) {
        Ok([one]) => one,
        Err(any) => json!({ "description": schema["description"], "oneOf": any }),
    }
}

/// The schema of a request with the names of one table.
fn of_table(schema: &Value, table: &Table, is_default: bool) -> Value {
    let mut schema = schema.clone();
    let name = match is_default {
        true => json!({ "type": ["string", "null"], "enum": [table.name, null] }),
        false => json!({ "type": "string", "enum": [table.name] }),
    };
    let Some(properties) = schema["properties"].as_object_mut() else { return schema };
    properties.insert("table".into(), name);
    let indexed: Vec<&str> = table.index.iter().map(|index| index.column.as_str()).collect();
    let row = keys(table, table.key.iter().chain(&table.owner));
    for (member, described) in [
        ("row", requiring(row, &table.key)),
        ("owner", keys(table, &table.owner)),
        ("tokens", columns(&table.tokens, &json!({ "type": ["string", "null"] }))),
        ("plain", columns(&table.plain, &plain())),
        ("column", json!({ "type": "string", "enum": indexed })),
        (
            "columns",
            json!({ "type": ["array", "null"], "items": { "type": "string", "enum": table.tokens } }),
        ),
    ] {
        if let Some(place) = properties.get_mut(member) {
            *place = described;
        }
    }
    if !table.owner.is_empty() {
        schema["not"] =
            json!({ "anyOf": table.owner.iter().map(|column| given_twice(column)).collect::<Vec<_>>() });
    }
    if !is_default
        && let Some(required) = schema["required"].as_array_mut()
        && !required.iter().any(|name| name == "table")
    {
        required.push("table".into());
    }
    schema
}

/// Whole numbers without bounds are keys, which are as long as a database's.
fn bound_numbers(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("type").is_some_and(|kind| kind == "integer") && !members.contains_key("minimum") {
                members.insert("minimum".into(), i64::MIN.into());
                members.insert("maximum".into(), i64::MAX.into());
            }
            members.values_mut().for_each(bound_numbers);
        }
        Value::Array(items) => items.iter_mut().for_each(bound_numbers),
        _ => {}
    }
}

/// A request that names an owner in `row` and in `owner`: both must be the same, which no schema can say.
fn given_twice(column: &str) -> Value {
    let named = json!({ "required": [column] });
    json!({ "required": ["row", "owner"], "properties": { "row": named, "owner": named } })
}

/// An object whose members are these columns of the key or the owner, each with its type in the profile.
fn keys<'a>(table: &'a Table, names: impl IntoIterator<Item = &'a String>) -> Value {
    let member = |name: &String| (name.clone(), key_of(table.types.get(name).map(String::as_str)));
    let members: Map<String, Value> = names.into_iter().map(member).collect();
    json!({ "type": "object", "properties": members, "additionalProperties": false })
}

/// The schema of values for a column of this type, or of any type where the profile does not name it.
fn key_of(kind: Option<&str>) -> Value {
    let integer = |most: i64, digits: u32| {
        let text = format!("^-?[0-9]{{1,{digits}}}$");
        json!({ "oneOf": [
            { "type": "string", "pattern": text }, { "type": "integer", "minimum": -most - 1, "maximum": most },
        ] })
    };
    match kind.map(str::to_ascii_lowercase).as_deref() {
        Some("smallint" | "int2") => integer(i16::MAX.into(), 4),
        Some("integer" | "int" | "int4") => integer(i32::MAX.into(), 9),
        Some("bigint" | "int8") => integer(i64::MAX, 18),
        Some("uuid") => json!({ "type": "string", "pattern": UUID }),
        _ => key(),
    }
}

/// An object whose members are these columns.
fn columns<'a>(names: impl IntoIterator<Item = &'a String>, value: &Value) -> Value {
    let members: Map<String, Value> = names.into_iter().map(|name| (name.clone(), value.clone())).collect();
    json!({ "type": "object", "properties": members, "additionalProperties": false })
}

fn requiring(mut object: Value, names: &[String]) -> Value {
    object["required"] = json!(names);
    object
}

fn key() -> Value {
    json!({ "oneOf": [{ "type": "string", "pattern": STORABLE }, { "type": "integer" }] })
}

fn plain() -> Value {
    let mut any = key();
    if let Some(kinds) = any["oneOf"].as_array_mut() {
        kinds.extend([json!({ "type": "boolean" }), json!({ "type": "null" })]);
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_described_as_the_profile_declares_it() {
        let small = key_of(Some("smallint"));
        assert_eq!(small["oneOf"][1], json!({ "type": "integer", "minimum": -32_768, "maximum": 32_767 }));
        assert_eq!(key_of(Some("BIGINT"))["oneOf"][1]["minimum"], i64::MIN);
        assert_eq!(key_of(Some("uuid"))["type"], "string");
        assert_eq!(key_of(Some("numeric")), key_of(None));
    }

    #[test]
    fn a_document_names_the_tables_of_its_profile() {
        let profile =
            Profile::load("vod-tender").unwrap_or_else(|_| unreachable!("a built-in profile loads"));
        let document = for_profile(&crate::routes::openapi(), &profile, &[]);
        let parsed: Value = serde_json::from_str(&document).unwrap_or_default();
        let get = &parsed["components"]["schemas"]["GetRequest"];
        assert_eq!(get["properties"]["row"]["required"], json!(["provider", "channel"]));
        assert_eq!(get["required"], json!(["row"]), "the first table may be left out");
        let number = &get["properties"]["row"]["properties"]["channel"]["oneOf"][1];
        assert_eq!((&number["minimum"], &number["maximum"]), (&json!(i64::MIN), &json!(i64::MAX)));
    }
}
