"""Three datasets serve as each other's outside, from one config to the page: matrix, recalibration, nothing pooled."""

import re
from pathlib import Path

import pandas as pd
from rerun_project import Project, dataset_block, draw, encoder_block

TRAINED_ON, PEOPLE, TESTED = ["one", "two", "three"], 44, 12


def write_place(folder: Path, seed: int) -> None:
    """A place of 44 people with one eye each, of whom the last 12 are the test split."""
    lines = ["file,patient,eye,split,sick,thickness"]
    for person in range(PEOPLE):
        sick, split = person % 2, "test" if person >= PEOPLE - TESTED else "train"
        draw(folder / f"img/{person:02d}.png", 100 * seed + person, bool(sick))
        lines.append(f"img/{person:02d}.png,p{person:02d},R,{split},{sick},200")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def test_each_of_three_places_is_tested_on_the_others_and_no_number_pools_them(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    for seed, name in enumerate(TRAINED_ON, 7):
        write_place(project.folder / name, seed)
    task = {"kind": "classification", "datasets": TRAINED_ON, "external": "each", "models": ["tiny"], "baselines": []}
    project.config = {
        "encoders": {"fundus": encoder_block("Fundus", "a.pth")},
        "models": {"tiny": {"Fundus": "fundus"}},
        "datasets": {name: dataset_block("Fundus", name) | {"cohort": name} for name in TRAINED_ON},
        "tasks": {"sick": task | {"targets": {"sick": {"type": "binary"}}, "training": {"epochs": 3}}},
    }
    project.run()

    values = {}
    for own in TRAINED_ON:
        folder = project.folder / f"results/tasks/sick_on_{own}"
        metrics = pd.read_parquet(folder / "tiny/metrics.parquet")
        tested = metrics[metrics.split == "test"]
        assert set(tested.dataset) == set(TRAINED_ON)  # and `all` is none of them
        for name, rows in tested.groupby("dataset"):
            auroc = rows[(rows.metric == "auroc") & (rows.modality == "all")].iloc[0]
            assert auroc.n == auroc.n_subjects == (TESTED if name == own else PEOPLE)
            values[own, name] = auroc.value
        contrasts = pd.read_parquet(folder / "contrasts.parquet")
        of_places = contrasts[(contrasts.grouping == "dataset") & contrasts.in_family]
        assert set(of_places.group) == set(TRAINED_ON) - {own} and set(of_places.reference) == {own}
        assert (of_places.p_holm.notna() | of_places.reason.notna()).all()
        local = pd.read_parquet(folder / "recalibration.parquet")
        slopes = local[local.metric == "calibration_slope"].set_index(["dataset", "local_subjects"])
        assert set(local.dataset) == set(TRAINED_ON) - {own}
        for name in set(local.dataset):
            assert slopes.loc[[(name, 50), (name, 100)]].reason.notna().all()  # 44 people are too few
            assert slopes.loc[[(name, 0), (name, 20)]].n_subjects.eq(PEOPLE - 20).all()

    page = (project.folder / "results/report/index.html").read_text()
    caption = page.index("AUROC by where it was trained and tested")
    cells = re.findall(r"<t[hd][^>]*>\s*([^<\s][^<]*)", page[caption : page.index("</table>", caption)])
    for own in TRAINED_ON:
        row = cells[len(cells) - 1 - cells[::-1].index(own) :]
        assert [f"{values[own, name]:.3f}" for name in TRAINED_ON] == [text for text in row if "." in text][:3]
    assert "Labelled subjects of the place" in page or "recalibration" in page.lower()
