//! The OpenAPI document of one agent: the tables of its profile, each with its columns, in place of any object.

use serde_json::{Map, Value, json};
use tokenseal::token_store::Profile;
use tokenseal::token_store::profile::Table;

/// A text that a database can store.
const STORABLE: &str = "^[^\\u0000]*$";
/// Each request with a row, by its schema.
const REQUESTS: [&str; 3] = ["GetRequest", "PutRequest", "DeleteRequest"];
/// Each item of a batch, by its schema.
const ITEMS: [&str; 2] = ["OpenItem", "SealItem"];

/// The document with what this profile's tables take. A table that the database lacks is left out.
pub(crate) fn for_profile(document: &str, profile: &Profile, absent: &[String]) -> String {
    let Ok(mut parsed) = serde_json::from_str::<Value>(document) else { return document.to_owned() };
    let tables: Vec<&Table> = profile.tables.iter().filter(|table| !absent.contains(&table.name)).collect();
    let first = profile.tables.first().map(|table| table.name.as_str());
    for (names, may_leave_out) in [(&REQUESTS[..], true), (&ITEMS[..], false)] {
        for name in names {
            let schema = &mut parsed["components"]["schemas"][*name];
            let any: Vec<Value> = tables
                .iter()
                .map(|table| of_table(schema, table, may_leave_out && first == Some(table.name.as_str())))
                .collect();
            *schema = match <[Value; 1]>::try_from(any) {
                Ok([one]) => one,
                Err(any) => json!({ "description": schema["description"], "oneOf": any }),
            };
        }
    }
    parsed.to_string()
}

/// The schema of a request with the names of one table.
fn of_table(schema: &Value, table: &Table, is_default: bool) -> Value {
    let mut schema = schema.clone();
    let name = json!({ "type": "string", "enum": [table.name] });
    let Some(properties) = schema["properties"].as_object_mut() else { return schema };
    properties.insert("table".into(), name);
    let row = columns(table.key.iter().chain(&table.owner), &key());
    for (member, described) in [
        ("row", requiring(row, &table.key)),
        ("owner", columns(&table.owner, &key())),
        ("tokens", columns(&table.tokens, &json!({ "type": ["string", "null"] }))),
        ("plain", columns(&table.plain, &plain())),
        (
            "columns",
            json!({ "type": ["array", "null"], "items": { "type": "string", "enum": table.tokens } }),
        ),
        ("column", json!({ "type": "string", "enum": table.tokens })),
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
    let number = json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX });
    json!({ "oneOf": [{ "type": "string", "pattern": STORABLE }, number] })
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
        let item = &parsed["components"]["schemas"]["OpenItem"];
        assert_eq!(item["properties"]["column"]["enum"], json!(["access_token", "refresh_token"]));
        assert_eq!(item["properties"]["table"]["enum"], json!(["oauth_tokens"]));
    }
}
