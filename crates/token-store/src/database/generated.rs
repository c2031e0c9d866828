//! Columns that a database computes from others, directly or through further computed columns.

/// A computed column, and the columns that its expression names.
pub(crate) struct Generated {
    pub(crate) column: String,
    pub(crate) names: Vec<String>,
}

/// The computed columns that depend on each of these columns, as pairs of both.
pub(crate) fn dependents(generated: &[Generated], columns: &[String]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for column in columns {
        let mut reached: Vec<&str> = vec![column];
        while let Some(next) = generated.iter().find(|computed| {
            !reached.contains(&computed.column.as_str())
                && computed.names.iter().any(|name| reached.contains(&name.as_str()))
        }) {
            reached.push(&next.column);
        }
        pairs.extend(reached.into_iter().skip(1).map(|computed| (column.clone(), computed.to_owned())));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::{Generated, dependents};

    #[test]
    fn a_column_that_is_computed_from_a_computed_one_depends_on_both() {
        let computed = |column: &str, names: &[&str]| Generated {
            column: column.into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let all = [computed("c", &["b"]), computed("b", &["x", "a"]), computed("d", &["x"])];
        let pair = |column: &str| ("a".to_owned(), column.to_owned());
        assert_eq!(dependents(&all, &["a".into()]), [pair("b"), pair("c")]);
    }
}
