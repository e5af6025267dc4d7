"""A task whose decoder is given: nothing is trained, and its numbers are those of the decoder."""

from collections import Counter

import pyarrow.parquet as pq
from rerun_project import Project


def test_a_given_decoder_is_scored_to_the_report_and_trains_nothing(project: Project) -> None:
    decoder = project.folder / "results/tasks/sick_a/tiny/seed0/decoder.safetensors"
    (project.folder / "mine.safetensors").write_bytes(decoder.read_bytes())
    config = project.config
    trained = config["tasks"]["sick_a"]
    given = {name: trained[name] for name in ("kind", "datasets", "models", "targets")}
    config["tasks"] = {"sick_a": trained, "given": {**given, "decoder": "mine.safetensors"}}
    project.config = config
    computed = Counter(call.stage for call in project.run() if not call.unchanged)
    assert computed == dict.fromkeys(("audit", "fuse", "predict", "evaluate", "report"), 1)
    assert project.run() == []
    rows = pq.read_table(project.folder / "results/report/metrics.parquet").to_pylist()
    value = {
        (row["task"], row["run"]): row["value"] for row in rows if (row["metric"], row["split"]) == ("auroc", "test")
    }
    assert value["given", "given"] == value["sick_a", "seed0"]
    assert {row["head"] for row in rows if row["task"] == "given"} == {"given"}
    assert "Nothing was trained here" in (project.folder / "results/report/index.html").read_text()
