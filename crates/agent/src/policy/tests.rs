//! Rules are about their callers, tables, owners and secrets, and about nothing else.

use super::*;
use crate::caller::Peer;

const PROFILE: &str = r#"
name = "crm"
context = { Application = "crm" }
[[tables]]
name = "users"
key = ["id"]
owner = ["tenant_id"]
tokens = ["email"]
[[tables]]
name = "settings"
key = ["id"]
tokens = ["value"]
"#;

fn parse(text: &str) -> Result<Policy, PolicyError> {
    let profile =
        Profile::from_toml(PROFILE).map_err(|_| PolicyError::Unreadable(std::io::ErrorKind::Other))?;
    Policy::parse(text, &profile)
}

fn user(uid: u32) -> Caller {
    Caller { peer: Peer::Unix { uid, gid: 100, pid: None }, token: None }
}

fn holder(name: &str) -> Caller {
    Caller { peer: Peer::Tcp, token: Some(name.into()) }
}

/// With a source that knows a secret by one name only.
fn allows(policy: &Policy, caller: &Caller, reference: &str) -> bool {
    reference.parse().is_ok_and(|secret| policy.allows_secret(caller, &secret, Clone::clone))
}

#[test]
fn a_secret_is_refused_by_every_spelling_or_by_none() -> Result<(), PolicyError> {
    let policy = parse(
        "[[allow]]\ntoken = \"t\"\ndo = [\"secret\"]\nsecrets = [\"CRM_*\", \"smtp/password\", \"db#user\", \"db#p*\"]\n",
    )?;
    let variable = |name: &SecretName| {
        SecretName::new(&name.variable().to_ascii_uppercase()).unwrap_or_else(|_| name.clone())
    };
    for (references, allowed) in [
        (["CRM_KEY", "crm/key", "crm-key#x", "Crm.Key"], true),
        (["SMTP_PASSWORD", "smtp/password", "smtp-password", "smtp.PASSWORD"], true),
        (["DB#user", "db#user", "db#password", "DB#p"], true),
        (["db", "DB", "db#other", "DB#User"], false),
        (["BILLING_ADMIN_KEY", "billing/admin_key", "billing/ADMIN/key", "billing-admin-key"], false),
    ] {
        for reference in references {
            let secret: SecretRef =
                reference.parse().map_err(|_| PolicyError::Unreadable(std::io::ErrorKind::Other))?;
            assert_eq!(policy.allows_secret(&holder("t"), &secret, variable), allowed, "{reference}");
        }
    }
    Ok(())
}

#[test]
fn a_beginning_that_no_variable_has_is_found() -> Result<(), PolicyError> {
    let rule = |pattern: &str| {
        parse(&format!("[[allow]]\nuid = 7\ndo = [\"secret\"]\nsecrets = [\"db\", {pattern:?}]"))
    };
    for pattern in ["billing/*", "a b*", "db/x#p*"] {
        assert_eq!(rule(pattern)?.pattern_of_no_variable(), Some(pattern));
    }
    for pattern in ["*", "BILLING_*", "billing/key", "db#/p/q*", "a.b-*"] {
        assert_eq!(rule(pattern)?.pattern_of_no_variable(), None, "{pattern}");
    }
    Ok(())
}

#[test]
fn a_rule_holds_for_its_caller_its_actions_and_its_tables_alone() -> Result<(), PolicyError> {
    let policy = parse(
        "[[allow]]\nuid = 7\ndo = [\"get\"]\ntables = [\"users\"]\n\
         [[allow]]\ntoken = \"t\"\ndo = [\"put\", \"secret\"]\ntables = [\"*\"]\nsecrets = [\"db\", \"p-*\"]\n",
    )?;
    let every = |caller: &Caller, action, table| matches!(policy.scope(caller, action, table), Scope::Every);
    assert!(every(&user(7), Action::Get, "users"));
    assert!(!every(&user(7), Action::Get, "settings"));
    assert!(!every(&user(7), Action::Put, "users"));
    assert!(!every(&user(8), Action::Get, "users") && !policy.knows(&user(8)));
    assert!(every(&holder("t"), Action::Put, "settings") && !every(&holder("u"), Action::Put, "settings"));
    for (reference, allowed) in
        [("db", true), ("db#password", true), ("db2", false), ("p-1", true), ("p-1#x", true), ("p", false)]
    {
        assert_eq!(allows(&policy, &holder("t"), reference), allowed, "{reference}");
        assert!(!allows(&policy, &user(7), reference));
    }
    Ok(())
}

