"""Figures: what they show is right, equal input gives equal bytes, and no name that a user chose breaks them."""

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from visionfm.figures import svg as plots
from visionfm.figures import training
from visionfm.tasks.classification import figures as panels
from visionfm.tasks.regression import figures as panels_values

NASTY = ["<script>alert(1)</script>", "_hidden", '$x_1$ & "y"', "\u767d\u5185\u969c \x07"]
SVG = "{http://www.w3.org/2000/svg}"


def multiclass(count: int = 60, classes: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth = np.arange(count) % classes
    logits = rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return pd.DataFrame(
        {
            "truth": truth.astype(float),
            "scores": list(scores),
            "class": None,
            "run": "seed0",
            "subject_id": np.arange(count).astype(str),
        }
    )


def draw(panel: plots.Panel):
    """Draw a panel on a bare figure and return it, to look at its artists."""
    from matplotlib.figure import Figure

    figure = Figure()
    panel.draw(figure)
    return figure


def texts(svg: str) -> str:
    return " ".join("".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text"))


@pytest.fixture(scope="module")
def drawn() -> list[tuple[plots.Panel, str]]:
    found = panels.classification(multiclass(), "grade", {"type": "multiclass", "classes": NASTY})
    return [(panel, plots.single(panel)) for panel in found]


def test_a_classification_has_roc_precision_recall_confusion_and_calibration(drawn):
    assert [panel.kind for panel, _ in drawn] == [
        *("roc", "precision_recall", "confusion", "calibration", "net_benefit", "selective")
    ]
    assert all("grade" in panel.title and panel.alt for panel, _ in drawn)


def test_equal_input_gives_equal_bytes_without_date(drawn):
    panel, svg = drawn[0]
    assert plots.single(panel) == svg
    assert "date" not in svg.lower()


def test_names_of_any_characters_are_drawn_as_text_in_well_formed_svg(drawn):
    for _, svg in drawn:
        assert "<script" not in svg
        ElementTree.fromstring(svg)
    legend = texts(drawn[0][1])
    assert NASTY[0] in legend
    assert "_hidden" in legend
    assert "$x_1$" in legend
    assert "\u767d\u5185\u969c" in legend


def test_inlined_figures_share_no_id_and_every_reference_has_its_target(drawn):
    page = "".join(plots.inline(svg, f"p{i}", "x") for i, (_, svg) in enumerate(drawn))
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_inlined_figure_has_an_escaped_name_and_no_own_size(drawn):
    element = ElementTree.fromstring(plots.inline(drawn[0][1], "p", 'a "b" <c>'))
    assert element.get("aria-label") == 'a "b" <c>'
    assert element.get("role") == "img"
    assert element.get("width") is None
    assert element.get("viewBox")


def test_a_figure_for_the_page_is_also_a_document_with_a_file_name_that_any_system_takes():
    panel = plots.Panel("roc", f"ROC: {''.join(NASTY)}", "alt", lambda figure: figure.subplots())
    figure = plots.drawn(panel, "grading-base-0")
    assert ElementTree.fromstring(figure.document).get("width") and re.fullmatch(
        r"grading-base-0-[a-z0-9_-]+", figure.file
    )
    coordinates = re.findall(r"\.(\d+)", " ".join(re.findall(r'\bd="([^"]*)"', figure.document)))
    assert coordinates and max(map(len, coordinates)) == 2, "a hundredth of a point is not seen"


def test_roc_curve_ends_in_both_corners_and_has_the_area_that_scikit_learn_gives():
    from sklearn.metrics import roc_auc_score

    rows = multiclass()
    line = (
        draw(panels.classification(rows, "t", {"type": "multiclass", "classes": list("abcd")})[0])
        .axes[0]
        .get_lines()[1]
    )
    x, y = line.get_xdata(), line.get_ydata()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    area = roc_auc_score(rows["truth"] == 1, [scores[1] for scores in rows["scores"]])
    assert np.trapezoid(y, x) == pytest.approx(area, abs=1e-9)


def test_a_class_without_positives_gets_no_curve_and_the_legend_says_so():
    rows = multiclass()
    found = panels.classification(rows[rows["truth"] != 3], "t", {"type": "multiclass", "classes": list("abcd")})
    assert "d: 0 of 45, no curve" in found[0].alt
    assert len(draw(found[0]).axes[0].get_lines()[3].get_xdata()) == 0


def test_unknown_truths_are_left_out_and_without_any_there_is_no_figure():
    rows = multiclass()
    rows.loc[:29, "truth"] = np.nan
    found = panels.classification(rows, "t", {"type": "multiclass", "classes": list("abcd")})
    assert "n = 30" in found[2].alt
    rows["truth"] = np.nan
    assert panels.classification(rows, "t", {"type": "multiclass", "classes": list("abcd")}) == []


def test_confusion_counts_every_sample_once_at_its_truth_and_most_probable_class():
    rows = pd.DataFrame(
        {
            "truth": [0.0, 0.0, 1.0],
            "scores": [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]],
            "class": None,
            "run": "seed0",
            "subject_id": list("pqr"),
        }
    )
    alt = panels.classification(rows, "t", {"type": "multiclass", "classes": ["a", "b"]})[2].alt
    assert "true a: 1 called a, 1 called b; true b: 0 called a, 1 called b" in alt


def test_binary_confusion_calls_positive_from_probability_one_half():
    rows = pd.DataFrame(
        {
            "truth": [0.0, 1.0, 1.0],
            "scores": [[0.1], [0.5], [0.49]],
            "class": None,
            "run": "seed0",
            "subject_id": list("pqr"),
        }
    )
    alt = panels.classification(rows, "t", {"type": "binary", "classes": ["no", "yes"]})[2].alt
    assert "true no: 1 called no, 0 called yes; true yes: 1 called no, 1 called yes" in alt


def test_multilabel_counts_found_missed_and_false_alarms_by_class():
    rows = pd.DataFrame(
        {
            "truth": [1.0, 1.0, 0.0, np.nan],
            "scores": [[0.9], [0.1], [0.7], [0.9]],
            "class": ["a", "a", "a", "a"],
            "run": "seed0",
            "subject_id": list("pqrs"),
        }
    )
    alt = panels.classification(rows, "t", {"type": "multilabel", "classes": ["a"]})[2].alt
    assert "a: 1 found, 1 missed, 1 false alarm, 0 rightly not" in alt


def test_reliability_bins_hold_all_samples_with_their_means():
    score = np.tile([0.05, 0.95], 10)
    mean, observed = panels.reliability(np.tile([0, 1], 10), score)
    assert mean == pytest.approx([0.05, 0.95])
    assert observed == pytest.approx([0.0, 1.0])


def test_bland_altman_gives_the_mean_difference_and_its_limits():
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    rows = pd.DataFrame(
        {"truth": truth, "value": truth + [0.0, 1.0, 0.0, 1.0], "run": "seed0", "subject_id": list("abcd")}
    )
    agreement, bland_altman = panels_values.regression(rows, "iop", {"unit": "mmHg"})
    half = 1.96 * np.std([0, 1, 0, 1], ddof=1)
    assert (
        f"Mean difference 0.5; 95 % of differences lie about between {0.5 - half:.3g} and {0.5 + half:.3g}."
        in bland_altman.alt
    )
    more = pd.concat([rows.assign(subject_id=rows["subject_id"] + str(n)) for n in range(5)])
    assert "Mean difference 0.5 (0.2" in panels_values.regression(more, "iop", {"unit": "mmHg"})[1].alt
    assert "mmHg" in texts(plots.single(agreement))


def test_many_points_are_thinned_and_the_axis_says_how_many_are_drawn():
    truth = np.arange(5000.0)
    agreement = panels_values.regression(
        pd.DataFrame({"truth": truth, "value": truth, "run": "seed0", "subject_id": "a"}), "v", {"unit": None}
    )[0]
    assert "n = 5000, 1500 drawn" in agreement.alt
    assert len(plots.single(agreement)) < 400_000


def test_training_marks_the_chosen_epoch_of_each_run():
    epochs = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [3.0, 2.0, 1.0], "validation_loss": [3.0, 1.0, 2.0]})
    epochs["best"] = epochs["epoch"] == 2
    panel = training.training({"seed0": epochs, "seed1": epochs})
    marks = [line for line in draw(panel).axes[0].get_lines() if line.get_marker() == "o"]
    assert [(float(mark.get_xdata()[0]), float(mark.get_ydata()[0])) for mark in marks] == [(2, 1), (2, 1)]
    assert training.training({"seed0": epochs.iloc[:0]}) is None


def test_no_two_of_the_first_28_lines_look_alike():
    looks = [tuple(plots.colour(index).values()) for index in range(28)]
    assert len(set(looks)) == 28
