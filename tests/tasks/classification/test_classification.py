"""Losses, F1 and probabilities of classification, against the published formula and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional
from world.decoder_data import named

from visionfm.tasks.classification.fit import Classification
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors.recipe import sound

PUBLISHED_MULTI = named("classification/recipes/published_multi.yaml")
SOUND = sound()
DISEASES = ("dr", "glaucoma", "amd", "cataract", "hypertensive_retinopathy", "rvo", "myopia", "rd")
PUBLISHED = {
    "dr_grade": TargetSpec(type="multiclass", classes=list("01234"), weight=5),
    **{
        name: TargetSpec(type="binary", classes=["no", "yes"], weight=5 if name == "hypertensive_retinopathy" else 1)
        for name in DISEASES
    },
}
GRADE = {"grade": TargetSpec(type="multiclass", classes=list("abc"))}
SIGNS = {"signs": TargetSpec(type="multilabel", classes=["drusen", "fluid"])}


def published_truth(count=64):
    rng = np.random.default_rng(0)
    grade_N = rng.integers(0, 5, count).astype(float)
    grade_N[rng.random(count) < 0.3] = np.nan  # published: a row of zeros
    return np.column_stack([grade_N, rng.integers(0, 2, (count, 8))])


def test_published_thirteen_values_give_the_published_loss():
    truth_NT = published_truth()
    outputs_NK = torch.randn(64, 13, generator=torch.Generator().manual_seed(0))
    kind = Classification(PUBLISHED, PUBLISHED_MULTI, truth_NT, single=False)
    one_hot = np.zeros((64, 5))
    known_N = ~np.isnan(truth_NT[:, 0])
    one_hot[known_N, truth_NT[known_N, 0].astype(int)] = 1
    expected = 5 * functional.cross_entropy(outputs_NK[:, :5], torch.tensor(one_hot, dtype=torch.float32))
    for at, weight in enumerate((1, 1, 1, 1, 5, 1, 1, 1)):
        truth_N = torch.tensor(truth_NT[:, 1 + at], dtype=torch.float32)
        expected = expected + weight * functional.binary_cross_entropy_with_logits(outputs_NK[:, 5 + at], truth_N)
    found = kind.loss(outputs_NK, torch.tensor(truth_NT, dtype=torch.float32))
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("targets", [GRADE, SIGNS], ids=["multiclass", "multilabel"])
def test_unknown_labels_teach_nothing(targets):
    columns = 1 if targets is GRADE else 2
    truth_NT = np.random.default_rng(0).integers(0, 2, (20, columns)).astype(float)
    truth_NT[::3] = np.nan
    kind = Classification(targets, SOUND, truth_NT, single=False)
    outputs_NK = torch.zeros(20, 3 if targets is GRADE else 2, requires_grad=True)
    kind.loss(outputs_NK, torch.tensor(truth_NT, dtype=torch.float32)).backward()
    assert outputs_NK.grad[::3].abs().max() == 0
    assert outputs_NK.grad[1::3].abs().min() > 0


def test_sound_loss_over_the_training_set_is_the_mean_over_known_labels():
    truth_NT = np.array([[0.0], [1], [np.nan], [2], [np.nan]])
    outputs_NK = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    kind = Classification(GRADE, SOUND, truth_NT, single=True)
    known = [0, 1, 3]
    expected = functional.cross_entropy(outputs_NK[known], torch.tensor(truth_NT[known, 0]).long())
    assert float(kind.loss(outputs_NK, torch.tensor(truth_NT).float())) == pytest.approx(float(expected), rel=1e-5)


def test_a_batch_without_any_known_label_has_loss_zero():
    kind = Classification(GRADE, SOUND, np.array([[0.0], [1.0], [2.0]]), single=True)
    assert float(kind.loss(torch.randn(2, 3), torch.full((2, 1), float("nan")))) == 0


def test_balanced_weights_are_those_of_scikit_learn():
    column = np.array([0] * 30 + [1] * 5 + [2] * 15, dtype=float)
    kind = Classification(GRADE, SOUND.model_copy(update={"class_weighting": "balanced"}), column[:, None], single=True)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=column)
    assert kind.weights["grade"].numpy() == pytest.approx(expected)


def test_published_f1_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth_NT, outputs_NK = published_truth(), rng.normal(size=(64, 13))
    kind = Classification(PUBLISHED, PUBLISHED_MULTI, truth_NT, single=False)
    known_N = ~np.isnan(truth_NT[:, 0])
    grades = f1_score(truth_NT[known_N, 0], outputs_NK[known_N, :5].argmax(1), average=None, zero_division=0)
    expected = [np.mean(grades[1:])] + [f1_score(truth_NT[:, 1 + k], outputs_NK[:, 5 + k] > 0) for k in range(8)]
    _, score = kind.score(torch.tensor(outputs_NK).float(), torch.tensor(truth_NT).float())
    assert score == pytest.approx(np.mean(expected))


def test_published_single_binary_f1_is_over_both_classes():
    truth_N = np.array([0, 0, 1, 1, 1, 0], dtype=float)
    outputs_N = np.array([-1, 1, 1, 1, -1, -1.0])
    targets = {"sick": TargetSpec(type="binary", classes=["no", "yes"])}
    kind = Classification(targets, PUBLISHED_MULTI, truth_N[:, None], single=True)
    _, score = kind.score(torch.tensor(outputs_N[:, None]).float(), torch.tensor(truth_N[:, None]).float())
    assert score == pytest.approx(f1_score(truth_N, outputs_N > 0, average="macro"))


def test_probabilities_follow_the_layout_of_the_targets():
    kind = Classification({**GRADE, **SIGNS}, SOUND, np.zeros((2, 3)), single=False)
    outputs_NK = torch.tensor([[0.0, 0, np.log(2), 3, -3]])
    grade, drusen, fluid = kind.predict(outputs_NK)
    assert grade.values == pytest.approx(np.array([[0.25, 0.25, 0.5]]))
    assert (drusen.class_name, fluid.class_name) == ("drusen", "fluid")
    assert float(drusen.values[0, 0]) + float(fluid.values[0, 0]) == pytest.approx(1)


@pytest.mark.parametrize(("weighting", "said"), [("balanced", 1), ("none", 0)])
def test_the_page_says_what_balanced_weights_do_to_probabilities(weighting, said):
    from visionfm.tasks.classification import ClassificationTask
    from visionfm.tasks.classification.figures import sentences

    block = {
        "kind": "classification",
        "datasets": ["clinic"],
        "models": ["tiny"],
        "targets": {"dme": {"type": "binary"}},
    }
    task = ClassificationTask.model_validate({**block, "training": {"class_weighting": weighting}})
    assert sum("probabilities of rare classes are too high" in sentence for sentence in sentences(task)) == said
