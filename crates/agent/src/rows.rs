//! From a request to a row: the table, the key and the owner that are named, and whether the caller may have it.

use tokenseal::token_store::profile::Table;
use tokenseal::token_store::{TokenKey, TokenStore};

use crate::agent::Agent;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::named::{KeyText, Named};
use crate::policy::{Action, Scope};

/// A row that a caller may have, and the store that it is reached through.
pub(crate) struct Target {
    pub(crate) table: Table,
    pub(crate) key: TokenKey,
    pub(crate) store: TokenStore,
    /// Whether the caller may see only some owners' rows: then another owner's row does not exist for it.
    pub(crate) is_narrowed: bool,
}

impl Target {
    /// Whether there is a row with this key, of another owner than the request names.
    pub(crate) async fn is_of_another(&self) -> bool {
        let key = TokenKey::from_values(self.key.values().iter().cloned()).in_table(&self.table.name);
        self.store.get_columns(&key, &[]).await.is_ok()
    }
}

/// The columns of a row that a request names.
struct Identity {
    key: Vec<String>,
    /// `None` for NULL.
    owner: Vec<(String, Option<String>)>,
}

impl Agent {
    /// The row that a request names.
    pub(crate) fn target(
        &self,
        caller: &Caller,
        action: Action,
        table: Option<&str>,
        row: Named<KeyText>,
        owner: Named<KeyText>,
    ) -> Result<Target, ApiError> {
        let (table, scope) = self.table(caller, action, table)?;
        let identity = Identity::of(table, row, owner)?;
        let is_cell = matches!(action, Action::Open | Action::Seal);
        if !is_cell && identity.owner.iter().any(|(_, value)| value.is_none()) {
            // Left out, it would mean any owner: the caller has to say which one it means.
            return Err(ApiError::malformed("owner is null, which only `open` and `seal` take"));
        }
        if action != Action::Open && identity.has_nul() {
            return Err(ApiError::malformed("row or owner has the character U+0000, which cannot be stored"));
        }
        let store = match scope {
            Scope::Owners(rules) => {
                let is_given = |column: &String| identity.owner.iter().any(|(name, _)| name == column);
                if !rules.iter().any(|rule| rule.keys().all(is_given)) {
                    return Err(self.owner_not_given(caller, action, &rules));
                }
                if !rules.iter().any(|rule| identity.fits(rule)) {
                    self.refused(caller, action.label(), "policy");
                    return Err(ApiError::no_row());
                }
                self.bound_store().ok_or_else(ApiError::internal)?
            }
            Scope::Every | Scope::None => self.store(),
        };
        let is_narrowed = !std::ptr::eq(store, self.store());
        let key = TokenKey::from_values(identity.key).in_table(&table.name);
        let owners = identity.owner.into_iter().filter_map(|(column, value)| Some((column, value?)));
        let key = owners.fold(key, |key, (column, value)| key.owned_by(column, value));
        let store = store.clone().with_actor(caller.to_string());
        Ok(Target { table: table.clone(), key, store, is_narrowed })
    }

    /// The table that a request names, or the profile's first, and whose rows of it the caller may have.
    pub(crate) fn table(
        &self,
        caller: &Caller,
        action: Action,
        name: Option<&str>,
    ) -> Result<(&Table, Scope<'_>), ApiError> {
        let profile = self.store().profile();
        let first = || profile.tables.first().map(|table| table.name.as_str());
        let name = name.or_else(first).unwrap_or_default();
        let scope = self.policy().scope(caller, action, name);
        if matches!(scope, Scope::None) {
            return Err(self.not_allowed(caller, action));
        }
        let is_absent = self.store().absent_tables().iter().any(|one| one == name);
        let table = profile.table(Some(name)).filter(|_| !is_absent);
        let unknown = || ApiError::malformed("the profile has no such table, or the database lacks it");
        Ok((table.ok_or_else(unknown)?, scope))
    }

    fn not_allowed(&self, caller: &Caller, action: Action) -> ApiError {
        self.refused(caller, action.label(), "policy");
        ApiError::forbidden("the policy does not allow the caller to do this here")
    }

    fn owner_not_given(
        &self,
        caller: &Caller,
        action: Action,
        rules: &[&std::collections::BTreeMap<String, Vec<String>>],
    ) -> ApiError {
        self.refused(caller, action.label(), "policy");
        let columns: Vec<&str> = rules.iter().flat_map(|rule| rule.keys()).map(String::as_str).collect();
        ApiError::forbidden(format!(
            "the policy allows some owners' rows only: name the owner ({})",
            columns.join(", ")
        ))
    }
}

impl Identity {
    /// Every key column once, owner columns or not, and nothing else.
    fn of(table: &Table, row: Named<KeyText>, owner: Named<KeyText>) -> Result<Self, ApiError> {
        let expected = || {
            let columns = table.key.join(", ");
            ApiError::malformed(format!(
                "row must name the primary key ({columns}), and owner columns at most besides"
            ))
        };
        let is_owner = |column: &String| table.owner.contains(column);
        if row.0.iter().any(|(column, _)| !table.key.contains(column) && !is_owner(column)) {
            return Err(expected());
        }
        if owner.0.iter().any(|(column, _)| !is_owner(column)) {
            return Err(ApiError::malformed("owner names a column that is no owner column of the table"));
        }
        let key = table.key.iter().map(|column| row.get(column)?.0.clone());
        let key = key.collect::<Option<Vec<String>>>().ok_or_else(expected)?;
        let in_row = row.0.into_iter().filter(|(column, _)| is_owner(column) && !table.key.contains(column));
        let mut owners: Vec<(String, Option<String>)> = Vec::new();
        for (column, KeyText(value)) in in_row.chain(owner.0) {
            match owners.iter().find(|(name, _)| *name == column) {
                Some((_, other)) if *other != value => {
                    return Err(ApiError::malformed("row and owner name different owners"));
                }
                Some(_) => {}
                None => owners.push((column, value)),
            }
        }
        Ok(Self { key, owner: owners })
    }

    /// PostgreSQL cannot store it in a text, so no statement may contain it.
    fn has_nul(&self) -> bool {
        let owners = self.owner.iter().filter_map(|(_, value)| value.as_ref());
        self.key.iter().chain(owners).any(|value| value.contains('\0'))
    }

    fn fits(&self, rule: &std::collections::BTreeMap<String, Vec<String>>) -> bool {
        rule.iter().all(|(column, values)| {
            let given = self.owner.iter().find(|(name, _)| name == column);
            given.and_then(|(_, value)| value.as_ref()).is_some_and(|value| values.contains(value))
        })
    }
}

impl Action {
    /// The name in policies, audit events and metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Open => "open",
            Self::Seal => "seal",
            Self::Fresh => "fresh",
            Self::Lease => "lease",
            Self::Find => "find",
            Self::Secret => "secret",
        }
    }
}
