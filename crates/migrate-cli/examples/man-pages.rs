//! Writes the man pages of both programs and of each of their commands into a directory: `cargo xtask man`.

use std::error::Error;
use std::ffi::OsString;
use std::fs;

use migrate_cli::{manage_secrets, migrate_tokens};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [directory] = arguments.as_slice() else {
        return Err("expected one argument: the directory to write to".into());
    };
    fs::create_dir_all(directory)?;
    for program in [migrate_tokens::command(), manage_secrets::command()] {
        clap_mangen::generate_to(program, directory)?;
    }
    Ok(())
}
