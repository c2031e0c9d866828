//! The steps of `ci`, in their order.

use crate::options::Options;
use crate::report::Report;

mod clients;
mod clippy;
mod deny;
mod docs;
mod doctest;
mod fmt;
mod fuzz;
mod infra;
mod instructions;
mod layers;
mod links;
mod outside;
mod package;
mod promises;
pub(crate) mod test;
mod test_output;

/// A step: an error that it returns, and a failure in its report, fail it alike.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) run: fn(&Options) -> anyhow::Result<Report>,
}

pub(crate) const STEPS: [Step; 13] = [
    Step { name: "fmt", summary: "the code is formatted", run: fmt::run },
    Step {
        name: "clippy",
        summary: "no warning, with all features together and with each alone",
        run: clippy::run,
    },
    Step { name: "test", summary: "the tests, against real servers where there are any", run: test::run },
    Step { name: "doctest", summary: "the examples in the documentation run", run: doctest::run },
    Step {
        name: "outside",
        summary: "a service outside the workspace, as a user of the crates writes one",
        run: outside::run,
    },
    Step {
        name: "fuzz",
        summary: "every parser against random inputs: a minute each, seconds in ci",
        run: fuzz::run,
    },
    Step {
        name: "instructions",
        summary: "what sealing and opening take, in instructions",
        run: instructions::run,
    },
    Step {
        name: "clients",
        summary: "the clients in Python, Node and Go, against each other, the programs and real servers",
        run: clients::run,
    },
    Step { name: "layers", summary: "crates depend only on what they may", run: layers::run },
    Step { name: "package", summary: "every published crate can be packaged", run: package::run },
    Step { name: "deny", summary: "licences, banned crates, sources, advisories", run: deny::run },
    Step {
        name: "infra",
        summary: "Terraform modules, policies, alarms, dashboards, manifests, runbooks",
        run: infra::run,
    },
    Step {
        name: "docs",
        summary: "the documentation builds, no link in it is broken, and each promise has its tests",
        run: docs::run,
    },
];
