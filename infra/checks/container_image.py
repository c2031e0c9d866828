#!/usr/bin/env python3
"""Builds the Dockerfile's last stage around programs of this machine, and runs them in it as it says: as nobody, read-only.

  --program PATH   migrate-tokens, manage-secrets and tokenseal-agent
The first stage, which compiles them, needs a base image; what it does after compiling is carried out here, word for word.
"""

import argparse
import json
import re
import shutil

import common

IMAGE = "localhost/tokenseal-check"
USER = "65532:65532"
PROGRAMS = ("migrate-tokens", "manage-secrets", "tokenseal-agent")
# Without the programs: libraries, certificates, three files of /etc.
MEBIBYTES_BESIDE_PROGRAMS = 20


def stages():
    """The command that collects the root file system, and the last stage."""
    text = (common.REPOSITORY / "Dockerfile").read_text()
    collect = re.search(r"^RUN (set -eu; .*?)\n\n", text, re.M | re.S)[1].replace("\\\n", " ")
    return collect, text[text.index("FROM scratch"):]


def build(programs):
    """Makes the image, with the programs where the first stage would have compiled them."""
    place = common.TARGET / "image"
    shutil.rmtree(place, ignore_errors=True)
    (place / "target" / "release").mkdir(parents=True)
    for name in PROGRAMS:
        # Without symbols, as release builds are: the engine keeps several copies.
        common.run(["strip", "-o", place / "target" / "release" / name, programs[name]])
    collect, last = stages()
    root = place / "root-file-system"
    common.run(["bash", "-c", collect.replace("root=/root-file-system", f"root={root}")], cwd=place)
    (place / "Dockerfile").write_text(last.replace("COPY --from=build /root-file-system", "COPY root-file-system"))
    (place / ".dockerignore").write_text("target\n")
    common.run(["docker", "build", "--quiet", "--tag", IMAGE, place])
    return root


def in_container(*command, program=None, options=()):
    entry = ["--entrypoint", program] if program else []
    locked = ["--rm", "--read-only", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    return common.run(["docker", "run", *locked, *entry, *options, IMAGE, *command], check=False)


def check_contents(report, root):
    files = [file for file in root.rglob("*") if file.is_file() and "bin" not in file.parts]
    size = sum(file.stat().st_size for file in files) / 2**20
    report.check(size < MEBIBYTES_BESIDE_PROGRAMS, f"{size:.0f} MiB in addition to the programs")
    shells = [file for file in root.rglob("*") if file.name in ("sh", "bash", "apt", "dpkg", "busybox")]
    report.equal(shells, [], "no shell and no package manager")
    set_id = [file for file in root.rglob("*") if file.is_file() and file.stat().st_mode & 0o6000]
    report.equal(set_id, [], "nothing is set-uid")


def check_running(report):
    configured = json.loads(common.run(["docker", "image", "inspect", IMAGE]).stdout)[0]["Config"]
    report.equal(configured["User"], USER, "it runs as nobody")
    for program in PROGRAMS:
        said = in_container("--version", program=f"/usr/local/bin/{program}")
        report.check(said.returncode == 0 and program in said.stdout, f"{program} starts", said.stdout)
    said = in_container()
    report.check(said.returncode == 0 and "Usage" in said.stdout, "without arguments it helps", said.stdout)
    writable = ["--tmpfs", "/data:uid=65532,gid=65532"]
    demo = in_container("demo", "--dir", "/data/demo", options=writable)
    report.check(demo.returncode == 0, "the demo runs as nobody on a read-only root file system", demo.stdout)
    elsewhere = in_container("demo", "--dir", "/demo")
    report.check(elsewhere.returncode != 0, "and nothing else can be written to")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_programs(parser)
    programs = common.programs(parser.parse_args(), *PROGRAMS)
    report = common.Report("container_image")
    try:
        check_contents(report, build(programs))
        check_running(report)
    finally:
        common.run(["docker", "image", "rm", "--force", IMAGE], check=False)
        shutil.rmtree(common.TARGET / "image", ignore_errors=True)
    report.finish()


if __name__ == "__main__":
    main()