#[test]
fn a_rule_without_owners_widens_one_with_owners() -> Result<(), PolicyError> {
    let narrow = "[[allow]]\nuid = 7\ndo = [\"get\"]\ntables = [\"users\"]\nowner = { tenant_id = \"a\" }\n";
    let wide = "[[allow]]\ngid = 100\ndo = [\"get\"]\ntables = [\"users\"]\n";
    let narrowed = parse(narrow)?;
    assert!(
        matches!(narrowed.scope(&user(7), Action::Get, "users"), Scope::Owners(owners) if owners.len() == 1)
    );
    let widened = parse(&format!("{narrow}{wide}"))?;
    assert!(matches!(widened.scope(&user(7), Action::Get, "users"), Scope::Every));
    Ok(())
}

#[test]
fn without_a_policy_one_user_may_do_everything() {
    let policy = Policy::only(7);
    assert!(matches!(policy.scope(&user(7), Action::Delete, "any"), Scope::Every));
    assert!(allows(&policy, &user(7), "any"));
    assert!(matches!(policy.scope(&user(0), Action::Delete, "any"), Scope::None));
}

#[test]
fn a_policy_that_cannot_mean_what_it_says_is_refused() {
    for text in [
        "[[allow]]\ndo = [\"get\"]\ntables = [\"users\"]",
        "[[allow]]\nuid = 1\ngid = 2\ndo = [\"get\"]\ntables = [\"users\"]",
        "[[allow]]\nuid = 1\ndo = []\ntables = [\"users\"]",
        "[[allow]]\nuid = 1\ndo = [\"read\"]\ntables = [\"users\"]",
        "[[allow]]\nuid = 1\ndo = [\"get\"]",
        "[[allow]]\nuid = 1\ndo = [\"get\"]\ntables = [\"user\"]",
        "[[allow]]\nuid = 1\ndo = [\"get\"]\ntables = [\"users\"]\nsecrets = [\"x\"]",
        "[[allow]]\nuid = 1\ndo = [\"secret\"]",
        "[[allow]]\nuid = 1\ndo = [\"secret\"]\nsecrets = [\"a*b\"]",
        "[[allow]]\nuid = 1\ndo = [\"secret\"]\nsecrets = [\" \"]",
        "[[allow]]\nuid = 1\ndo = [\"secret\"]\nsecrets = [\"db#\"]",
        "[[allow]]\nuid = 1\ndo = [\"secret\"]\nsecrets = [\" a*\"]",
        "[[allow]]\nuid = 1\ndo = [\"get\"]\ntables = [\"settings\"]\nowner = { tenant_id = \"a\" }",
        "[[allow]]\nuid = 1\ndo = [\"get\"]\ntables = [\"*\"]\nowner = { tenant_id = \"a\" }",
        "[[allow]]\nuid = 1\ndo = [\"get\"]\ntables = [\"users\"]\nowner = { tenant_id = [] }",
        "[[allow]]\nuid = 1\ndo = [\"find\"]\ntables = [\"settings\"]\nowner = { tenant_id = \"a\" }",
        "[[allow]]\nuid = 1\ndo = [\"get\"]\ntables = [\"users\"]\nowners = { tenant_id = \"a\" }",
        "[[deny]]\nuid = 1",
        "allow = 1",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}
