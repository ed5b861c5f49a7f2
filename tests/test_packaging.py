"""What is installed: the package with its configuration inside, two commands, and nothing else at the top level."""

from __future__ import annotations

import configparser
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def build(target: str, source: Path, folder: Path) -> Path:
    """Builds from `source` without a build environment of its own, so without network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=60)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    return ZipFile(build("wheel", ROOT, tmp_path_factory.mktemp("wheel")))


def yaml_of_the_checkout() -> dict[str, bytes]:
    """Path inside the package -> content; conf/sweep, the link to sweeps/, is left out."""
    conf = {path.relative_to(ROOT): path for path in (ROOT / "conf").rglob("*.yaml") if "sweep" not in path.parts}
    sweeps = {Path("conf/sweep") / path.name: path for path in (ROOT / "sweeps").glob("*.yaml")}
    assert conf, "no configuration in the checkout"
    assert sweeps, "no sweep in the checkout"
    return {f"tsallis_run/{inside.as_posix()}": path.read_bytes() for inside, path in (conf | sweeps).items()}


def test_the_wheel_holds_every_configuration_file_once_and_inside_the_package(wheel: ZipFile) -> None:
    packed = [name for name in wheel.namelist() if name.endswith(".yaml")]
    assert sorted(packed) == sorted(yaml_of_the_checkout())


def test_the_wheel_holds_configuration_files_unchanged(wheel: ZipFile) -> None:
    expected = yaml_of_the_checkout()
    assert {name: wheel.read(name) for name in expected} == expected


def test_the_wheel_puts_nothing_but_the_package_and_the_plugin_at_the_top_level(wheel: ZipFile) -> None:
    top_level = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top_level if not name.endswith(".dist-info")} == {"tsallis_run", "hydra_plugins"}


def test_hydra_plugins_stays_a_namespace_that_other_distributions_share(wheel: ZipFile) -> None:
    plugins = [name for name in wheel.namelist() if name.startswith("hydra_plugins/")]
    assert sorted(plugins) == ["hydra_plugins/tsallis_slurm_launcher.py", "hydra_plugins/tsallis_sweeper.py"]


def test_the_wheel_holds_every_module_of_the_package(wheel: ZipFile) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tsallis_run").rglob("*.py")}
    assert {name for name in wheel.namelist() if name.startswith("tsallis_run/") and name.endswith(".py")} == modules


def test_the_wheel_offers_two_commands(wheel: ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(name).decode())
    assert dict(parser["console_scripts"]) == {
        "tsallis-run": "tsallis_run.cli:main",
        "tsallis-report": "tsallis_run.report:main",
    }


def test_a_wheel_from_the_source_archive_equals_one_from_the_checkout(wheel: ZipFile, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    rebuilt = ZipFile(build("wheel", source, tmp_path / "wheel"))
    assert sorted(rebuilt.namelist()) == sorted(wheel.namelist())


def test_installed_versions_are_those_the_package_asks_for() -> None:
    """Set-up installs the package without its dependencies, from pinned requirements: the two must agree."""
    needed = [Requirement(line) for line in metadata.requires("tsallis-run") or []]
    unmet = {
        str(requirement): metadata.version(requirement.name)
        for requirement in needed
        if requirement.marker is None and not requirement.specifier.contains(metadata.version(requirement.name))
    }
    assert unmet == {}


def show(folder: Path, *arguments: str) -> str:
    """What the installed command prints when it is called in `folder`."""
    command = [BIN / "tsallis-run", *arguments]
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def test_the_installed_command_finds_its_configuration_from_any_folder(tmp_path: Path) -> None:
    groups = {path.parent.name for path in (ROOT / "conf").glob("*/*.yaml")} - {"sweep"}
    shown = show(tmp_path, "--help")
    assert {group for group in groups if group not in shown} == set()


def test_the_installed_command_finds_its_sweeps_from_any_folder(tmp_path: Path) -> None:
    """Where Hydra knows no group of that name, +sweep=NAME becomes a plain key, without an error."""
    name = min(path.stem for path in (ROOT / "sweeps").glob("*.yaml"))
    shown = show(tmp_path, f"+sweep={name}", "--cfg", "job")
    assert [line for line in shown.splitlines() if line.startswith("sweep:")] == []
