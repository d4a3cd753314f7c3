"""What is pure is tested to its last branch, by its own tests alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("part", ["protocol", "ledgers"])
def test_a_pure_part_is_covered_by_its_own_tests(part: str, tmp_path: Path) -> None:
    coverage = [sys.executable, "-m", "coverage"]
    settings = tmp_path / "coveragerc"
    settings.write_text(
        f"[run]\nbranch = true\nsource = meibel_integrations.{part}\n[report]\nexclude_also =\n    if TYPE_CHECKING:\n"
    )
    environment = {
        **os.environ,
        "COVERAGE_FILE": str(tmp_path / "data"),
        "COVERAGE_RCFILE": str(settings),
        "HYPOTHESIS_PROFILE": "quick",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*coverage, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    pytest_options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    tests = run("run", "-m", "pytest", f"tests/{part}", *pytest_options)
    assert tests.returncode == 0, tests.stdout
    report = run("report", "--show-missing", "--skip-covered", "--fail-under=100")
    assert report.returncode == 0, report.stdout
