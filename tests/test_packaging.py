"""What an installed copy holds, and that it starts quickly."""

import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"prefrl": ROOT / "prefrl", "prefrl_envs": ROOT / "envs"}
PREFRL = Path(sysconfig.get_path("scripts"), "prefrl")


def python(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since building leaves files beside the sources."""
    copy = tmp_path_factory.mktemp("sources")
    for folder in ("prefrl", "envs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    python("from setuptools.build_meta import build_wheel; build_wheel('dist')", copy)
    return next(copy.glob("dist/*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("package", SOURCES)
def test_a_wheel_holds_every_file_of_the_package(package, unpacked):
    def files(folder):
        return {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file() and f.suffix != ".pyc"}

    assert files(unpacked / package) == files(SOURCES[package])
    assert (unpacked / package / "py.typed").exists()


def test_a_wheel_holds_nothing_else(unpacked):
    assert {f.name for f in unpacked.iterdir()} == {*SOURCES, "prefrl-0.1.0.dist-info"}


@pytest.mark.parametrize("package", SOURCES)
def test_a_package_imports_from_a_wheel(package, unpacked):
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r}); import {package}; print({package}.__file__)"
    assert python(code, unpacked) == str(unpacked / package / "__init__.py")


def test_help_answers_in_under_0_4_seconds():
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([PREFRL, "--help"], check=True, capture_output=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(7)) < 0.4  # the best of several: others use the machine too


def test_help_imports_no_torch(tmp_path):
    code = """
import sys
from prefrl.cli import main
sys.argv = ["prefrl", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
assert "torch" not in sys.modules
"""
    assert "usage" in python(code, tmp_path).lower()


@pytest.mark.parametrize("module", ["names", "oracles", "queries", "runs", "schedules", "store", "types"])
def test_what_serves_people_and_rows_imports_no_torch(module, tmp_path):
    assert python(f"import sys, prefrl.{module}; print('torch' in sys.modules)", tmp_path) == "False"


def test_importing_the_envs_imports_no_prefrl(tmp_path):
    assert python("import sys, prefrl_envs; print('prefrl' in sys.modules)", tmp_path) == "False"
