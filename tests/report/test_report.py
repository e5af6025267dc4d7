"""The report stage: complete, escaped, self-contained, deterministic, and free when nothing changed."""

import argparse
import json
import logging
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from world.filled_tables import filled, made_in

from visionfm import artifacts, cli
from visionfm.artifacts.archive import Archive
from visionfm.errors import ArtifactError
from visionfm.metrics.catalogue import METRICS as CATALOGUE
from visionfm.metrics.written import number
from visionfm.project.settings import ReportSettings
from visionfm.report import data as report_data
from visionfm.report import stage, summary
from visionfm.report.headlines import Headline
from visionfm.report.sections.datasets import caption
from visionfm.report.tables import pivot

OUT, METRICS, FIGURES = (
    Path("results/report/index.html"),
    Path("results/report/metrics.parquet"),
    Path("results/report/figures.zip"),
)
SUMMARY, TASKS = Path("results/report/summary.md"), Path("results/report/tasks.zip")
VOID = {"meta", "link", "img", "br", "input", "hr"}


def run_stage(run) -> str:
    settings = ReportSettings(config=run.config).model_dump_json()
    parser = argparse.ArgumentParser()
    stage.add_arguments(parser)
    flags = [
        "--out",
        str(OUT),
        "--summary-out",
        str(SUMMARY),
        "--metrics-out",
        str(METRICS),
        "--figures-out",
        str(FIGURES),
        "--tasks-out",
        str(TASKS),
    ]
    stage.main(argparse.Namespace(**vars(parser.parse_args(flags)), settings=settings))
    return OUT.read_text()


