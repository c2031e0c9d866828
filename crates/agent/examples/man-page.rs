//! Writes the man page of the agent into a directory: `cargo xtask man`.

use std::error::Error;
use std::ffi::OsString;
use std::fs;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [directory] = arguments.as_slice() else {
        return Err("expected one argument: the directory to write to".into());
    };
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(tokenseal_agent::command(), directory)?;
    Ok(())
}
