"""The paper: every number traced to an artefact, nothing invented, nothing cited that was not used, the same bytes."""

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from world.fabricated import Fabricated
from world.filled_tables import filled_table

from visionfm import cli
from visionfm.config.recipe import read_recipe
from visionfm.figures.printed import Printed, printed
from visionfm.figures.svg import Panel
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.written import missing, number, p_value, percent
from visionfm.pretraining.recipe import FAMILIES, RECIPES
from visionfm.project.loading import load_config
from visionfm.project.plan import Plan
from visionfm.project.settings import PaperSettings
from visionfm.project.shipped import examples
from visionfm.project.study import Study
from visionfm.report.csv_tables import csv_table
from visionfm.report.data import load
from visionfm.report.paper import flow, formats, software, tables
from visionfm.report.paper.checklists import CHECKLISTS, checklist
from visionfm.report.paper.facts import EncoderFacts, Facts, StatisticsFacts, plain_method, task_facts
from visionfm.report.paper.references import References
from visionfm.report.paper.stage import paper
from visionfm.report.paper.texts import text as filled_template
from visionfm.report.sample_sizes import too_small
from visionfm.tasks.results import TaskModel

OUT = Path("results/report/paper.zip")
NUMBER = re.compile(r"(?<![\w.@/{#\[-])[\u2212-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?![\w{])")
TEXTS = ("methods.md", "model_card", "datasheets", *CHECKLISTS)
STUDY_KEYS = list(Study.model_fields)
STUDY = {"setting": "People of 2 clinics in Springfield.", "authors": ["A. Author"], "title": "Eyes & <numbers>"}


def write(run: Fabricated, **changed: Any) -> dict[str, bytes]:
    """Run the stage; return its files."""
    paper(OUT, PaperSettings(config={**run.config, **changed}))
    folder = OUT.with_suffix("")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("paper")
        patch.chdir(folder)
        patch.setattr("visionfm.report.paper.figures.printed", lambda panel: Printed(b"<svg/>", b"%PDF", "axes\n"))
        patch.setattr("visionfm.figures.svg.single", lambda panel: '<svg xmlns="http://www.w3.org/2000/svg"></svg>')
        yield folder


@pytest.fixture(scope="module")
def run(here: Path, fabricate_at: Callable[..., Fabricated]) -> Fabricated:
    return fabricate_at()


@pytest.fixture(scope="module")
def files(run: Fabricated) -> dict[str, bytes]:
    return write(run, study=STUDY)


# --- numbers --------------------------------------------------------------------------------------------------------


def counts(table: Any) -> Iterator[int]:
    """Rows, people and values of a table, in all and by split and dataset."""
    for by in (None, "split", "dataset"):
        for _, part in table.groupby(by) if by in table.columns else [("", table)]:
            for _, rows in [("", part), *(part.groupby("split") if "split" in part.columns else [])]:
                yield len(rows)
                for name in rows.columns:
                    known = rows[name].dropna()
                    yield len(known)
                    if len(known) and getattr(known.iloc[0], "shape", ()) == ():
                        yield from (known.nunique(), *known.value_counts())
                    elif len(known) and name != "images":
                        yield from (int(sum(values)) for values in zip(*known, strict=True))


def in_text(text: str) -> set[str]:
    return {found.lstrip("-\u2212") for found in NUMBER.findall(text)}


def in_artefacts(run: Fabricated) -> set[str]:
    """All numbers that the run's tables hold or count, as the text writes them, without sign."""
    files = {name: len(pq.read_table(run.plan.images(name)[0])) for name in run.config["datasets"]}
    found = {f"{sum(files[name] for name in run.plan.task_datasets(task)):,}" for task in run.config["tasks"]}
    found.add(f"{sum(files.values()):,}")
    for path in sorted(Path("results").rglob("*.parquet")):
        if path.relative_to("results").parts[0] == ".kept":
            continue
        table = pq.read_table(path).to_pandas()
        if path.name in ("images.parquet", "labels.parquet", "samples.parquet"):
            counted = set(counts(table))
            found |= {f"{count:,}" for count in counted} | {str(count) for count in counted}
        if "metric" in table.columns:
            for row in table.to_dict("records"):
                values = [value for name, value in row.items() if isinstance(value, float | int) and name != "fold"]
                for value in values:
                    if not missing(value):
                        found |= {number(value, row["metric"]).lstrip("\u2212"), number(value, "auroc"), p_value(value)}
                        found |= {f"{int(value):,}", str(int(value))} if value == int(value) else set()
                if not missing(row.get("n_positive")) and row["n"]:
                    found.add(percent(row["n_positive"] / row["n"]).rstrip("%"))
                found |= in_text(f"{row.get('reason')} {row.get('interval')} {row.get('operating_point')}")
        if path.name == "training.parquet":
            found |= {f"{len(table):,}", *(f"{int(value):,}" for value in table.get("n_train", ()))}
    return found


