//! How the lines of a file are read, by its name.

use std::path::Path;

use super::values::Strictness;

/// How the lines of a file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `.env` and the like, and histories of shells.
    Env,
    /// `.netrc`: names and values are words.
    Netrc,
    /// `.pgpass`: five fields, the last of which is the password.
    Pgpass,
    /// YAML, INI, properties, units of systemd and the like: a value needs no quotes.
    Configuration,
    /// The same, with the instructions of a Dockerfile.
    Dockerfile,
    /// A script of a shell.
    Script,
    /// Anything else: a value is quoted.
    Code,
}

const CONFIGURATION: [&str; 18] = [
    "cfg",
    "cnf",
    "conf",
    "config",
    "credentials",
    "ini",
    "json",
    "kubeconfig",
    "npmrc",
    "properties",
    "pypirc",
    "service",
    "tfstate",
    "tfvars",
    "toml",
    "xml",
    "yaml",
    "yml",
];

/// Extensions of scripts, and the names of files whose lines shells run.
const SHELLS: [&str; 19] = [
    "bash",
    "bash_profile",
    "bashrc",
    "bat",
    "cmd",
    "command",
    "fish",
    "gnumakefile",
    "justfile",
    "ksh",
    "makefile",
    "mk",
    "procfile",
    "profile",
    "sh",
    "zprofile",
    "zsh",
    "zshenv",
    "zshrc",
];

/// Extensions of programs and documents that can be about an environment, and do not hold one.
const ABOUT: [&str; 29] = [
    "c", "cc", "cjs", "cpp", "cs", "css", "ex", "exs", "go", "h", "html", "java", "js", "jsx", "kt", "lua",
    "md", "mjs", "php", "pl", "py", "rb", "rs", "rst", "scala", "swift", "tf", "ts", "tsx",
];

impl Kind {
    pub(super) fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let extension = name.rsplit_once('.').map(|(_, extension)| extension).unwrap_or(&name);
        match name.as_str() {
            ".netrc" | "_netrc" => Self::Netrc,
            ".pgpass" | "pgpass.conf" => Self::Pgpass,
            _ if is_env_like(&name) || name.ends_with("_history") => Self::Env,
            "dockerfile" | "containerfile" => Self::Dockerfile,
            _ if name.starts_with("dockerfile.") || extension == "dockerfile" => Self::Dockerfile,
            _ if CONFIGURATION.contains(&extension) => Self::Configuration,
            _ if SHELLS.contains(&extension) => Self::Script,
            _ => Self::Code,
        }
    }

    pub(super) fn strictness(self) -> Strictness {
        match self {
            Self::Env | Self::Netrc | Self::Pgpass => Strictness::Settings,
            Self::Configuration | Self::Dockerfile | Self::Script => Strictness::Configuration,
            Self::Code => Strictness::Code,
        }
    }
}

/// `.env`, `.env.production`, `service.env`, `env.production`, `env-prod`, `.envrc`, `.flaskenv`, `default.environment`, and a
/// copy such as `.env~`.
fn is_env_like(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension).unwrap_or_default();
    let has_other_kind = |extension: &str| {
        [&ABOUT[..], &CONFIGURATION, &SHELLS].iter().any(|extensions| extensions.contains(&extension))
    };
    let is_variant = name.starts_with("env-") || name.starts_with("env_");
    let is_variant = is_variant || name.ends_with("-env") || name.ends_with("_env");
    name.starts_with(".env")
        || name.ends_with(".env")
        || name.contains(".env.")
        || matches!(name, "env" | "environment" | ".flaskenv" | "dotenv")
        || extension == "environment"
        || extension == "flaskenv"
        || extension.starts_with("env-")
        || extension.starts_with("env_")
        || name.starts_with("env.") && !ABOUT.contains(&extension)
        || is_variant && !has_other_kind(extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_begins_with_dockerfile_need_not_be_one() {
        for (name, expected) in [
            ("Dockerfile", Kind::Dockerfile),
            ("Dockerfile.prod", Kind::Dockerfile),
            ("prod.Dockerfile", Kind::Dockerfile),
            ("Containerfile", Kind::Dockerfile),
            ("dockerfile_test.go", Kind::Code),
            ("dockerfiles.yaml", Kind::Configuration),
            ("dockerfile-lint.sh", Kind::Script),
        ] {
            assert_eq!(Kind::of(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_file_of_an_environment_is_known_by_its_name_and_a_program_about_one_is_not() {
        for name in [
            ".env",
            ".env.prod",
            ".env-prod",
            ".env~",
            ".envrc",
            ".flaskenv",
            "app.env",
            "app.env.old",
            "app.env-prod",
            "default.environment",
            "env",
            "env-prod",
            "env.prod",
            "env_prod",
            "ENV_PROD",
            "environment",
            "prod-env",
            "prod_env",
        ] {
            assert_eq!(Kind::of(Path::new(name)), Kind::Env, "{name}");
        }
        for (name, expected) in [
            ("env.ts", Kind::Code),
            ("env_logger.rs", Kind::Code),
            ("env-setup.sh", Kind::Script),
            ("env_prod.yaml", Kind::Configuration),
            ("test_env", Kind::Env),
            ("test_env.py", Kind::Code),
            ("environment.ts", Kind::Code),
            ("environments.yaml", Kind::Configuration),
            ("app.service", Kind::Configuration),
            ("Makefile", Kind::Script),
            ("build.mk", Kind::Script),
        ] {
            assert_eq!(Kind::of(Path::new(name)), expected, "{name}");
        }
    }
}
