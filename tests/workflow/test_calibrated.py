"""A task whose probabilities are calibrated, and then no more: nothing is trained again, and the way back is exact."""

from collections import Counter

import pyarrow.parquet as pq
from rerun_cases import add_image_without_label
from rerun_project import Project


def computed(project: Project, calibrate: str) -> set[str]:
    config = project.config
    config["tasks"]["sick_a"] |= {"calibrate": calibrate, "conformal": 0.6}
    project.config = config
    return set(Counter(call.stage for call in project.run() if not call.unchanged))


def test_calibration_trains_nothing_and_the_way_back_is_exact(project: Project) -> None:
    run = project.folder / "results/tasks/sick_a/tiny/seed0"
    before = {name: (run / name).read_bytes() for name in ("decoder.safetensors", "predictions.parquet")}
    fitted = {"calibrate", "predict", "evaluate", "compare", "report"}
    assert computed(project, "platt") <= fitted and (run / "calibrated.safetensors").is_file()
    assert "uncalibrated" in pq.read_schema(run / "predictions.parquet").names
    page = (project.folder / "results/report/index.html").read_text()
    assert "calibration of the probabilities" in page and ">before<" in page
    assert "sets of classes" in page and "conformal 0.6" in page and "people with" in page  # also what the test lacks
    assert (run / "decoder.safetensors").read_bytes() == before["decoder.safetensors"]
    maps = (run / "calibrated.safetensors").read_bytes()
    add_image_without_label(project)
    assert not {"train", "calibrate", "predict", "evaluate"} & computed(project, "platt")
    assert (run / "calibrated.safetensors").read_bytes() == maps
    assert computed(project, "none") <= fitted - {"calibrate"}
    assert (run / "predictions.parquet").read_bytes() == before["predictions.parquet"]
