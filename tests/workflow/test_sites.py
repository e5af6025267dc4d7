"""What a site's words become on the command line of `sbatch`: recorded with a stand-in, one row per kind of site.

A job on CPUs (label), one on a GPU (extract) and a training on a GPU (pretrain) are submitted; nothing computes.
"""

import subprocess
from typing import Any

import pytest
import yaml
from rerun_project import CHECKOUT
from world.site_kinds import KINDS, Recorder

from visionfm.errors import UsageError
from visionfm.project.config import Config
from visionfm.project.jobs import Needs
from visionfm.project.site import given_options, options, read_site


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """A stand-in for `sbatch`."""
    return Recorder(tmp_path_factory.mktemp("site"))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_site_gets_the_submissions_it_wants(name: str, recorder: Recorder) -> None:
    kind = KINDS[name]
    found = {rule: " ".join(words) for rule, words in recorder.submitted(kind).items()}
    for rule, wanted in (("label", kind.cpu), ("extract", kind.gpu), ("pretrain", kind.gpu)):
        if name == "one rule set apart" and rule == "pretrain":
            continue
        text = f" {found[rule]} "
        assert [option for option in wanted if f" {option} " not in text] == [], text
        assert [option for option in kind.never if f" {option}" in text] == [], text


def test_the_guide_has_the_line_of_each_kind() -> None:
    """docs/slurm.md: a table of kinds of sites, their lines, and what becomes of them: those that are tried above."""
    guide = (CHECKOUT / "docs/slurm.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in guide if line.startswith("| ")]
    found = {row[0]: row[1:] for row in rows if len(row) == 5}
    for name, kind in KINDS.items():
        line, cpu, gpu, tried = found[name]
        said = line.strip("`").replace("\\|", "|")
        if kind.config:
            assert yaml.safe_load(f"{{{said}}}" if said[0] != "{" else said) == kind.config, name
        elif kind.profile:
            assert yaml.safe_load(said) == kind.profile, name
        for cell, wanted in ((cpu, kind.cpu), (gpu, kind.gpu)):
            assert cell.replace("\\|", "|") == (" ".join(f"`{option}`" for option in wanted) or "as others"), name
        assert tried == (f"no: {kind.absent}" if kind.absent else "can"), name


# --- the words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("--qos=medical", "'--qos=medical'", "-p gpu", "-pgpu", "--mem=4G", "--mem 4G", "--gres=gpu:1", "--account x"),
        *(
            "-A x",
            "--part=gpu",
            "--export=NONE",
            "--time=10",
            "-J name",
            "--wrap=x",
            "medical",
            "'",
            "--nice --nodes=2",
        ),
    ],
)
def test_options_of_the_executor_are_refused_while_the_profile_is_read(text: str) -> None:
    for read in (lambda: read_site({"extra": text}, ()), lambda: given_options(text)):
        with pytest.raises(UsageError, match="cannot be used"):
            read()


@pytest.mark.parametrize(
    "text", ["--nodelist=n1", "--exclude=n[1-3]", "--mail-user=a@b.c", "--begin=now+1hour", "--x='a b'"]
)
def test_other_options_pass_and_are_quoted_for_the_shell(text: str) -> None:
    assert options(f'"{text}"' if "'" not in text else text).replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"qoss": "x"}, "did you mean 'qos'"),
        ({"memory": "no"}, "memory cannot be used"),
        ({"gres": "gpu:1 --x"}, "gres cannot be used"),
        ({"gpu_model": "'a100'"}, "gpu_model cannot be used"),
        ({"qos": {"cpus": "x"}}, "qos cannot be used"),
        ({"warn_seconds": -1}, "warn_seconds is not a number of seconds"),
    ],
)
def test_words_that_no_site_has_are_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_site(config, Config.model_fields)


def test_a_runs_own_keys_beside_the_sites_are_left_alone() -> None:
    assert read_site({"encoders": {}, "tasks": {}, "cpu_partition": "x"}, Config.model_fields).cpu_partition == "x"


def test_a_null_of_the_profile_arrives_as_text_and_says_nothing() -> None:
    assert read_site({"cpu_partition": "None", "qos": "None"}, ()) == read_site({}, ())


def test_without_a_site_nothing_is_asked_but_devices() -> None:
    found = read_site({}, ()).resources(Needs(1, 1, 1, gpus=2))
    assert {name: value for name, value in found.items() if value is not None} == {"gpu": 2}


def test_setup_lines_run_before_the_stage_and_a_failing_one_is_told() -> None:
    site = read_site({"setup": ["module() { export LOADED=$1; }", "module ${UNSET}cuda", 'echo "{braces}"']}, ())
    done = subprocess.run(
        ["bash", "-c", site.prefix + 'echo "loaded $LOADED"'], capture_output=True, text=True, check=True
    )
    assert done.stdout == "{braces}\nloaded cuda\n"
    broken = read_site({"setup": "false"}, ()).prefix
    assert subprocess.run(["bash", "-c", broken + "echo on"], capture_output=True, check=False).returncode
