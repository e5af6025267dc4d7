"""The command line's surface and its promises: exit codes, logs, one message and no traceback."""

import argparse
import importlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from visionfm import __version__, cli, errors

# The surface that users' scripts rely on: a change here is a change for them.
SURFACE = {
    "index": "--jobs --log --out --root --settings",
    "label": "--images --like --log --out --root --settings",
    "audit": "--images --labels --log --out --settings",
    "checksum": "--log --out --weights",
    "pack": "--images --jobs --log --out --root --settings",
    "pretrain": "--images --knn-labels --knn-root --log --out --pack --resume --root --settings --threads"
    " --training-out --weights-sum",
    "measure": "--images --labels --log --out --pack --root --settings",
    "import": "--log --out --settings --statistics --weights-sum",
    "extract": "--encoder --images --log --out --root --settings",
    "dense": "--encoder --images --log --out --root --settings",
    "fuse": "--audit --labels --log --out --settings --train-out",
    "train": "--encoders --features --log --out --roots --settings --train --training-out",
    "finetune": "--encoder --encoder-out --log --out --root --settings --train --training-out",
    "calibrate": "--decoder --features --log --out --settings --train",
    "predict": "--arch --classes --decoder --device --encoder --encoders --features --images --interpolation --key"
    " --log --masks-out --modality --model --out --probabilities-out --roots --samples --settings --statistics --timm"
    " --workers PHOTOS",
    "locate": "--features --log --out --samples --settings",
    "suspect": "--audit --locations --log --out --samples --settings",
    "evaluate": "--image-metrics-out --log --masks --out --predictions --probabilities --roots --settings --workers",
    "compare": "--compared --log --out --settings",
    "recalibrate": "--log --out --predictions --settings",
    "contrast": "--compared --labels --log --out --samples --settings",
    "report": "--figures-out --log --metrics-out --out --settings --summary-out --tasks-out",
    "paper": "--log --out --settings",
    "export": "--features --log --out",
    "check": "--explain --log CONFIG",
    "synth": "--difficulty --log --modalities --noise --number --out --seed --size --task --workers",
    "embed": "--arch --batch-size --bits --device --dtype --encoder --exact --frame --interpolation --key --log"
    " --max-megapixels --modality --out --precision --size --skip-bad-images --statistics --timm --views --workers"
    " IMAGES",
    "encoders": "--log",
    "init": "--log --mask --modality --out --table --target FOLDER",
    "example": "--log NAME",
    "run": "--log CONFIG OPTIONS",
    "profile": "--log NAME",
    "launch": "--gpus --inside --log --nodes --threads STAGE",
    "cost": "--log RUN",
    "package": "--config --intended-use --licence --log --onnx --out MODEL",
    "serve": "--device --log --port MODEL",
    "handover": "--log --out DECODER",
    "publish": "--log --out CHECKPOINT",
    "doctor": "--log --results --slurm",
    "du": "--log RUN",
    "gc": "--delete --log CONFIG",
    "verify": "--log --show PATHS",
    "unlock": "--log RUN",
    "forget": "--log PATHS",
}


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root, own = logging.getLogger(), logging.getLogger("visionfm")
    handlers, levels = root.handlers[:], (root.level, own.level)
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])


def options(name: str) -> str:
    parser = cli._parser(name)
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    actions = [action for action in commands.choices[name]._actions if action.dest != "help"]
    return " ".join(sorted(max(a.option_strings, key=len) if a.option_strings else a.dest.upper() for a in actions))


def test_the_commands_are_these() -> None:
    assert set(cli.KNOWN) == set(SURFACE)


def test_the_help_lists_every_command_by_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in SURFACE)
    assert said.index("start:") < said.index("  check") < said.index("stages") < said.index("  extract")


@pytest.mark.parametrize("name", SURFACE)
def test_the_options_of_a_command_are_these(name: str) -> None:
    assert options(name) == SURFACE[name]


