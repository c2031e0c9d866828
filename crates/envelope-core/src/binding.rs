//! Bindings: the identity of the cell that a sealed value belongs to.

use std::borrow::Cow;

use crate::context::{ContextError, EncryptionContext, MAX_CONTEXT_LEN, push_length, push_text};

/// A column's name, and its value as text.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Names the table, column, primary key and owner of one value, so that it opens nowhere else.
///
/// Its texts may be borrowed: naming a cell of a row in memory copies none of them.
///
/// A pair whose value is empty is left out of contexts made from it, because AWS KMS takes no empty value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    table: Cow<'a, str>,
    column: Cow<'a, str>,
    key: Vec<Pair<'a>>,
    owner: Vec<Pair<'a>>,
}

impl<'a> Binding<'a> {
    /// Names a cell by its table and column; the row's primary key is added with [`key`](Self::key).
    pub fn new(table: impl Into<Cow<'a, str>>, column: impl Into<Cow<'a, str>>) -> Self {
        Self { table: table.into(), column: column.into(), key: Vec::new(), owner: Vec::new() }
    }

    /// Adds one primary-key column and its value as text.
    #[must_use]
    pub fn key(mut self, column: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.key.push((column.into(), value.into()));
        self
    }

    /// Adds whom the row belongs to (a user, a tenant), named like the column that says so.
    #[must_use]
    pub fn owner(mut self, column: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.owner.push((column.into(), value.into()));
        self
    }

    /// The same row's cell in another column.
    #[must_use]
    pub fn with_column(&self, column: impl Into<Cow<'a, str>>) -> Self {
        Self { column: column.into(), ..self.clone() }
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The column's name.
    #[must_use]
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The value of an owner column, if the binding names it.
    #[must_use]
    pub fn owner_value(&self, column: &str) -> Option<&str> {
        self.owner.iter().find(|(name, _)| name == column).map(|(_, value)| value.as_ref())
    }

    /// The value of the first owner column: the user or tenant that per-owner keys are derived for.
    #[must_use]
    pub fn owner_id(&self) -> Option<&str> {
        self.owner.first().map(|(_, value)| value.as_ref()).filter(|value| !value.is_empty())
    }

    /// The row's key, where it is a single column.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        match self.key.as_slice() {
            [(_, value)] => Some(value),
            _ => None,
        }
    }

    /// The context that binds a data key to this cell: `base`, the owner, `table`, `column` and the primary key.
    ///
    /// # Errors
    /// [`ContextError`], for example when a key column is named like a pair of `base`.
    pub fn bound_context(&self, base: &[(String, String)]) -> Result<EncryptionContext, ContextError> {
        let cell = [("table", self.table.as_ref()), ("column", self.column.as_ref())];
        EncryptionContext::new(
            present(base).chain(cell).chain(present(&self.owner)).chain(present(&self.key)),
        )
    }

    /// The cell's one encoding, for use as associated data: table, column, key pairs, owner pairs.
    ///
    /// Every text is prefixed with its big-endian `u16` length, and every list of pairs with its big-endian `u16`
    /// count, ordered by the names' UTF-8 bytes; so no two bindings share an encoding, and the order in which pairs
    /// were added does not matter. Empty values are kept: unlike a context, this never travels to a key service.
    ///
    /// # Errors
    /// [`ContextError`] for an empty table, column or pair name, a name that is given twice among the key or the owner
    /// pairs, or more than [`MAX_CONTEXT_LEN`] bytes.
    pub fn canonical(&self) -> Result<Vec<u8>, ContextError> {
        self.canonical_after(&[])
    }

    /// The same after a prefix that is written to the same piece of memory.
    pub(crate) fn canonical_after(&self, prefix: &[&[u8]]) -> Result<Vec<u8>, ContextError> {
        for (name, value) in [("table", &self.table), ("column", &self.column)] {
            if value.is_empty() {
                return Err(ContextError::EmptyValue { name: name.into() });
            }
        }
        let pairs = self.key.iter().chain(&self.owner).map(|(name, value)| 4 + name.len() + value.len());
        let length = 4 + self.table.len() + self.column.len() + 4 + pairs.sum::<usize>();
        if length > MAX_CONTEXT_LEN {
            return Err(ContextError::TooLong { actual: length });
        }
        let mut out = Vec::with_capacity(prefix.iter().map(|part| part.len()).sum::<usize>() + length);
        prefix.iter().for_each(|part| out.extend_from_slice(part));
        push_text(&mut out, &self.table);
        push_text(&mut out, &self.column);
        push_pairs(&mut out, &self.key)?;
        push_pairs(&mut out, &self.owner)?;
        Ok(out)
    }

    /// The context that other programs write: `base` and the owner, without the row's identity.
    ///
    /// # Errors
    /// [`ContextError`], as for [`bound_context`](Self::bound_context).
    pub fn plain_context(&self, base: &[(String, String)]) -> Result<EncryptionContext, ContextError> {
        EncryptionContext::new(present(base).chain(present(&self.owner)))
    }
}

/// Whether a value's data key is bound to the value's cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindingPolicy {
    /// Write bound values; read both.
    #[default]
    AcceptUnbound,
    /// Write bound values; refuse unbound ones.
    Require,
    /// Write unbound values, for tables that other programs read; read both.
    Off,
}

fn present<T: AsRef<str>>(pairs: &[(T, T)]) -> impl Iterator<Item = (&str, &str)> {
    pairs
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .filter(|(_, value): &(&str, &str)| !value.is_empty())
}

fn push_pairs(out: &mut Vec<u8>, pairs: &[Pair<'_>]) -> Result<(), ContextError> {
    let mut pairs: Vec<_> = pairs.iter().collect();
    pairs.sort_unstable();
    if let Some(twice) = pairs.windows(2).find(|two| two[0].0 == two[1].0) {
        return Err(ContextError::Repeated { name: twice[0].0.to_string() });
    }
    push_length(out, pairs.len());
    for (name, value) in pairs {
        if name.is_empty() {
            return Err(ContextError::EmptyName);
        }
        push_text(out, name);
        push_text(out, value);
    }
    Ok(())
}
