//! The options that `ci` and its steps share.

use anyhow::{Context, bail};

/// Everything that `--require` may name.
pub(crate) const KNOWN_PARTS: [&str; 18] = [
    "postgres",
    "mariadb",
    "docker",
    "moto",
    "openbao",
    "core_dumps",
    "root",
    "fuzzing",
    "advisories",
    "terraform",
    "terraform-provider",
    "prometheus",
    "alertmanager",
    "kustomize",
    "python",
    "systemd",
    "clients",
    "valgrind",
];

#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Parts that have to run.
    pub(crate) require: Vec<String>,
    pub(crate) fail_fast: bool,
    /// Whether `instructions` stores what it counted.
    pub(crate) renew: bool,
    /// Whether this is a run of every step.
    pub(crate) all_steps: bool,
    /// The arguments after `--`, for `cargo test`.
    pub(crate) cargo_test: Vec<String>,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--fail-fast" => options.fail_fast = true,
                "--renew" => options.renew = true,
                "--require" => {
                    options.require_parts(args.next().context("`--require` needs a list of parts")?)?
                }
                "--" => options.cargo_test = args.by_ref().cloned().collect(),
                other => match other.strip_prefix("--require=") {
                    Some(list) => options.require_parts(list)?,
                    None => bail!("unknown option `{other}`: see `cargo xtask help`"),
                },
            }
        }
        Ok(options)
    }

    fn require_parts(&mut self, list: &str) -> anyhow::Result<()> {
        for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if !KNOWN_PARTS.contains(&part) {
                bail!("unknown part `{part}`: choose among {}", KNOWN_PARTS.join(", "));
            }
            self.require.push(part.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> anyhow::Result<Options> {
        Options::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn parts_can_be_required_in_either_spelling() -> anyhow::Result<()> {
        let options = parse(&["--require", "postgres,moto", "--require=docker", "--", "-p", "x"])?;
        assert_eq!(options.require, ["postgres", "moto", "docker"]);
        assert_eq!(options.cargo_test, ["-p", "x"]);
        Ok(())
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(parse(&["--require", "postgress"]).is_err());
        assert!(parse(&["--require"]).is_err());
        assert!(parse(&["--fast"]).is_err());
    }
}
