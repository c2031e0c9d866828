#!/usr/bin/env python3
"""Validates the modules and examples and runs their tests.

  --provider-free   the modules without a provider: needs nothing but Terraform
Without it: all others, with the schema of the real provider and without its calls (mock_provider).
"""

import argparse
import re

import common


def tested(report, place, name):
    """Runs terraform test in a folder and counts its runs."""
    common.terraform("init", "-backend=false", "-input=false", cwd=place)
    done = common.terraform("test", "-no-color", cwd=place, check=False)
    passed = re.search(r"(\d+) passed, (\d+) failed", done.stdout)
    fine = done.returncode == 0 and passed and int(passed[1]) > 0
    report.check(fine, f"terraform test of {name}", "" if fine else done.stdout)
    if fine:
        report.passed += int(passed[1]) - 1


def validated(report, place, name):
    common.terraform("init", "-backend=false", "-input=false", cwd=place)
    done = common.terraform("validate", "-no-color", cwd=place, check=False)
    report.check(done.returncode == 0, f"terraform validate of {name}", done.stdout if done.returncode else "")


def test_provider_free(report):
    work = common.copy("test-provider-free")
    for name in common.PROVIDER_FREE:
        tested(report, work / "modules" / name, name)


def test_with_provider(report):
    work = common.copy("test")
    # A test validates its module, too.
    for name in common.MODULES:
        tested(report, work / "modules" / name, name)
    for name in common.EXAMPLES:
        validated(report, work / "examples" / name, f"examples/{name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider-free", action="store_true")
    options = parser.parse_args()
    report = common.Report("terraform_test")
    if options.provider_free:
        test_provider_free(report)
    else:
        test_with_provider(report)
    report.finish()


if __name__ == "__main__":
    main()
