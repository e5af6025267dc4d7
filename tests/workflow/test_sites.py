"""What a site's words become on the command line of `sbatch`: recorded with a stand-in, one row per kind of site.

A job on CPUs (label), one on a GPU (extract) and a training on a GPU (pretrain) are submitted; nothing computes.
"""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from rerun_project import CHECKOUT

from visionfm import cli
from visionfm.errors import UsageError
from visionfm.project.config import Config
from visionfm.project.jobs import Needs
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan
from visionfm.project.site import given_options, options, read_site

PROFILE = yaml.safe_load((CHECKOUT / "slurm/config.yaml").read_text())
CONFIG = yaml.safe_load((CHECKOUT / "tests/slurm/config.yaml").read_text())
SBATCH = """#!{python}
import json, pathlib, sys
here = pathlib.Path({folder!r})
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
for name in (here / "files").read_text().splitlines():
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
print(len((here / "calls").read_text().splitlines()))
"""
SILENT = ("squeue", "sacct", "sacctmgr", "sshare", "scontrol", "sinfo", "scancel")
RULES = ("label", "extract", "pretrain")
TARGETS = (
    "results/datasets/fundus/labels.parquet",
    "results/features/fundus/fundus.cls32.0.h5",
    "results/encoders/oct/encoder.safetensors",
)


class Kind(NamedTuple):
    """A kind of site: its words, and options that jobs on CPUs and on GPUs have and have not."""

    config: Mapping[str, Any]
    cpu: Sequence[str] = ()
    gpu: Sequence[str] = ()
    never: Sequence[str] = ()
    profile: Mapping[str, Any] = {}  # beside the site's words
    nodes: int = 1