class Elements(HTMLParser):
    """Collects tags, attributes and text; complains about what is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


@pytest.fixture(scope="module")
def made(tmp_path_factory, request):
    """One run and its page, shared by the tests that only read."""
    from contextlib import chdir

    fabricate = request.getfixturevalue("fabricate_at")
    folder = tmp_path_factory.mktemp("report")
    with chdir(folder):
        run = fabricate()
        return folder, run, run_stage(run)


@pytest.fixture
def plain_figures(monkeypatch):
    """Replace the drawing of figures, which takes seconds, where a test is not about them."""
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"></svg>'
    monkeypatch.setattr("visionfm.figures.svg.single", lambda panel: svg)


def words(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(Elements(page).text))


def test_the_summary_says_the_headlines_and_cautions_of_the_page(made):
    folder, run, page = made
    table, _, doubts = artifacts.read_text(folder / SUMMARY).partition("What to doubt:")
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines() if line[:2] == "| "]
    assert {(row[0], row[1]) for row in rows[1:]} == set(run.plan.task_models())
    assert {len("|".join(row)) > 0 for row in rows} == {True} and len({len(row) for row in rows}) == 1
    said = words(page)
    for _, _, target, metric, value, *_ in rows[1:]:
        assert target in said and metric in said and value.split(" ")[0] in said
    bullets = [" ".join(bullet.split()) for bullet in doubts.split("\n- ")[1:]]
    assert bullets and all(bullet in said for bullet in bullets)


def test_the_summary_says_why_a_value_has_no_interval():
    few = "no interval: fewer than five subjects with the condition: 4"
    line = Headline("t", "m", "dr", "auroc", 0.668, None, None, 85, None, 83, "d", few, "", over_classes=True)
    assert summary.row(line)[3:6] == ("AUROC (macro)", f"0.668 ({few})", "85")
    assert summary.row(line._replace(low=0.6, high=0.7, reason=""))[4] == "0.668 (0.600 to 0.700)"
    assert summary.row(line._replace(value=None, reason="no case"))[4] == "no case"


def test_page_is_well_formed_and_needs_no_network_and_no_script(made):
    elements = Elements(made[2])
    assert elements.open == []
    assert elements.tags("script") == []
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in elements.tags("img"))
    assert [link["href"] for link in elements.tags("link")] == ["data:,"]
    links = [link["href"] or "" for link in elements.tags("a")]
    assert all(link == "metrics.parquet" or link.startswith(("#", "figures/")) for link in links)
    policy = next(meta["content"] for meta in elements.tags("meta") if meta.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert "@import" not in made[2]
    assert not re.search(r"url\((?!#)", made[2])


def test_names_that_users_chose_are_escaped_everywhere(made):
    page, run = made[2], made[1]
    assert "<script" not in page
    assert "<b>are</b>" not in page
    assert run.config["title"] in "".join(Elements(page).text)
    assert "the twins <b>are</b> one eye, checked" in words(page)
    figures = Archive(made[0] / FIGURES)
    for name in figures.names:
        assert b"<script" not in figures.read(name) or name.endswith(".csv")


def test_summary_has_a_row_for_each_task_model_and_target_with_interval_n_and_subjects(made):
    page = made[2]
    cards = page[page.index('<article class="answer">') : page.rindex("</article>")]
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", cards, re.DOTALL)
    assert [Elements(row).text[0] for row in rows] == [*["visionfm"] * 4, "floor", *["visionfm"] * 2]
    assert re.findall(r'<h3><a href="#task-(.*?)">(.*?)</a>', cards) == [
        ("diseases", "Diseases"), ("grading", "Grading"), ("measures", "Measures")
    ]  # fmt: skip
    assert re.findall(r"rowgroup[^>]*>(.*?)</th>", cards) == ["Thickness", "Age"]
    interval = [bool(re.search(r"0\.\d{3}</span><small>\(0\.\d{3} to 0\.\d{3}\)", row)) for row in rows]
    assert interval == [False, False, False, True, True, True, True]
    assert all("(fewer than five subjects with the condition: " in words(row) for row in rows[:3])
    assert "1 of 4 classes left out: never seen" in words(rows[0])
    tested_on = [re.findall(r"<td data-label=.Tested on.>(.*?)</td>", row) for row in rows[:3]]
    assert tested_on == [["fundus"], ["FFA"], ["OCT"]]
    assert all(">20</td>" in row for row in rows[:3])
    assert all(">60</td>" in row and ">30</td>" in row for row in rows[3:])
    seeds = [bool(re.search("seed0 0.*, seed1 0", row)) for row in rows]
    assert seeds == [False, False, False, True, True, False, False]


@pytest.mark.usefixtures("plain_figures")
def test_a_null_metric_is_a_dash_with_its_reason_in_words(fabricated):
    run = fabricated(samples=40)
    path = run.plan.metrics("measures", "visionfm")
    table = artifacts.read_table(path).to_pandas()
    null = (table["metric"] == "r2") & (table["target"] == "age")
    table.loc[null, ["value", "ci_low", "ci_high"]] = None
    table.loc[null, "reason"] = "all true values are the same"
    kept = pa.Table.from_pandas(table, preserve_index=False)
    artifacts.write_table(path, kept, artifacts.provenance("evaluate", {}, {}), schema="visionfm/metrics/1")
    page = run_stage(run)
    assert re.search(r'class="value">\u2013</span><small>all true values are the same</small>', page)
    assert re.search(r"\[\d\] no positive case among \d+ known", words(page))


def test_a_value_without_interval_says_why_in_a_note():
    row = dict.fromkeys(("operating_point", "threshold", "unit", "ci_low", "ci_high")) | {"target": "t", "class": None}
    row |= {
        "metric": "auroc",
        "value": 0.8,
        "n": 7,
        "n_positive": 3,
        "n_subjects": 4,
        "reason": "no interval: 4 subjects",
    }
    import pandas as pd

    table = pivot(pd.DataFrame([row]), [], "caption")
    assert table.rows[0][-1][:2] == ("0.800", "")
    assert table.notes == ["[1] no interval: 4 subjects"]


def test_every_metric_row_stands_in_one_table_with_its_own_n(made):
    import pandas as pd

    row = dict.fromkeys(("operating_point", "threshold", "unit", "reason")) | {"target": "t", "value": 0.5}
    row |= {"ci_low": 0.4, "ci_high": 0.6, "n_positive": 2, "n_subjects": 5}
    counted = (("a", "auroc", 9), ("a", "brier", 10), ("b", "auroc", 9))
    rows = pd.DataFrame([row | {"class": name, "metric": metric, "n": n} for name, metric, n in counted])
    table = pivot(rows, [], "caption")
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [["a", "9"], ["a", "10"], ["b", "9"]]
    assert table.rows[0][1].small == "2\u00a0positive\n5\u00a0subjects"
    assert table.columns == ["class", "n", "AUROC", "Brier score"]


def test_what_n_counts_is_said_where_it_is_not_the_samples() -> None:
    import pandas as pd

    same = {"target": "fluid", "class": "fluid", "n_subjects": 3.0, "n_positive": None, "ci_low": None, "ci_high": None}
    same |= {"unit": None, "reason": None, "operating_point": None, "value": 0.9}
    rows = [{**same, "metric": "dice", "n": 150.0}, {**same, "metric": "dice_of_volume", "n": 3.0}]
    table = pivot(pd.DataFrame(rows), [], "caption")
    assert table.columns[-2:] == ["Dice", "Dice of volumes"]
    assert [(row[-3].text, row[-3].small) for row in table.rows] == [
        ("150", "3\u00a0subjects"),
        ("3", "volumes\n3\u00a0subjects"),
    ]


def test_figures_are_inlined_with_a_name_and_also_kept_in_an_archive(made):
    folder, _, page = made
    figures = [attributes for attributes in Elements(page).tags("svg") if attributes.get("role") == "img"]
    assert (
        len(figures) == 3 * 6 + 1 + 2 * (7 + 1) + 5 + 1 + 12 + 5
    )  # of each dataset; two label efficiency; comparisons; maps; all models
    assert all(len(re.findall(rf">on {name}</(tspan|text)>", page)) == 6 for name in ("fundus", "ffa", "oct"))
    assert all(figure["aria-label"] for figure in figures)
    kept = Archive(folder / FIGURES)
    drawn = [name for name in kept.names if name.endswith(".svg")]
    assert len(drawn) == len(figures)
    assert all(ElementTree.fromstring(kept.read(name)).tag.endswith("svg") for name in drawn)


def test_every_figure_and_table_of_the_page_has_a_link_to_its_file(made):
    folder, _, page = made
    elements, kept = Elements(page), Archive(folder / FIGURES)
    linked = [unquote(link["href"] or "") for link in elements.tags("a") if "file" in (link.get("class") or "")]
    assert sorted(linked) == [f"figures/{name}" for name in kept.names], "each once"
    assert all(
        (folder / OUT).with_name("figures").joinpath(name).read_bytes() == kept.read(name) for name in kept.names
    )
    assert len([name for name in kept.names if name.endswith(".csv")]) == len(list(elements.tags("caption"))) - len(
        re.findall('<table class="summary">', page)
    )


def test_a_large_page_has_a_page_for_each_task_and_every_link_leads_somewhere(fabricated, plain_figures, monkeypatch):
    monkeypatch.setattr(stage, "LARGEST_PAGE", 1000)
    run = fabricated()
    pages = {OUT: run_stage(run)}
    pages |= {path: path.read_text() for path in sorted(OUT.with_name("tasks").glob("*.html"))}
    assert [path.name for path in pages] == ["index.html", "diseases.html", "grading.html", "measures.html"]
    shown = []
    for path, page in pages.items():
        for link in [link["href"] or "" for link in Elements(page).tags("a")]:
            target = unquote(link.removeprefix("#"))
            there = f'id="{target}"' in page if link.startswith("#") else (path.parent / target).is_file()
            assert there, f"{path}: {link}"
        links = re.findall('href="([^"]*figures/[^"]*)"', page)
        shown += [Path(path.parent, unquote(link)).resolve() for link in links]
    assert sorted(shown) == sorted(path.resolve() for path in OUT.with_name("figures").glob("[!.]*")), "each once"
    assert "Errors to look at" in pages[OUT.with_name("tasks") / "grading.html"]
    assert cli.main(["verify", str(OUT.parent)]) == 0


def test_tables_are_accessible_headers_have_scope_and_pictures_a_text(made):
    elements = Elements(made[2])
    assert all(header["scope"] in ("row", "col", "rowgroup") for header in elements.tags("th"))
    assert all(image["alt"] for image in elements.tags("img"))
    assert len(elements.tags("caption")) == len(elements.tags("table"))
    assert elements.tags("html") == [{"lang": "en"}]


def test_page_tells_the_data_audit_encoders_config_and_cautions(made):
    said = words(made[2])
    assert "Untrained encoders (random weights): untrained" in said
    assert "No subject ids in oct" in said
    assert "Images were left out because they cannot be read: fundus (1)" in said
    assert "Allowed overlap in task grading, fundus: the twins" in said
    assert "identical images with different labels: 1 finding" in said
    assert "In task grading, 2 of 9 people are in both." in said
    assert "equal ids of subjects and equal bytes of images" in said
    assert "broken.jpg truncated" in said
    assert "any.pth" in said
    assert "abababababab" in said
    assert "CC BY-NC 4.0" in said
    assert "any_vit: 1 tensor dropped: a head." in said
    assert "fusion: attention" in said
    for metric in ("auroc", "brier", "mae", "r2"):
        assert CATALOGUE[metric].says in said


def test_subsets_datasets_and_validation_have_tables_of_their_own(made):
    page = made[2]
    task = page[page.index('<div id="task-diseases"') :].split("</section>")[0]
    assert re.findall(r"<summary>(.*?)</summary>", task) == [
        "Test data",
        "Test data: yes or no",
        "Test data: calibration",
        "By part and run",
        "By part and run: yes or no",
        "By part and run: calibration",
        "On validation data",
        "On validation data: yes or no",
        "On validation data: calibration",
        "Training",
    ]
    assert task.count("every threshold but 0.5 were chosen") == 3  # a note below each table
    assert task.count("<h4>Tested on ") == 3
    assert "Fundus+OCT" in task


def test_several_seeds_show_their_mean_and_each_of_them(made):
    page = made[2]
    task = words("<details>" + page[page.index('<div id="task-grading"') :].split("</section>")[0])
    assert "test data (mean over seeds)" in task
    each = task[task.index("By part and run") :]
    each = each[: each.index("On validation data")]
    assert "seed0 no DR" in each
    assert "seed1 no DR" in each
    assert "mean" not in each


# Where a table of the page is made -> the words of its caption here, or the test that looks at it elsewhere.
PLACES = {
    "report/paper/flow.table": "report/test_paper.py",
    "report/paper/tables.cost": "report/test_paper.py",
    "report/paper/tables.hyperparameters": "report/test_paper.py",
    "report/paper/tables.main_results": "report/test_paper.py",
    "report/paper/tables.samples": "report/test_paper.py",
    "report/sections/audit.audit_view": "findings of the audit",
    "report/sections/comparison._table": "differences, first minus second",
    "report/sections/demographics.characteristics": "report/test_report_groups.py",
    "report/sections/external._matrix": "report/test_report_groups.py",
    "report/sections/external.table": "report/test_report_groups.py",
    "report/sections/recalibration.recalibration_table": "report/test_report_groups.py",
    "report/sections/subgroups._groups": "report/test_report_groups.py",
    "report/sections/subgroups._tests": "report/test_report_groups.py",
    "report/sections/datasets._agreement": "report/test_report_agreement.py",
    "report/sections/datasets._counts": "images by split",
    "report/sections/datasets._left_out": "images left out",
    "report/sections/datasets._summary": "report/test_report_values.py",
    "report/sections/efficiency._table": "label efficiency on test data",
    "report/sections/encoders.encoders_table": "Encoders and their weights",
    "report/sections/labels._planted": "errors planted among the training labels",
    "report/sections/models._training": "visionfm: training",
    "report/sections/models._tried": "report/test_report_values.py",
    "report/sections/partners.partner_counts": "report/test_report_dense.py",
    "report/sections/pretraining._table": "report/test_report_pretraining.py",
    "report/sections/seen.sections": "report/test_report_seen.py",
    "report/sections/setup.sections": "Versions of the stages",
    "report/sections/tasks._samples": "samples by split",
    "report/sections/tasks._targets": ": targets",
    "report/tables.pivot": "test data",
    "tasks/progression/figures._groups": "tasks/test_evaluate_progression.py",
}


def test_every_table_is_filled_by_some_test(made):
    """Rows in each, no empty column; a new place that makes a table names its test here."""
    assert made_in() == set(PLACES)
    captions = filled(made[2])
    for place, words_or_test in PLACES.items():
        if words_or_test.endswith(".py"):
            assert re.search(r"filled(_table)?\(", (Path(__file__).parents[1] / words_or_test).read_text()), place
        else:
            assert any(words_or_test in caption for caption in captions), (place, captions)


def test_a_table_names_datasets_where_there_are_several(made):
    tables = re.findall(r"<caption>(.*?)</caption>.*?<thead><tr>(.*?)</tr>", made[2], re.DOTALL)
    named = {caption.split(",")[0]: "dataset" in head for caption, head in tables if ": test data" in caption}
    assert named == {"diseases": True, "grading": False, "measures": False}
    assert "By modality" not in made[2] and "all, pooled" not in made[2]


def test_what_the_numbers_mean_follows_the_results(made):
    anchors = re.findall(r'<li><a href="#([a-z-]+)">', made[2])
    tasks = ["task-diseases", "task-grading", "task-measures"]
    assert anchors[:8] == ["results", "doubts", "comparisons", "errors", "labels", *tasks]
    assert anchors[-2:] == ["words", "config"]
    assert sorted(anchors, key=lambda name: made[2].index(f'id="{name}"')) == anchors


def test_metrics_out_is_the_union_of_all_metrics(made):
    folder, run, _ = made
    union = artifacts.read_table(folder / METRICS)
    rows = [artifacts.read_table(folder / run.plan.metrics(*pair)).num_rows for pair in run.plan.task_models()]
    assert union.num_rows == sum(rows)
    assert set(union.column("task").to_pylist()) == {"diseases", "grading", "measures"}
    assert union.schema.metadata[b"schema"] == b"visionfm/metrics/1"


def test_page_holds_no_absolute_path(made):
    assert str(made[0]) not in made[2]


def test_same_inputs_give_the_same_bytes_in_another_folder(made, fabricated):
    assert run_stage(fabricated()) == made[2]
    assert FIGURES.read_bytes() == (made[0] / FIGURES).read_bytes()


@pytest.mark.usefixtures("plain_figures")
def test_an_unchanged_report_is_recalled_without_drawing_even_when_its_files_were_deleted(
    fabricated, monkeypatch, caplog
):
    run = fabricated(samples=30)
    page = run_stage(run)
    shutil.rmtree("results/report")
    monkeypatch.setattr("visionfm.figures.svg.single", lambda panel: pytest.fail("drew again"))
    with caplog.at_level(logging.INFO, "visionfm"):
        assert run_stage(run) == page
    assert METRICS.is_file() and FIGURES.is_file()
    assert "report: unchanged; open results/report/index.html" in caplog.text


@pytest.mark.usefixtures("plain_figures")
def test_a_changed_metric_or_config_makes_a_new_page(fabricated):
    run = fabricated(samples=30)
    first = artifacts.read_metadata(OUT)["key"] if run_stage(run) else ""
    run.forget_truth("measures", "visionfm")
    run_stage(run)
    second = artifacts.read_metadata(OUT)["key"]
    run.config["title"] = "another title"
    assert "another title" in run_stage(run)
    assert len({first, second, artifacts.read_metadata(OUT)["key"]}) == 3


def test_every_artefact_of_the_config_that_is_read_is_an_input_of_the_key(made):
    folder, run, _ = made
    recorded = json.loads(artifacts.read_metadata(folder / OUT)["inputs"])
    assert sorted(recorded) == report_data.inputs(run.plan)
    assert run.plan.encoder("any_vit") in recorded
    assert run.plan.audit("grading") in recorded


@pytest.mark.usefixtures("plain_figures")
def test_a_damaged_input_is_an_error_and_leaves_no_page(fabricated):
    run = fabricated(samples=30)
    path = Path(run.plan.metrics("grading", "floor"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # the kept copy is a hard link
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"metrics\.parquet"):
        run_stage(run)
    assert not OUT.exists()


@pytest.mark.usefixtures("plain_figures")
def test_a_picture_that_changed_since_it_was_indexed_is_not_shown(fabricated, caplog):
    run = fabricated(samples=30)
    for path in Path("data/oct").glob("*.png"):
        path.write_bytes(b"something else")
    page = run_stage(run)
    assert page.count("The file is not what it was when it was indexed") == 8
    assert "changed since index" in caplog.text


@pytest.mark.usefixtures("plain_figures")
def test_a_task_without_known_test_answers_has_no_result_figures_but_a_reason(fabricated):
    run = fabricated(samples=30)
    run.forget_truth("measures", "visionfm")
    page = run_stage(run)
    assert "No test sample has a known answer" in words(page)


def test_captions_name_findings_and_round_values():
    row = {"thickness": 281.23456, "grade": 3.0, "a": 1.0, "b": 0.0, "c": None, "text": "CNV"}
    assert caption(row, ["grade", "thickness", "text"], []) == "grade: 3; thickness: 281; text: CNV"
    assert caption(row, ["grade"], ["a", "b", "c"]) == "grade: 3; a"
    assert caption({"a": 0.0, "b": 0.0}, [], ["a", "b"]) == "no finding"
    assert caption({"a": None}, ["a"], []) == "no label"


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [(0.91234, "auroc", "0.912"), (-0.25, "r2", "\u22120.250"), (12.345, "mae", "12.3"), (1234.5, "rmse", "1234"),
     (0.001234, "mae", "0.00123"), (0.0, "mae", "0")],
)  # fmt: skip
def test_numbers_are_written_for_people(value, metric, text):
    assert number(value, metric) == text
