"""Settings reach their stages as they were planned, whatever they say and however long they are."""

import json
from pathlib import Path

from rerun_project import Project

BRACES = "{word} {4} {0} {{x}} {input.y!r:>{z}}"


def test_braces_in_a_free_text_stop_no_run(fresh: Project, tmp_path: Path) -> None:
    """Snakemake formats plain texts: file patterns, regular expressions, titles, names of classes, units, reasons."""
    project = fresh.copy(tmp_path / "project")
    config = project.config
    config["title"] = BRACES
    config["datasets"]["a"] |= {
        "images": f"img/{BRACES}*",
        "path_pattern": r"(?P<subject>p[0-9]{4})",
        "allow_leakage": BRACES,
    }
    config["datasets"]["b"]["root"] = f"b {BRACES}"
    next(iter(config["encoders"].values()))["weights"] = f"{BRACES}.pth"
    for task in config["tasks"].values():
        for target in task["targets"].values():
            if target["type"] == "value":
                target["unit"] = BRACES
            else:
                target["classes"] = {BRACES: 0, f"{BRACES} and more": 1}
    project.config = config
    done = project.snakemake("--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.dumps(BRACES)[1:-1] in done.stdout + done.stderr


def test_settings_of_any_length_reach_their_stage(fresh: Project, tmp_path: Path) -> None:
    """Linux takes no argument of more than 128 KiB."""
    project = fresh.copy(tmp_path / "project")
    config, reason = project.config, "the same people, by name: " + "Zoë, " * 30_000
    config["datasets"]["a"]["allow_leakage"] = reason
    project.config = config
    target = "results/tasks/sick_a/audit.parquet"
    audit = next(call for call in project.run(target) if call.stage == "audit")
    settings = audit.arguments[audit.arguments.index("--settings") + 1]
    assert settings.startswith("@results/logs/")
    assert json.loads((project.folder / settings[1:]).read_text())["allow_leakage"] == {"a": reason}
    assert project.run(target) == []  # planned again, nothing has changed
