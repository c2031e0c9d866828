//! `cargo xtask bench`: runs the benches and writes their results into docs/performance.md.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cargo::{
    array, capture, cargo, metadata, program, root, run as run_command, target_dir, text, workspace_packages,
};

const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- measured: begin (written by `cargo xtask bench`) -->";
const END: &str = "<!-- measured: end -->";

/// One result, as criterion stores it.
struct Measured {
    name: String,
    nanoseconds: f64,
    /// How much one iteration works through, and in what: `Elements` or `Bytes`.
    throughput: Option<(f64, String)>,
}

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let quick = match args {
        [] => false,
        [only] if only == "--quick" => true,
        _ => bail!("usage: cargo xtask bench [--quick]"),
    };
    let start = SystemTime::now();
    run_benches(quick)?;
    let measured = results(&target_dir()?.join("criterion"), start)?;
    if measured.is_empty() {
        bail!("no bench left a result: is there a criterion bench in the workspace?");
    }
    write_page(&root().join(PAGE), &section(&measured, quick)?)?;
    println!("wrote {} results to {PAGE}", measured.len());
    Ok(ExitCode::SUCCESS)
}

/// One by one and by name, since a library's own tests do not know criterion's options.
fn run_benches(quick: bool) -> anyhow::Result<()> {
    let metadata = metadata()?;
    for package in workspace_packages(&metadata) {
        let benches = array(&package["targets"]).iter().filter(|target| text(&target["kind"][0]) == "bench");
        for bench in benches {
            let mut command = cargo();
            command.args([
                "bench",
                "--all-features",
                "-p",
                text(&package["name"]),
                "--bench",
                text(&bench["name"]),
            ]);
            run_command(command.args(["--", if quick { "--quick" } else { "--noplot" }]))?;
        }
    }
    Ok(())
}

/// The results below criterion's directory that are newer than a moment.
fn results(directory: &Path, since: SystemTime) -> anyhow::Result<Vec<Measured>> {
    let mut found = Vec::new();
    for path in estimate_files(directory) {
        let fresh =
            fs::metadata(&path).and_then(|data| data.modified()).is_ok_and(|modified| modified >= since);
        if fresh && path.parent().is_some_and(|parent| parent.ends_with("new")) {
            found.push(read_result(&path)?);
        }
    }
    found.sort_by(|a: &Measured, b| a.name.cmp(&b.name));
    Ok(found)
}

fn estimate_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { estimate_files(&path) } else { vec![path] })
        .filter(|path| path.ends_with("estimates.json"))
        .collect()
}

fn read_result(estimates: &Path) -> anyhow::Result<Measured> {
    let json = |path: &Path| -> anyhow::Result<Value> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
    };
    let bench = json(&estimates.with_file_name("benchmark.json"))?;
    let nanoseconds = json(estimates)?["median"]["point_estimate"].as_f64();
    let throughput = bench["throughput"].as_object().and_then(|throughput| {
        let (unit, amount) = throughput.iter().next()?;
        Some((amount.as_f64()?, unit.clone()))
    });
    Ok(Measured {
        name: text(&bench["full_id"]).to_owned(),
        nanoseconds: nanoseconds.with_context(|| format!("{} has no median", estimates.display()))?,
        throughput,
    })
}

fn section(measured: &[Measured], quick: bool) -> anyhow::Result<String> {
    let mut out = String::new();
    writeln!(out, "{BEGIN}\nMeasured on {}.", machine()?)?;
    if quick {
        writeln!(out, "A quick run: good for orders of magnitude only.")?;
    }
    writeln!(out, "\n| bench | median | throughput |\n| --- | ---: | ---: |")?;
    for result in measured {
        writeln!(out, "| {} | {} | {} |", result.name, duration(result.nanoseconds), throughput(result))?;
    }
    write!(out, "{END}")?;
    Ok(out)
}

/// The processor, its cores and the compiler.
pub(crate) fn machine() -> anyhow::Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rustc = capture(program("rustc").arg("--version"))?;
    Ok(format!("{model}, {cores} cores, {}", rustc.trim()))
}

fn duration(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{value:.3} {unit}").replace(".000 ", " ")
}

fn throughput(result: &Measured) -> String {
    let Some((amount, unit)) = &result.throughput else {
        return "—".to_owned();
    };
    let per_second = amount * 1e9 / result.nanoseconds;
    if unit.starts_with("Bytes") {
        format!("{:.1} MB/s", per_second / 1e6)
    } else {
        format!("{} /s", thousands(per_second))
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Puts the section between its markers, at the end of the page where it has none yet.
fn write_page(path: &Path, section: &str) -> anyhow::Result<()> {
    let old = if path.exists() {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
    } else {
        "# Performance\n".to_owned()
    };
    fs::write(path, with_section(&old, section)).with_context(|| format!("cannot write {}", path.display()))
}

fn with_section(page: &str, section: &str) -> String {
    let between = page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    match between {
        Some((before, after)) => format!("{before}{section}{after}"),
        None => format!("{}\n\n{section}\n", page.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_the_older_one_and_nothing_else() {
        let first = with_section("# Performance\n\nWords.\n", &format!("{BEGIN}\none\n{END}"));
        assert_eq!(first, format!("# Performance\n\nWords.\n\n{BEGIN}\none\n{END}\n"));
        let second = with_section(&format!("{first}More words.\n"), &format!("{BEGIN}\ntwo\n{END}"));
        assert_eq!(second, format!("# Performance\n\nWords.\n\n{BEGIN}\ntwo\n{END}\nMore words.\n"));
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(duration(1_500.0), "1.500 µs");
        assert_eq!(thousands(151_000.4), "151,000");
        let rows =
            Measured { name: "m".into(), nanoseconds: 5e6, throughput: Some((500.0, "Elements".into())) };
        assert_eq!(throughput(&rows), "100,000 /s");
    }
}
