//! `--help` explains every command and option, with the options that all commands share under a heading of their own.

use std::collections::BTreeSet;

use clap::{Arg, Command};
use migrate_cli::{manage_secrets, migrate_tokens};

const COMMON: &str = "Common options";

/// Each program with its arguments passed on to its commands, as `--help` shows them.
fn programs() -> [Command; 2] {
    [migrate_tokens::command(), manage_secrets::command()].map(|mut program| {
        program.build();
        program
    })
}

/// A program's commands, their own commands included, as `migrate-tokens keyring init`.
fn commands(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    std::iter::once(command).chain(below.flat_map(commands)).collect()
}

fn name(arg: &Arg) -> String {
    arg.get_id().to_string()
}

#[test]
fn every_command_and_option_has_an_explanation() {
    for program in &programs() {
        for command in commands(program) {
            let shown = command.get_bin_name().unwrap_or(command.get_name());
            assert!(command.get_about().is_some(), "{shown}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{shown} {}", name(arg));
            }
        }
    }
}

#[test]
fn options_that_every_command_takes_are_under_a_heading_of_their_own() {
    for program in &programs() {
        let global: BTreeSet<String> =
            program.get_arguments().filter(|arg| arg.is_global_set()).map(name).collect();
        for shared in ["format", "log_level", "no_progress", "metrics_listen", "actor"] {
            assert!(global.contains(shared), "{} {shared}", program.get_name());
        }
        for command in commands(program) {
            let shown = command.get_bin_name().unwrap_or(command.get_name());
            let common =
                command.get_arguments().filter(|arg| arg.get_help_heading() == Some(COMMON)).map(name);
            assert_eq!(common.collect::<BTreeSet<String>>(), global, "{shown}");
        }
    }
}

#[test]
fn every_command_has_a_man_page_with_its_options() {
    for program in programs() {
        for command in commands(&program) {
            let mut page = Vec::new();
            clap_mangen::Man::new(command.clone()).render(&mut page).unwrap();
            let page = String::from_utf8(page).unwrap();
            assert!(page.contains(".SH DESCRIPTION"), "{}", command.get_name());
            // A man page writes a hyphen that readers copy as `\-`.
            assert!(page.contains(r"\-\-log\-level"), "{}", command.get_name());
        }
    }
}