@pytest.mark.parametrize("name", [name for name in SURFACE if name not in ("synth", "embed")])
def test_every_option_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0 and f"visionfm {name}" in capsys.readouterr().out
    parser = cli._parser(name)
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert all(action.help for action in commands.choices[name]._actions)


def test_every_stage_has_a_version_and_a_rule_and_a_settings_model() -> None:
    from visionfm.artifacts.versions import VERSIONS

    package = Path(__file__).parents[1]
    files = [path.relative_to(package).with_suffix("") for path in (package / "visionfm").rglob("settings.py")]
    known = {name for file in files for name in vars(importlib.import_module(".".join(file.parts)))}
    rules = "".join(path.read_text() for path in Path(__file__).parents[1].glob("workflow/rules/*.smk"))
    assert set(VERSIONS) == set(cli.STAGES)
    for stage in cli.STAGES:
        assert f"visionfm {stage} " in rules or f"{{params.launcher}} {stage} " in rules, stage
        assert stage in cli.WITHOUT_SETTINGS or f"{stage.capitalize()}Settings" in known


def test_help_and_version_and_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in ((["--help"], 0), (["--version"], 0), (["nonsense"], 2), (["check"], 2)):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == code
    assert cli.main([]) == 2
    shown = capsys.readouterr().out
    assert f"visionfm {__version__}" in shown and all(name in shown for name in SURFACE)


@pytest.mark.parametrize(("said", "meant"), [("checks", "did you mean 'check'? "), ("zzz", "")])
def test_a_misspelled_command_is_told_the_nearest(said: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([said])
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith(f"there is no command {said!r}; {meant}`visionfm --help` lists all\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("wrong"), 2),
        (errors.ConfigError("wrong"), 2),
        (errors.DataError("wrong"), 3),
        (errors.ArtifactError("wrong"), 4),
        (errors.Stopped("wrong"), 75),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_with_its_exit_code_and_one_message(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from visionfm.commands import doctor

    def fail(_: argparse.Namespace) -> None:
        raise error

    monkeypatch.setattr(doctor, "main", fail)
    assert cli.main(["doctor"]) == code
    shown = capsys.readouterr().err
    assert "Traceback" not in shown and shown == ("" if code == 130 else "error: wrong\n")


def test_settings_come_from_the_line_or_a_file(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "s.json").write_text(json.dumps({"modality": "Fundus", "layout": "table"}), encoding="utf-8")
    line = ["index", "--root", "data", "--out", "results/x.parquet", "--settings"]
    for settings, code, message in (
        ('{"modality": "Fundus", "layout": "table"}', 3, "the dataset has no images"),
        ("@s.json", 3, "the dataset has no images"),
        ("@none.json", 2, "the settings file is missing"),
        ("{", 2, "--settings does not fit this stage"),
        ('{"modality": "Fundus", "layout": "table", "colour": 1}', 2, "colour"),
    ):
        assert cli.main([*line, settings]) == code
        assert message in capsys.readouterr().err
    assert list(results.rglob("*")) == []


def test_the_log_goes_to_a_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "logs" / "a" / "check.log"
    for _ in range(2):
        assert cli.main(["check", str(tmp_path / "none.yaml"), "--log", str(log)]) == 2
        assert log.read_text() == capsys.readouterr().err.replace("\r", "")
    assert log.read_text().startswith("error: the config ")


def test_a_log_that_cannot_be_written_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert cli.main(["doctor", "--log", str(tmp_path / "file" / "x.log")]) == 2
    assert "the log cannot be written" in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    ended = subprocess.run([sys.executable, "-m", "visionfm", "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout == f"visionfm {__version__}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_log_on_a_full_disk_ends_with_a_sentence(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(results), "--log", "/dev/full"]) == 0
    said = capfd.readouterr().err
    assert "Logging error" not in said and "Traceback" not in said
    assert said.count("the log /dev/full ends here") == 1
