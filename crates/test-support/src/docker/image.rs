//! Finding, making or pulling a container image of PostgreSQL.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testcontainers::bollard::Docker;
use tokio::process::Command;

use crate::availability::{Effort, Unavailable};
use crate::paths::installation_lock;
use crate::postgres::local::{bin_dir, initdb_for_image};
use crate::process::output;

const PUBLIC: &str = "postgres:15-alpine";
const OWN: &str = "localhost/tokenseal-postgres:15";

const PULL_LIMIT: Duration = Duration::from_secs(120);
const BUILD_LIMIT: Duration = Duration::from_secs(120);

/// The image's only user except root, as the public images number it.
const UID: u32 = 999;

/// An image that the engine has, or with enough effort gets.
///
/// Making one from the machine's own programs comes before pulling: it takes seconds and no network.
pub(super) async fn find(client: &Docker, effort: Effort) -> Result<String, Unavailable> {
    for image in [PUBLIC, OWN] {
        if client.inspect_image(image).await.is_ok() {
            return Ok(image.to_owned());
        }
    }
    if effort == Effort::UseWhatIsThere {
        return Err(Unavailable::new(format!(
            "the engine has neither {PUBLIC} nor {OWN}: `cargo xtask test` gets one"
        )));
    }
    match build().await {
        Ok(()) => Ok(OWN.to_owned()),
        Err(not_built) => match pull().await {
            Ok(()) => Ok(PUBLIC.to_owned()),
            Err(not_pulled) => Err(Unavailable::new(format!("no image: {not_built}; {not_pulled}"))),
        },
    }
}

async fn pull() -> Result<(), Unavailable> {
    output(Command::new("docker").args(["pull", "--quiet", PUBLIC]), PULL_LIMIT).await.map(drop)
}

/// Makes an image of the programs on this machine, the libraries that they load, and an empty cluster.
///
/// The cluster is made here rather than at each start, so that the image needs no shell, and a container is
/// ready at once.
async fn build() -> Result<(), Unavailable> {
    let _lock = installation_lock("postgres-image")?;
    let bin = bin_dir().ok_or_else(|| Unavailable::new("no PostgreSQL programs to make one from"))?;
    let stage = tempfile::Builder::new()
        .prefix("tokenseal-image-")
        .tempdir()
        .map_err(|error| Unavailable::while_doing("cannot make a directory for an image", error))?;
    let root = stage.path().join("root");
    let failed = |error| Unavailable::while_doing("cannot lay out an image", error);
    fs::create_dir(&root).map_err(failed)?;
    copy_programs(&bin, &root).await?;
    write_accounts(&root).map_err(failed)?;
    initdb_for_image(&bin, &root.join("data")).await?;
    import(&root, &bin).await
}

async fn copy_programs(bin: &Path, root: &Path) -> Result<(), Unavailable> {
    let server = bin.join("postgres");
    let mut files = libraries(&server).await?;
    files.insert(server);
    for question in ["--pkglibdir", "--sharedir"] {
        let answer = output(Command::new(bin.join("pg_config")).arg(question), BUILD_LIMIT).await?;
        files.insert(PathBuf::from(answer.trim()));
    }
    let zones = PathBuf::from("/usr/share/zoneinfo");
    if zones.is_dir() {
        files.insert(zones);
    }
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--dereference", "--parents"]).args(files).arg(root);
    output(&mut copy, BUILD_LIMIT).await.map(drop)
}

/// The shared libraries that a program loads, the loader included, as absolute paths.
async fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>, Unavailable> {
    let listing = output(Command::new("ldd").arg(program), BUILD_LIMIT).await?;
    Ok(listing
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|word| PathBuf::from(word.trim_end_matches(':')))
        .collect())
}

fn write_accounts(root: &Path) -> std::io::Result<()> {
    // The last is where the server puts its socket.
    for directory in ["etc", "tmp", "var/run/postgresql"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::write(
        root.join("etc/passwd"),
        format!("root:x:0:0:root:/:/\npostgres:x:{UID}:{UID}:postgres:/data:/\n"),
    )?;
    fs::write(root.join("etc/group"), format!("root:x:0:\npostgres:x:{UID}:\n"))
}

async fn import(root: &Path, bin: &Path) -> Result<(), Unavailable> {
    let archive = root.with_extension("tar");
    let owner = [format!("--owner={UID}"), format!("--group={UID}")];
    let mut tar = Command::new("tar");
    tar.args(owner).arg("-C").arg(root).arg("-cf").arg(&archive).arg(".");
    output(&mut tar, BUILD_LIMIT).await?;
    let settings = [
        format!("USER {UID}:{UID}"),
        format!("ENV PATH={} PGDATA=/data", bin.display()),
        "EXPOSE 5432".to_owned(),
    ];
    let mut docker = Command::new("docker");
    docker.arg("import");
    for setting in settings {
        docker.args(["--change", &setting]);
    }
    output(docker.arg(&archive).arg(OWN), BUILD_LIMIT).await.map(drop)
}
