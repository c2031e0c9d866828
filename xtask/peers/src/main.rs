//! Measures what sealing and opening one value costs here and in other libraries, and prints a table.
//!
//! `cargo xtask peers` builds it with the release profile and gives it the description of the machine.

mod measure;
mod peer;
mod table;
mod versions;

use measure::Times;

/// The lengths of the values, in bytes: a long token, and a document.
const LENGTHS: [usize; 2] = [256, 4_096];

fn main() -> anyhow::Result<()> {
    let machine = std::env::args().nth(1).unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    // The caches fetch keys ahead of their expiry in tasks of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = runtime.enter();
    println!("Measured on {machine}, with {}.", versions::sentence());
    for length in LENGTHS {
        let mut contests = peer::contests(&"x".repeat(length))?;
        let times: Vec<(&str, Times)> = measure::in_turns(&mut contests);
        println!("\n{}", table::times(length, &times));
    }
    println!("\n{}", table::differences());
    Ok(())
}
