//! The OpenAPI document of one agent: the tables of its profile, each with its columns, in place of any object.

use serde_json::{Map, Value, json};
use tokenseal::token_store::Profile;
use tokenseal::token_store::profile::Table;

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
    let row = columns(table.key.iter().chain(&table.owner), &key());
    for (member, described) in [
        ("row", requiring(row, &table.key)),
        ("owner", columns(&table.owner, &key())),
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