def in_settings(run: Fabricated) -> set[str]:
    """All numbers of the config, of recipes, of encoders, of versions, and those that the sentences themselves say."""
    plan = run.plan
    said = [json.dumps(run.config), json.dumps(STUDY), json.dumps(software.installed())]
    for task, model in plan.task_models():
        recipe = plan.tasks.train_settings(task, model, plan.runs(task)[0]).recipe
        said += [" ".join(str(value) for value in recipe.model_dump().values())]
        said += [str(field.description) for field in type(recipe).model_fields.values()]
    said += ["0.485 0.456 0.406 0.229 0.224 0.225 224 64 CC BY-NC 4.0"]  # of the fabricated encoders and images
    said += too_small(load(plan))
    said += ["95 % intervals; SHA-256; at 0.5; within 0.05 and 0.1; from 0 to 1; seen by two; Riley et al. 2021; 2024"]
    asks = [str(one["asks"]) for name in CHECKLISTS for one in checklist(name)["items"].values()]
    return set().union(*map(in_text, [*said, *asks]))


def test_every_number_of_text_and_tables_is_one_of_an_artefact_or_of_the_settings(
    run: Fabricated, files: dict[str, bytes]
) -> None:
    known = in_artefacts(run) | in_settings(run)
    known |= {str(float(text)) for text in known if re.fullmatch(r"\d+\.\d+", text)}  # 0.950 is 0.95 in YAML
    for name, data in files.items():
        if name.startswith(TEXTS) or (name.startswith("tables/") and name.endswith((".md", ".csv"))):
            text = data.decode()
            if name.removesuffix(".md") in CHECKLISTS:
                text = "\n".join(line.split(" | ", 1)[-1] for line in text[text.index("|---") :].splitlines())
            if name.endswith(".csv"):
                text = " ".join(cell for row in csv.reader(io.StringIO(text)) for cell in row)
            strange = in_text(text) - known
            assert not strange, f"{name}: {sorted(strange)}"
    assert "0.123456" not in known and "7,777" not in known, "the sets do not hold everything"


def test_each_table_says_the_same_in_three_formats(files: dict[str, bytes]) -> None:
    names = {name.rpartition(".")[0] for name in files if name.startswith("tables/")}
    assert {"tables/results", "tables/comparisons_grading", "tables/flow_grading", "tables/cost"} <= names
    for name in names:
        rows = list(csv.reader(io.StringIO(files[f"{name}.csv"].decode())))
        in_markdown = [line for line in files[f"{name}.md"].decode().splitlines() if line.startswith("|")]
        in_latex = files[f"{name}.tex"].decode().split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        assert len(rows) - 1 == len(in_markdown) - 2 == len([line for line in in_latex if line]), name


def test_tables_of_the_paper_alone_have_rows_and_no_empty_column(run: Fabricated) -> None:
    seen = pd.DataFrame({"images": [1_000, 2_000]})  # by an encoder that was pretrained here
    results = replace(load(run.plan), pretraining={"any_vit": seen})
    found = tables.tables(results, flow.flows(results))
    shared = ("people_", "encoders", "comparisons_", "external_", "subgroups_")  # the page's own
    metrics = {f"{result.task}_{result.model}_" for result in results.results}
    own = {name for name in found if not name.startswith((*shared, *metrics))}
    assert own == {"results", "cost"} | {
        f"{what}_{task}" for what in ("flow", "characteristics") for task in results.config.tasks
    } | {f"hyperparameters_{task}_{model}" for task, model in run.plan.task_models()}  # fmt: skip
    for name in own:
        filled_table(found[name])


# --- text -----------------------------------------------------------------------------------------------------------


def test_what_the_config_does_not_know_is_a_marked_gap_and_what_it_knows_is_told(files: dict[str, bytes]) -> None:
    text = files["methods.md"].decode()
    assert "**Setting.** People of 2 clinics in Springfield." in text
    assert r"**Ethics.** \[AUTHORS: approval by the ethics board, and consent\]" in text
    assert r"# Eyes & \<numbers\>" in text, "what users named is escaped"


