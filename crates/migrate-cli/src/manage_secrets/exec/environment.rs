//! The environment of the program: which variables it gets, and which of them are refused.

use std::process::Command;

use secrets_cache::source::SourceUri;
use tokenseal::settings::VARIABLES;

use super::Prefer;
use super::files::PrivateFiles;
use super::select::Collected;

/// The most bytes that one variable has on Linux, with its name, `=` and the NUL at its end: `MAX_ARG_STRLEN` of execve(2).
pub(super) const MAX_STRING: usize = 131_072;

/// Variables that decide which code a program, a shell or an interpreter runs.
const LOADERS: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "BROWSER",
    "BUNDLE_GEMFILE",
    "BUNDLE_PATH",
    "CARGO_HOME",
    "CLASSPATH",
    "COMSPEC",
    "EDITOR",
    "ELIXIR_ERL_OPTIONS",
    "ENV",
    "ERL_AFLAGS",
    "ERL_FLAGS",
    "ERL_LIBS",
    "ERL_ZFLAGS",
    "GCONV_PATH",
    "GEM_HOME",
    "GEM_PATH",
    "GIO_EXTRA_MODULES",
    "GLIBC_TUNABLES",
    "GODEBUG",
    "GOFLAGS",
    "GRADLE_OPTS",
    "GTK_MODULES",
    "GTK_PATH",
    "GUILE_LOAD_COMPILED_PATH",
    "GUILE_LOAD_PATH",
    "HOME",
    "IFS",
    "JAVA_HOME",
    "JAVA_OPTS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LESSCLOSE",
    "LESSOPEN",
    "LOCPATH",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "MAKEFLAGS",
    "MANPAGER",
    "MAVEN_OPTS",
    "NLSPATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PAGER",
    "PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PROMPT_COMMAND",
    "PS4",
    "QT_PLUGIN_PATH",
    "RUBYGEMS_GEMDEPS",
    "RUBYLIB",
    "RUBYOPT",
    "RUSTC_WRAPPER",
    "R_ENVIRON",
    "R_HOME",
    "R_LIBS",
    "R_PROFILE",
    "SHELL",
    "SHELLOPTS",
    "TCLLIBPATH",
    "TMPDIR",
    "VISUAL",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];
const LOADER_PREFIXES: &[&str] = &[
    "BASH_FUNC_",
    "CORECLR_",
    "COR_",
    "DOTNET_",
    "DYLD_",
    "GIT_",
    "JULIA_",
    "LD_",
    "LUA_CPATH_",
    "LUA_INIT_",
    "LUA_PATH_",
    "MALLOC_",
    "NPM_CONFIG_",
    "PYTHON",
    "R_LIBS_",
];
/// npm reads its variables in any case.
const ANY_CASE: &str = "NPM_CONFIG_";

/// Whether a variable decides which code runs.
pub(super) fn is_loader(variable: &str) -> bool {
    LOADERS.contains(&variable)
        || LOADER_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
        || variable.to_ascii_uppercase().starts_with(ANY_CASE)
}

/// The variables that open something, and that this program may have used: they are not for the program that is run.
///
/// A token of OpenBao or Vault stays unless it opened the source: the program may be a client itself. So does
/// `DATABASE_URL`, which programs are given on purpose.
pub(super) fn withheld(source: &SourceUri) -> impl Iterator<Item = String> {
    let is_vault = matches!(source, SourceUri::Vault(_) | SourceUri::VaultLease(_));
    let opens = move |name: &str| name != "DATABASE_URL" && (is_vault || !name.starts_with("VAULT_"));
    let secret = VARIABLES.iter().filter(move |variable| variable.secret && opens(variable.name));
    secret.flat_map(|variable| variable.file_name().into_iter().chain([variable.name.to_owned()]))
}

/// The variables that the program gets besides those that it inherits.
pub(super) struct Environment<'a> {
    variables: Vec<(&'a str, &'a std::ffi::OsStr)>,
    /// A line for each variable that the caller's environment has with another value.
    pub(super) overridden: Vec<String>,
}

impl<'a> Environment<'a> {
    /// A variable that is withheld from the program is not one that the environment has.
    pub(super) fn of(
        collected: &'a Collected,
        files: Option<&'a PrivateFiles>,
        prefer: Prefer,
        withheld: &[String],
    ) -> Self {
        let inherited = |name: &str| {
            let is_withheld = withheld.iter().any(|other| other == name);
            std::env::var_os(name).filter(|_| !is_withheld)
        };
        let values = collected.values.iter().filter_map(|(name, given)| {
            Some((name.as_str(), std::ffi::OsStr::new(given.value.expose_text()?)))
        });
        let paths = files.into_iter().flat_map(PrivateFiles::paths);
        let mut environment = Self { variables: Vec::new(), overridden: Vec::new() };
        for (name, value) in values.chain(paths) {
            match inherited(name).filter(|there| there != value) {
                Some(_) if prefer == Prefer::Environment => {
                    environment
                        .overridden
                        .push(format!("{name}: the environment's value is kept, not the secret's"));
                    continue;
                }
                Some(_) => environment
                    .overridden
                    .push(format!("{name}: the secret replaces the environment's value")),
                None => {}
            }
            environment.variables.push((name, value));
        }
        environment
    }

    pub(super) fn apply(&self, command: &mut Command) {
        command.envs(self.variables.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_decide_what_code_runs_are_known() {
        for name in [
            "PATH",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "DYLD_INSERT_LIBRARIES",
            "PYTHONPATH",
            "NODE_OPTIONS",
            "BASH_ENV",
            "DOTNET_STARTUP_HOOKS",
            "CORECLR_PROFILER_PATH",
            "COR_PROFILER",
            "PERLLIB",
            "OPENSSL_CONF",
            "OPENSSL_MODULES",
            "NPM_CONFIG_SCRIPT_SHELL",
            "npm_config_script_shell",
            "GEM_HOME",
            "GEM_PATH",
            "LESSOPEN",
            "LESSCLOSE",
        ] {
            assert!(is_loader(name), "{name}");
        }
        for name in
            ["DATABASE_URL", "API_KEY", "PATHS", "LDAP_PASSWORD", "HOMEPAGE_TOKEN", "NPM_TOKEN", "CORE_KEY"]
        {
            assert!(!is_loader(name), "{name}");
        }
    }
}
