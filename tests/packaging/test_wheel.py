"""What a customer installs: the wheels, in an empty environment outside the repository, without a network."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from upkeep_llm import PACKAGES, __version__

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "upkeep_llm.py", "README.md", "LICENSE", "demo", *PACKAGES)
BASE = REPOSITORY / "demo" / "base"

Run = Callable[..., subprocess.CompletedProcess[str]]


def _run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def _pip(*arguments: object, cwd: Path) -> None:
    quiet = ("--quiet", "--disable-pip-version-check")
    done = _run(sys.executable, "-m", "pip", *arguments, "--no-deps", "--no-index", *quiet, cwd=cwd)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both distributions, built from a copy, so that no earlier build's leftovers come along."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        place = REPOSITORY / name
        if place.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
            shutil.copytree(place, source / name, ignore=ignored)
        else:
            shutil.copy(place, source / name)
    for project in (source, source / "demo"):
        _pip("wheel", project, "--no-build-isolation", "--wheel-dir", source / "dist", cwd=source)
    return {file.name.partition("-")[0]: file for file in (source / "dist").iterdir()}


def _needed(
    requirement: Requirement, seen: set[tuple[str, frozenset[str]]]
) -> Iterator[metadata.Distribution]:
    """An installed distribution and what it requires, as pip would find it."""
    key = requirement.name.lower().replace("_", "-"), frozenset(requirement.extras)
    if key in seen:
        return
    seen.add(key)
    found = metadata.distribution(requirement.name)
    yield found
    yield from _needs_of(found.requires, requirement.extras, seen)


def _needs_of(
    requires: list[str] | None, extras: set[str], seen: set[tuple[str, frozenset[str]]]
) -> Iterator[metadata.Distribution]:
    for one in map(Requirement, requires or ()):
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield from _needed(one, seen)


def _environment(folder: Path, wheels: dict[str, Path], extras: set[str], *beside: str) -> Path:
    """An empty environment with our wheel and, linked from this one, exactly what the wheel says that it requires.

    Args:
        beside: names of distributions that are linked, too.
    """
    _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    _pip("--python", python, "install", wheels["upkeep_llm"], cwd=folder)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (ours,) = metadata.distributions(name="upkeep-llm", path=[str(site)])
    for distribution in (*_needs_of(ours.requires, extras, set()), *map(metadata.distribution, beside)):
        _link(distribution, site)
    return python


def _link(distribution: metadata.Distribution, site: Path) -> None:
    for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        target = Path(str(distribution.locate_file(top)))
        if target.exists() and not (site / top).exists() and target.suffix != ".pth":
            (site / top).symlink_to(target)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]) -> Path:
    """The Python of an environment without any extra."""
    return _environment(tmp_path_factory.mktemp("library") / "venv", wheels, set())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]) -> Path:
    """The Python of an environment with the extra `daemon`."""
    return _environment(tmp_path_factory.mktemp("daemon") / "venv", wheels, {"daemon"})


@pytest.fixture
def upkeep(installed: Path, tmp_path: Path) -> Run:
    """Runs `upkeep ARGUMENTS` of the environment with the extra `daemon`, in an empty folder."""
    return lambda *arguments: _run(installed.with_name("upkeep"), *arguments, cwd=tmp_path)


def test_the_wheel_carries_the_data_that_it_reads_and_nothing_of_the_demo(wheels: dict[str, Path]) -> None:
    names = set(zipfile.ZipFile(wheels["upkeep_llm"]).namelist())

    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {
        *PACKAGES,
        "upkeep_llm.py",
    }
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    left_out = {name for name in tracked if name not in names}
    assert all(name.startswith("monitoring/prometheus/tests/") for name in left_out), left_out
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert wheels["upkeep_llm"].stat().st_size < 5_000_000


def test_the_demos_wheel_carries_its_base_and_is_of_the_same_version(wheels: dict[str, Path]) -> None:
    names = set(zipfile.ZipFile(wheels["upkeep_llm_demo"]).namelist())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert {"demo/base/model.safetensors", "demo/data/templates.toml", "demo/command.py"} <= names
    assert wheels["upkeep_llm_demo"].name.startswith(f"upkeep_llm_demo-{__version__}-")
    assert f"upkeep-llm-demo=={__version__}" in project["optional-dependencies"]["demo"]


def test_the_installed_command_tells_its_version_and_its_commands(upkeep: Run) -> None:
    version, reported = upkeep("--version"), upkeep("--help")

    assert (version.returncode, version.stdout) == (0, f"upkeep {__version__}\n"), version.stderr
    assert reported.returncode == 0, reported.stderr
    assert " assets " in reported.stdout
    assert " rollback " in reported.stdout


def test_the_installed_command_writes_settings_that_it_can_read(upkeep: Run) -> None:
    made = upkeep("init")
    assert made.returncode == 0, made.stderr

    status = upkeep("status", "--json")

    assert status.returncode == 0, status.stderr
    assert '"generation"' in status.stdout


def test_the_installed_command_writes_the_same_dashboards_and_rules_that_the_repository_has(
    upkeep: Run, tmp_path: Path
) -> None:
    done = upkeep("assets", "out")
    assert done.returncode == 0, done.stderr

    written = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert len([path for path in written if path.match("grafana/dashboards/*.json")]) == 3
    assert {"alerts.yml", "recording.yml", "prometheus.yml", "alertmanager.yml"} <= {
        path.name for path in written
    }
    for path in written:
        kept = REPOSITORY / ("docs" if path.name == "fact-event.schema.json" else "monitoring") / path
        assert (tmp_path / "out" / path).read_bytes() == kept.read_bytes(), path
    again = upkeep("assets", "out")
    assert again.returncode == 1
    assert "--force" in again.stderr


def test_what_is_not_installed_is_named_with_its_extra(upkeep: Run, library: Path, tmp_path: Path) -> None:
    demo = upkeep("demo")
    upkeep("init")
    command = _run(library.with_name("upkeep"), "status", cwd=tmp_path)
    settings = tmp_path / "upkeep.toml"
    toml, count = re.subn(
        r'(?m)^url = ".*"', 'url = "postgresql://u@localhost/u"', settings.read_text("utf-8"), count=1
    )
    settings.write_text(toml, encoding="utf-8")
    ledger = upkeep("status")

    assert count == 1
    for reported, extra in ((demo, "demo"), (command, "daemon"), (ledger, "postgres")):
        assert reported.returncode == 1, reported.stderr
        assert f"pip install 'upkeep-llm[{extra}]'" in reported.stderr
        assert reported.stderr.count("\n") == 1


def test_the_library_of_the_readme_needs_no_extra_but_the_encoder_that_it_names(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert '"demo/base"' in example
    (tmp_path / "example.py").write_text(example.replace('"demo/base"', repr(str(BASE))), encoding="utf-8")
    (named,) = re.findall(r"pip install --no-deps ([\w-]+)", readme)
    python = _environment(tmp_path / "venv", wheels, set(), named)

    done = _run(python, "example.py", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "Karol Nawrocki" in done.stdout


def test_the_planners_need_no_extra(library: Path, tmp_path: Path) -> None:
    done = _run(library, "-c", "import planners; print(planners.plan.__name__)", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, "plan\n"), done.stderr


def test_another_distributions_package_of_the_same_name_is_refused_in_one_line(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "daemon").mkdir()
    (tmp_path / "daemon" / "__init__.py").write_text("'''Well-behaved Unix daemons.'''\n", encoding="utf-8")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import upkeep_llm; upkeep_llm.main()"

    reported = _run(installed, "-I", "-c", script, cwd=tmp_path)

    assert reported.returncode == 1
    assert "is not Upkeep's" in reported.stderr
    assert "environment of its own" in reported.stderr
    assert reported.stderr.count("\n") == 1


def test_a_package_that_another_distribution_overwrote_is_refused_in_one_line(
    tmp_path: Path, wheels: dict[str, Path]
) -> None:
    python = _environment(tmp_path / "venv", wheels, set())
    (package,) = (tmp_path / "venv" / "lib").glob("python*/site-packages/daemon/__init__.py")
    package.write_text("'''Well-behaved Unix daemons.'''\n", encoding="utf-8")

    reported = _run(python.with_name("upkeep"), "--help", cwd=tmp_path)

    assert reported.returncode == 1
    assert "has overwritten Upkeep's package 'daemon'" in reported.stderr
    assert reported.stderr.count("\n") == 1