def told(example: str) -> dict[str, str]:
    """Task of an example -> what the methods say of its decoders, before there is any result."""
    config = load_config(examples()[example])
    plan, found = Plan(config), {}
    empty = pd.DataFrame({name: [] for name in ("operating_point", "images", "check", "severity", "reason")})
    for task, model in plan.task_models():
        block = config.tasks[task]
        result = TaskModel(task, model, block, {}, plan.seed_runs(task), [], empty, empty, {}, {}, {}, Path())
        of_run = SimpleNamespace(plan=plan, config=config, results=[result], audits={task: empty})
        one = task_facts(of_run, result)  # type: ignore[arg-type]  # no more of the results is read
        facts = Facts(Study().model_dump(), "", [], [], [one], StatisticsFacts({}, {}, [], [], []), [], {})
        none = flow.Count(0)
        empty_flow = flow.Flow(task, block.unit, none, {}, none, {}, none, {})
        told = {"facts": facts, "flows": {task: empty_flow}, "small": [], "sized": False, "decisions": False}
        text = filled_template("methods.md.j2", References({}), **told)
        found[task] = text[text.index("### Task") : text.index("## Statistics")]
    return found


@pytest.mark.parametrize("example", [name for name in examples() if load_config(examples()[name]).tasks])
def test_the_methods_can_be_told_of_every_kind(example: str) -> None:
    for task, text in told(example).items():
        assert "The epoch was chosen on validation data by" in text or "nothing was trained" in text, task


def test_a_task_is_told_as_it_was_trained() -> None:
    dense, tuned = told("dense_demo"), told("finetune/idrid")
    assert all("Images were resized to" in text and "@loshchilov2019" in text for text in dense.values())
    assert all("random crops" in text and "on the features of the frozen encoder" in text for text in tuned.values())
    cox = " ".join(told("progression").values())
    assert "@cox1972" in cox and "a sample is one image" not in cox and "features of an eye's visits" in cox
    assert all("flipped views too" in text for text in told("ordinal").values())


@pytest.mark.parametrize(("recipe", "by"), [("published", "zhou2022"), ("modern", "zhou2022"),
    ("token_reconstruction", "engelmann2024"), ("instances", "ibrahim2024")])  # fmt: skip
def test_an_encoder_is_told_as_it_was_pretrained(recipe: str, by: str) -> None:
    values = read_recipe(FAMILIES[recipe], RECIPES / f"{recipe}.yaml", {}).model_dump(mode="json")
    family = FAMILIES[recipe]
    metadata = {"arch": "vit_tiny_patch16_224", "image_size": "224", "modality": "OCT", "interpolation": "bilinear"}
    metadata |= {"mean": "[0, 0, 0]", "std": "[1, 1, 1]"}
    one = EncoderFacts(
        "eyes", metadata, {}, False, True, values, recipe, family.method, f"pretraining {family.cited}",
        1000, "start.pth", "", [], "vit", "bf16",
    )  # fmt: skip
    facts = Facts(Study().model_dump(), "", [], [one], [], StatisticsFacts({}, {}, [], [], []), [], {})
    references = References({})
    said = {"facts": facts, "flows": {}, "small": [], "sized": False, "decisions": False}
    text = filled_template("methods.md.j2", references, **said)
    assert f"by {family.method}[" in text.replace(" [", "[") and f"@{by}" in text
    assert ("self-distillation" in text) == (recipe in ("published", "modern"))
    assert "computed in bfloat16" in text


def test_cited_is_what_is_in_the_bibliography(files: dict[str, bytes]) -> None:
    entries = set(re.findall(r"(?m)^@\w+\{(\w+),", files["references.bib"].decode()))
    cited = set(re.findall(r"@(\w+)[;\]]", files["methods.md"].decode()))
    assert cited == entries
    assert {"obuchowski1997", "delong1988", "qiu2024", "paszke2019", "holm1979"} <= entries
    assert not {"cox1972", "zhou2022", "platt1999", "shit2021"} & entries, "nothing of this was used"


def test_where_an_entry_was_checked_is_for_maintainers_alone() -> None:
    references = References({})
    checked = [key for key, entry in references.entries.items() if "checked" in entry]
    assert {"harris2020", "virtanen2020"} <= set(checked)
    for key in checked:
        assert re.fullmatch(r"https://\S+, \d{4}-\d\d-\d\d", references.entries[key]["checked"]), key
    references.cite(*(name for entry in references.entries.values() for name in entry["of"]))
    assert "virtanen2020" in references.bib() and "checked" not in references.bib()