KINDS = {
    "as shipped": Kind(
        {}, ["-p cpu", "--mem 2000", "--ntasks=1"], ["-p gpu", "--gpus=1", "--mem 2000"], ["--qos", "-C"]
    ),
    "several partitions": Kind({"cpu_partition": "short,long"}, ["-p short,long"], ["-p gpu"]),
    "one partition for all": Kind({"gpu_partition": "cpu"}, ["-p cpu"], ["-p cpu", "--gpus=1"]),
    "no partition to be named": Kind({"cpu_partition": None, "gpu_partition": None}, [], ["--gpus=1"], ["-p"]),
    "a model of GPU": Kind({"gpu_model": "a100"}, [], ["--gpus=a100:1"], ["--gres"]),
    "GPUs by --gres": Kind({"gres": "gpu"}, [], ["--gres=gpu:1"], ["--gpus"]),
    "GPUs by --gres with a model": Kind({"gres": "gpu", "gpu_model": "v100"}, [], ["--gres=gpu:v100:1"], ["--gpus"]),
    "no --mem": Kind({"memory": False}, ["-t 30"], ["--gpus=1"], ["--mem"]),
    "an account": Kind({"account": "eyes"}, ["-A eyes"], ["-A eyes"]),
    "an account per partition": Kind({"account": {"cpu": "eyes", "gpu": "eyes_gpu"}}, ["-A eyes"], ["-A eyes_gpu"]),
    "a quality of service": Kind({"qos": "medical"}, ["--qos=medical"], ["--qos=medical"]),
    "a quality of service on GPUs": Kind({"qos": {"gpu": "long"}}, [], ["--qos=long"]),
    "features of nodes": Kind({"constraint": "rome|milan"}, ["-C rome|milan"], ["-C rome|milan"]),
    "a reservation": Kind({"extra": "--reservation=eyes"}, ["--reservation=eyes"], ["--reservation=eyes"]),
    "licences": Kind({"extra": {"cpu": "--licenses=data:1"}}, ["--licenses=data:1"], []),
    "nodes of one's own": Kind({"extra": {"gpu": "--exclusive"}}, [], ["--exclusive"]),
    "options of the profile": Kind(
        {"extra": "--nice=10"},
        ["--mail-type=FAIL", "--nice=10"],
        ["--mail-type=FAIL", "--nice=10"],
        profile={"default-resources": {"slurm_extra": "'--mail-type=FAIL'"}},
    ),
    "an account of the profile": Kind(
        {}, ["-A old"], ["-A old"], profile={"default-resources": {"slurm_account": "old"}}
    ),
    "one rule set apart": Kind(
        {}, ["-p cpu"], ["-p debug"], profile={"set-resources": {"extract": {"slurm_partition": "debug"}}}
    ),
    "no requeueing": Kind(
        {}, ["--no-requeue"], ["--no-requeue"], profile={"slurm-requeue": False, "slurm-no-requeue": True}
    ),
    "two nodes": Kind(
        {"extra": "--exclusive"}, ["--ntasks=1"], ["--nodes=2", "--ntasks=2", "--exclusive --gpus-per-node=1"], nodes=2
    ),
    "two nodes by --gres": Kind({"gres": "gpu"}, [], ["--nodes=2", "--gres=gpu:1"], ["--gpus-per-node"], nodes=2),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose files are all there, and stand-ins for SLURM's commands."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "bin").mkdir()
    commands = {
        "sbatch": SBATCH.format(python=sys.executable, folder=str(folder)),
        **dict.fromkeys(SILENT, "#!/bin/sh\n"),
    }
    commands |= dict.fromkeys(("sacctmgr",), "#!/bin/sh\nprintf 'eyes\\neyes_gpu\\nold\\n'\n")
    for name, text in commands.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    drawn = ["synth", "--task", "multi_cls", "--modalities", "Fundus", "OCT", "--number", "2", "--size", "64"]
    assert cli.main([*drawn, "--out", str(folder / "data")]) == 0
    files = [folder / path for path in Plan(parse_config(CONFIG)).everything()]
    (folder / "files").write_text("\n".join(map(str, files)))
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


@pytest.fixture
def submitted(place: Path) -> Callable[[Kind], dict[str, str]]:
    """Return a function that submits the jobs at a kind of site: rule -> the options of its `sbatch`."""

    def submit(kind: Kind) -> dict[str, str]:
        profile, config = copy.deepcopy(PROFILE), copy.deepcopy(CONFIG)
        profile |= kind.profile
        profile["config"] = {**profile["config"], **kind.config}
        for encoder in config["encoders"].values():
            encoder["resources"] = {**encoder["resources"], "nodes": kind.nodes}
        config["encoders"]["oct"]["pretrain"]["resources"]["nodes"] = kind.nodes
        (place / "profile").mkdir(exist_ok=True)
        (place / "profile/config.yaml").write_text(yaml.safe_dump(profile))
        (place / "config.yaml").write_text(yaml.safe_dump(config))
        (place / "calls").unlink(missing_ok=True)
        environment = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
        command = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--directory", str(place)]
        command += ["--profile", str(place / "profile"), "--configfile", str(place / "config.yaml")]
        command += ["--immediate-submit", "--notemp", "--allowed-rules", *RULES, "--forcerun", *RULES, "--", *TARGETS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert (place / "calls").exists(), done.stdout + done.stderr
        calls = [json.loads(line) for line in (place / "calls").read_text().splitlines()]
        said = [" ".join(word for word in call if not word.startswith("--wrap")) for call in calls]
        found = {rule: text for rule in RULES for text in said if f"rule_{rule}" in text or f"samples_{rule}" in text}
        assert sorted(found) == sorted(RULES), done.stdout + done.stderr
        return found

    return submit


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_site_gets_the_submissions_it_wants(
    name: str, submitted: Callable[[Kind], dict[str, str]]
) -> None:
    kind = KINDS[name]
    found = submitted(kind)
    for rule, wanted in (("label", kind.cpu), ("extract", kind.gpu), ("pretrain", kind.gpu)):
        if name == "one rule set apart" and rule == "pretrain":
            continue
        text = f" {found[rule]} "
        assert [option for option in wanted if f" {option} " not in text] == [], text
        assert [option for option in kind.never if f" {option}" in text] == [], text


def test_the_guide_has_the_line_of_each_kind() -> None:
    """docs/slurm.md: a table of kinds of sites with their lines, which are the ones that are tried above."""
    guide = (CHECKOUT / "docs/slurm.md").read_text()
    rows = [[cell.strip() for cell in line.split(" | ")] for line in guide.splitlines() if line.startswith("| ")]
    lines = {
        row[0].removeprefix("| "): row[1].removesuffix(" |").strip("`").replace("\\|", "|")
        for row in rows
        if len(row) == 2
    }
    for name, kind in KINDS.items():
        if kind.config:
            assert yaml.safe_load(f"{{{lines[name]}}}" if lines[name][0] != "{" else lines[name]) == kind.config, name
        elif kind.profile:
            assert yaml.safe_load(lines[name]) == kind.profile, name


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
