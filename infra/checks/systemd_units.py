#!/usr/bin/env python3
"""The units are taken by systemd without a warning, and keep the agent locked.

  --program PATH   tokenseal-agent: the unit starts a program that exists, and with options that it has
"""

import argparse
import re
import shutil

import common

PLACE = common.INFRA / "systemd"
# systemd's own scale, from 0 (locked) to 10.
MOST_EXPOSED = 2.0
# Of a socket's peer, a service in a user namespace of its own would see no user but itself.
NEVER = ("PrivateUsers",)


def units(program):
    """A copy of the units that starts the program where it is on this machine."""
    work = common.TARGET / "work" / "systemd"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for unit in PLACE.glob("tokenseal-agent.*"):
        text = unit.read_text().replace("/usr/local/bin/tokenseal-agent", str(program))
        # The settings are the operator's.
        (work / unit.name).write_text(text.replace("EnvironmentFile=/", "EnvironmentFile=-/"))
    return sorted(work.iterdir())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_programs(parser)
    program = common.programs(parser.parse_args(), "tokenseal-agent")["tokenseal-agent"]
    report = common.Report("systemd_units")
    paths = units(program)
    report.equal([path.name for path in paths], ["tokenseal-agent.service", "tokenseal-agent.socket"], "the units")
    said = common.run(["systemd-analyze", "verify", *paths], check=False)
    report.check(said.returncode == 0 and not said.stdout.strip(), "systemd takes both units without a warning", said.stdout)
    said = common.run(["systemd-analyze", "security", "--offline=true", "--no-pager", paths[0]], check=False)
    level = re.search(r"exposure level for \S+: ([0-9.]+)", said.stdout)
    report.check(level and float(level[1]) <= MOST_EXPOSED, f"the service is locked: {level and level[1]}", said.stdout)
    text = paths[0].read_text()
    for setting in NEVER:
        report.check(not re.search(rf"^{setting}=", text, re.M), f"{setting} is not set")
    report.finish()


if __name__ == "__main__":
    main()
