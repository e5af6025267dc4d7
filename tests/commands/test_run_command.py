"""`visionfm run`, `profile` and `example`: Snakemake from any folder, with the files that come with the package."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from visionfm.cli import main
from visionfm.commands.run import snakemake_arguments
from visionfm.errors import ConfigError, UsageError
from visionfm.project import shipped

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(
        "encoders: {e: {modality: Fundus, weights: w.pth}}\nmodels: {m: {Fundus: e}}\ntasks: {}\n"
        "datasets: {d: {modality: Fundus, root: d, layout: vfm, labels: none}}\n"
    )
    return tmp_path


def test_without_a_word_it_takes_all_cores_of_this_machine() -> None:
    snakefile = str(CHECKOUT / "workflow/Snakefile")
    assert snakemake_arguments(["my.yaml"]) == ["--configfile", "my.yaml", "--snakefile", snakefile, "--cores", "all"]


@pytest.mark.parametrize(
    "options", [["-n", "--cores", "3"], ["-c4"], ["-j", "2"], ["--cores=1"], ["--profile", "mine", "-F"]], ids=str
)
def test_options_go_to_snakemake_as_they_are(options: list[str]) -> None:
    assert snakemake_arguments(["my.yaml", *options])[4:] == options


def test_several_configs_are_merged_by_snakemake(config: Path) -> None:
    (config / "more.yaml").write_text("{}\n")
    assert snakemake_arguments(["my.yaml", "more.yaml", "-n"])[:3] == ["--configfile", "my.yaml", "more.yaml"]


@pytest.mark.parametrize("options", [["--profile", "slurm"], ["--profile=slurm"]], ids=str)
def test_a_shipped_profile_is_found_from_anywhere_and_one_of_this_folder_comes_first(
    config: Path, options: list[str]
) -> None:
    assert snakemake_arguments(["my.yaml", *options])[-1].endswith(str(CHECKOUT / "slurm"))
    (config / "slurm").mkdir()
    assert snakemake_arguments(["my.yaml", *options])[4:] == options


def test_a_missing_config_is_told_before_snakemake_starts() -> None:
    with pytest.raises(UsageError, match="the config is missing"):
        snakemake_arguments(["other.yaml", "-n"])


def test_a_wrong_config_is_told_before_snakemake_starts(config: Path) -> None:
    (config / "my.yaml").write_text("datasetts: {}\n")
    with pytest.raises(ConfigError, match="did you mean 'datasets'"):
        snakemake_arguments(["my.yaml", "-n"])


def test_a_folder_that_cannot_be_written_is_told_before_snakemake_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root, who may run this, may write anywhere
    with pytest.raises(UsageError, match="cannot be written here"):
        snakemake_arguments(["my.yaml"])
    assert snakemake_arguments(["my.yaml", "--directory", "there"])[4:6] == ["--directory", "there"]


def test_the_plan_of_an_example_is_printed_in_an_empty_folder(config: Path) -> None:
    assert main(["example", "ordinal"]) == 0
    (config / "data/grades/FundusClassificationMulti").mkdir(parents=True)
    command = [sys.executable, "-m", "visionfm", "run", "ordinal.yaml", "-n", "--quiet", "rules"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(config), "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "extract" in done.stdout, done.stdout + done.stderr


def test_a_profile_is_written_once_and_never_over_an_edited_one(config: Path) -> None:
    assert main(["profile", "slurm"]) == 0
    assert (config / "slurm/config.yaml").read_text() == (CHECKOUT / "slurm/config.yaml").read_text()
    (config / "slurm/config.yaml").write_text("mine\n")
    assert main(["profile", "slurm"]) == 2
    assert (config / "slurm/config.yaml").read_text() == "mine\n"


def test_every_example_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["example"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    files = (CHECKOUT / "config/examples").rglob("*.yaml")
    assert sorted(listed) == sorted(
        str(path.relative_to(CHECKOUT / "config/examples").with_suffix("")) for path in files
    )


def test_an_example_that_does_not_exist_or_is_here_already_is_an_error() -> None:
    assert main(["example", "ordinl"]) == 2
    assert main(["example", "ordinal"]) == 0
    assert main(["example", "ordinal"]) == 2


def test_a_wheel_holds_the_files_where_they_are_looked_for() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    into = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all((CHECKOUT / source).exists() for source in into)
    places = {"workflow": shipped.snakefile().parent, "slurm": shipped.profiles()["slurm"]}
    assert {source: CHECKOUT / source for source in places} == places
    assert {into["workflow"], into["slurm"], into["workstation"], into["config/examples"]} == {
        "visionfm/workflow",
        "visionfm/profiles/slurm",
        "visionfm/profiles/workstation",
        "visionfm/examples",
    }