def test_the_same_results_give_the_same_bytes_and_an_unchanged_run_writes_nothing(
    run: Fabricated, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    before = OUT.read_bytes()
    assert cli.main(["verify", "results/report"]) == 0
    methods = OUT.with_suffix("") / "methods.md"
    methods.write_text("Edited by hand.")
    assert cli.main(["verify", "results/report"]) == 4
    assert "methods.md: it is not what paper.zip holds: keep what you edit elsewhere" in capsys.readouterr().err
    methods.unlink()
    assert write(run, study=STUDY) == files and OUT.read_bytes() == before, "the archive is recalled and unpacked"
    shutil.rmtree("results/.kept/report")
    OUT.unlink()
    assert write(run, study=STUDY) == files and OUT.read_bytes() == before, "made anew"


def test_a_method_of_intervals_stands_once_whatever_it_does_with_folds() -> None:
    alone = "Obuchowski, logit, t"
    assert {plain_method(alone + of) for of in ("", ", folds", ", folds, moved")} == {alone}


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="needs pandoc on the PATH (apt-get install pandoc)")
def test_pandoc_writes_the_docx_with_the_references_resolved(files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "methods.docx").write_bytes(files["methods.docx"])
    command = ["pandoc", "--to=plain", "--wrap=none", str(tmp_path / "methods.docx")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Holm" in text and "@holm1979" not in text and "[AUTHORS: " in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex on the PATH (apt-get install texlive)")
def test_latex_compiles(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in files.items():
        if name.endswith((".tex", ".bib")):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(data)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "methods.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
    assert (tmp_path / "methods.pdf").is_file(), ran.stdout.decode(errors="replace")[-2000:]


# --- checklists -----------------------------------------------------------------------------------------------------


def states(markdown: bytes) -> dict[str, list[str]]:
    """Item -> state, value, where."""
    lines = [line.strip("| ").split(" | ") for line in markdown.decode().splitlines() if line.startswith("| ")]
    return {cells[0]: [*cells[2:], ""][:3] for cells in lines[1:]}


def test_evidence_can_fill_at_least_22_of_52_items_and_each_piece_of_it_is_made_somewhere() -> None:
    from visionfm.report.paper import evidence
    from visionfm.report.paper.checklists import items

    made = set(re.findall(r'yield\s*\(?\s*"(\w+)"', Path(evidence.__file__).read_text()))
    asked = [name for one in CHECKLISTS for item in checklist(one)["items"].values() for name in item.get("from", ())]
    asked += [
        name for one in CHECKLISTS for item in checklist(one)["items"].values() for name in item.get("unless", ())
    ]
    assert set(asked) == made, "nothing is asked for that nobody says, and nothing is said for nothing"
    everything = {name: evidence.Evidence("Said.") for name in made}
    filled = [item for item in items("tripod_ai", everything, dict.fromkeys(STUDY_KEYS)) if item.state == "filled"]
    assert len(filled) >= 22, [item.number for item in filled]


def test_all_items_of_the_checklists_are_there_and_at_least_18_of_52_are_filled_from_a_small_runs_artefacts(
    run: Fabricated, files: dict[str, bytes]
) -> None:
    tripod, claim = states(files["tripod_ai.md"]), states(files["claim.md"])
    assert len(tripod) == 52 and list(claim) == [str(number) for number in range(1, 45)]
    assert {cells[0] for cells in [*tripod.values(), *claim.values()]} == {"filled", "partly", "authors"}
    without = states(write(run)["tripod_ai.md"])  # no study: from artefacts alone
    filled = [item for item, cells in without.items() if cells[0] == "filled"]
    assert len(filled) >= 18, filled
    both = [cells[0] for cells in tripod.values()].count("filled")
    assert f"\n{both} of 52 items are filled" in files["tripod_ai.md"].decode()
    for item, asked in {"12d": "authors", "16": "partly", "23b": "authors", "25": "authors"}.items():
        assert without[item][0] == asked, f"{item}: no artefact says this"
    assert without["6a"][0] == "authors" and tripod["6a"][:2] == ["filled", STUDY["setting"]]


def test_no_item_is_filled_from_nothing_and_each_has_its_place(files: dict[str, bytes]) -> None:
    for item, (state, value, where) in [one for name in CHECKLISTS for one in states(files[f"{name}.md"]).items()]:
        gap = "[AUTHORS: " in value
        assert gap == (state != "filled"), item
        assert bool(where.strip("|")) == (state != "authors"), item
        for link in re.findall(r"\]\((.*?)\)", where):
            there = {link} & set(files) or link == "../index.html" or any(name.startswith(link) for name in files)
            assert there, f"{item}: {link}"
    from visionfm.report.paper.checklists import items

    nothing = dict.fromkeys(STUDY_KEYS)
    for name in CHECKLISTS:
        assert {item.state for item in items(name, {}, nothing)} == {"authors"}, "without evidence nothing is filled"


# --- cards ----------------------------------------------------------------------------------------------------------


def test_the_model_card_has_the_head_that_hugging_face_reads(run: Fabricated, files: dict[str, bytes]) -> None:
    import yaml

    _, head, body = files["model_card.md"].decode().split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["license"] == "cc-by-nc-4.0" and said["base_model"] == ["any.pth"] and "auroc" in said["metrics"]
    models = {model["name"]: model["results"] for model in said["model-index"]}
    assert set(models) == {"visionfm", "floor"}
    rows = pq.read_table(run.plan.metrics("measures", "visionfm")).to_pylist()
    r2 = next(row for row in rows if (row["metric"], row["target"], row["split"]) == ("r2", "age", "test"))
    values = [
        metric for one in models["visionfm"] for metric in one["metrics"] if metric["name"].startswith("R\u00b2 of age")
    ]
    assert values[0]["value"] == pytest.approx(r2["value"], abs=5e-4) and "95 % interval" in values[0]["name"]
    assert "Random weights: a floor" in body and "[AUTHORS: " in body


def test_each_dataset_has_its_sheet(run: Fabricated, files: dict[str, bytes]) -> None:
    sheets = {name for name in files if name.startswith("datasheets/")}
    assert sheets == {f"datasheets/{name}.md" for name in run.config["datasets"]}
    text = files["datasheets/fundus.md"].decode()
    assert "- 11 images, of which 10 could be read; 1: truncated." in text and "grade (9 known, 1 unknown" in text
    assert "- Setting: People of 2 clinics in Springfield. (said of the study as a whole)" in text


# --- forms ----------------------------------------------------------------------------------------------------------


def test_a_table_keeps_what_users_named_whatever_it_holds() -> None:
    nasty = Table("a|b_c & 5 %", ["who", "n"], [[Cell("<x> $y_1"), Cell("1,234", "\u22120.5 to 2", numeric=True)]])
    assert csv_table(nasty).splitlines() == ["who,n,n (beside)", "<x> $y_1,1234,-0.5 to 2"]
    assert r"| \<x\> \$y_1 | 1,234 (" in formats.markdown_table(nasty)
    assert r"\textless{}x\textgreater{} \$y\_1 & 1,234 ($-$0.5 to 2) \\" in formats.latex_table(nasty, "t")


def test_markdown_becomes_latex() -> None:
    text = "## A & B\n\nSee `x_1`, **bold** [@a1; @b2].\n\n- one \\[AUTHORS: x\\]\n- two\n\nEnd."
    found = formats.latex_document(text, ["t"])
    for part in (r"\section{A \& B}", r"\texttt{x\_1}, \textbf{bold} \cite{a1,b2}.", r"\item one [AUTHORS: x]",
                 "\\end{itemize}\n", r"\input{tables/t}"):  # fmt: skip
        assert part in found, part


def drawn(numbers: Iterable[float]) -> Panel:
    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], list(numbers), label="curve")
        axes.set(title="Title", xlabel="x")

    return Panel("roc", "Title", "", draw)


def test_a_figure_is_printed_at_a_column_s_width_with_its_fonts_and_the_numbers_it_draws() -> None:
    first, again = printed(drawn([0.25, 1])), printed(drawn([0.25, 1]))
    assert first == again
    assert b"/FontFile2" in first.pdf and b"CreationDate" not in first.pdf and b"/MediaBox [ 0 0 255.1" in first.pdf
    assert b"<text" not in first.svg and b'width="255.1' in first.svg and b"<dc:date>" not in first.svg
    rows = ["axes,kind,series,point,x,y,text", "0,line,curve,0,0,0.25,", "0,line,curve,1,1,1,"]
    assert first.csv.splitlines() == rows
