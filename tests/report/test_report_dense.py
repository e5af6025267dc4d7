"""The report shows dense tasks as they are: overlays that fit their images, the second observer, errors in pixels."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from world.dense_run import DenseRun
from world.filled_tables import filled

from visionfm.figures import overlays as o
from visionfm.project.settings import ReportSettings
from visionfm.report import data as report_data
from visionfm.report.stage import Outputs, report
from visionfm.tasks.maps.cases import chosen
from visionfm.tasks.segmentation.cases import sections

REPORT = Path("results/report")
NAMES = ("index.html", "summary.md", "metrics.parquet", "figures.zip", "tasks.zip")
OUTPUTS = Outputs(*(REPORT / name for name in NAMES))
OUT = OUTPUTS.page


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> DenseRun:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("dense")
        patch.chdir(folder)
        found = DenseRun().write()
        report(OUTPUTS, ReportSettings(config=found.config))
        found.folder = folder
        yield found


def pictures(page: str, task: str) -> dict[tuple[str, str], np.ndarray]:
    """Return (path, title) -> pixels of a task's panes."""
    section = page[page.index(f'id="task-{task}"') :].split("</section>")[0]
    found = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="[^"]*case ([^":]+): ([a-z ]+)"', section)
    return {(path, title): np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data, path, title in found}


def test_the_best_median_and_worst_case_have_four_panes_of_their_images_shape(run: DenseRun) -> None:
    page = OUT.read_text()
    panes = pictures(page, "vessels")
    assert len({path for path, _ in panes}) == 3 and "eyes/images/08.jpg" in {path for path, _ in panes}
    assert {title for _, title in panes} == {"image", "truth", "prediction", "errors"}
    for (path, _), pixels in panes.items():
        n = int(path[-6:-4])
        turned = (1, 1, 6, 8, 3, 1, 5, 2)[n % 8] >= 5
        wide = (n % 2 == 0) != turned
        assert (pixels.shape[1] > pixels.shape[0]) == wide, path


def test_truth_lies_on_the_vessel_in_every_orientation(run: DenseRun) -> None:
    """In the image the band is dark red; in the truth's pane just that band has the colour of the class."""
    panes = pictures(OUT.read_text(), "vessels")
    for path in {path for path, _ in panes}:
        image, truth = (panes[path, title].astype(int) for title in ("image", "truth"))
        band = (np.abs(image - (90, 20, 20)).sum(axis=2) < 40) & (image.sum(axis=2) > 60)
        painted = np.abs(truth - image).sum(axis=2) > 80
        agreement = 2 * (band & painted).sum() / (band.sum() + painted.sum())
        assert agreement > 0.9, (path, agreement)


def test_errors_lie_to_the_right_where_the_prediction_was_moved(run: DenseRun) -> None:
    worst = list(pictures(OUT.read_text(), "vessels").values())[-1].astype(int)
    columns = {name: np.nonzero(np.abs(worst - colour).sum(axis=2) < 60)[1].mean()
               for name, colour in (("missed", o.MISSED), ("false", o.FALSE))}  # fmt: skip
    assert columns["false"] > columns["missed"] + 5


def test_colours_are_explained(run: DenseRun) -> None:
    page = OUT.read_text()
    for colour, text in o.ERRORS[:3]:
        assert f'style="background:{o.hexadecimal(colour)}"></span>{text}' in page
    assert f'style="background:{o.hexadecimal(o.class_colour(1))}"></span>vessel' in page
    assert "true place" in page and "predicted place" in page


def test_points_are_drawn_where_they_lie(run: DenseRun) -> None:
    panes = pictures(OUT.read_text(), "places")
    ring = np.array(o.class_colour(1))
    for (path, _), pixels in panes.items():
        rows, columns = np.nonzero(np.abs(pixels.astype(int) - ring).sum(axis=2) < 90)
        dot_rows, dot_columns = np.nonzero(np.abs(pixels.astype(int) - (250, 220, 150)).sum(axis=2) < 60)
        assert abs(columns.mean() - dot_columns.mean()) < 12, path
        assert abs(rows.min() + 7 - dot_rows.mean()) < 12, path  # the ring around the truth; the cross lies below it


def test_numbers_of_both_tasks_stand_in_the_page(run: DenseRun) -> None:
    page = OUT.read_text()
    assert any("images with masks and points" in caption for caption in filled(page))
    assert "By part and run" in page and "observer2" in page
    assert "within 4 px" in page and "within 0.05 mm" in page and "all points" in page
    summary = page[page.index('class="answer"') : page.rindex("</article>")]
    assert "Dice" in summary and "Mean error" in summary and re.search(r"[0-9.]+ px</span>", summary)


def test_the_data_part_counts_masks_and_points(run: DenseRun) -> None:
    data = OUT.read_text().split('id="data"')[1].split("</section>")[0]
    assert "a second observer&#39;s mask" in data and "point corner" in data
    row = re.search(r"point corner</th>(.*?)</tr>", data)
    assert row is not None and re.findall(r">(\d+)<", row[1])[-1] == "12"


def test_a_changed_image_is_not_shown(run: DenseRun, caplog: pytest.LogCaptureFixture) -> None:
    results = report_data.load(run.plan)
    (section,) = sections(results.results[0])
    whole = section.view
    file = Path("data", whole.cases[-1].path.removeprefix("eyes/"))
    before = file.read_bytes()
    try:
        file.write_bytes(Path("data/images/00.jpg").read_bytes())
        view = sections(results.results[0])[0].view
        assert view.cases[-1].panes == [] and "left out" in caplog.text
        assert all(case.panes for case in view.cases[:-1])
    finally:
        file.write_bytes(before)


def test_equal_inputs_give_an_equal_page(run: DenseRun) -> None:
    first = OUT.read_bytes()
    OUT.unlink()
    Path("results/.kept/report/index.html").unlink()
    report(OUTPUTS, ReportSettings(config=run.config))
    assert OUT.read_bytes() == first


def test_few_images_are_each_shown_once() -> None:
    assert chosen([("a", "1")]) == [("Best, median, worst", ("a", "1"))]
    assert [rank for rank, _ in chosen([("a", ""), ("b", "")])] == ["Best, median", "Worst"]
    assert [rank for rank, _ in chosen([(x, "") for x in "abcde"])] == ["Best", "Median", "Worst"]
