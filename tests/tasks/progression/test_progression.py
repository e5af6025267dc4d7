"""Progression heads: likelihoods against hand calculation and oracles, and planted risks that are learned."""

import math
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter, KaplanMeierFitter
from sklearn.metrics import roc_auc_score
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv
from world.decoder_data import image, planted, splits_of, train_settings, write_cache, write_samples
from world.stopping import signalled

from visionfm import artifacts
from visionfm.errors import DataError
from visionfm.tasks.predict import predict
from visionfm.tasks.progression.fit import (
    Cox,
    Hazard,
    breslow,
    check_follow_up,
    exposure,
    life_table,
    partial_likelihood,
)
from visionfm.tasks.settings import PredictSettings, TargetSpec
from visionfm.tasks.train import train
from visionfm.tasks.vectors.fusion import Visits
from visionfm.tasks.vectors.heads import ForecastHead, sinusoid
from visionfm.tasks.vectors.training import drop_modalities

EDGES = [365.0, 730.0, 1095.0, 1460.0]
COUNT = 800


def target(form):
    if form == "published":
        return {"worse": TargetSpec(type="binary", classes=["stable", "progressed"])}
    return {"worse": TargetSpec(type="event", form=form, intervals=EDGES, horizons=[730.0])}


# --- heads ----------------------------------------------------------------------------------------------------------


def test_forecast_head_is_the_published_one(shared):
    golden = np.load(shared / "golden/decoders.npz")
    part = {name.removeprefix("forecast_head."): golden[name] for name in golden.files if name.startswith("forecast")}
    head = ForecastHead(48, 1)
    head.load_state_dict({f"fc_1.{key}": torch.tensor(part[f"param.fc_1.{key}"]) for key in ("weight", "bias")})
    y = head(torch.tensor(part["x"]), torch.tensor(part["t"])).detach().numpy()
    assert np.abs(y - part["y"]).max() < 1e-5
    table = sinusoid(torch.arange(700), 48).numpy()
    assert np.abs(table - part["param.pe"][:, 0]).max() < 1e-5


def test_visits_tell_when_an_image_was_taken_and_ignore_what_is_not_there():
    torch.manual_seed(0)
    fusion = Visits([6, 9]).eval()
    streams = [torch.randn(3, width) for width in (6, 9, 6, 9)]
    present = torch.tensor([[True, True, True, True], [True, False, True, False], [True, True, False, False]])
    days = torch.tensor([[0, 0, 300, 300], [0, 0, 300, 300], [0, 0, 0, 0.0]])
    found = fusion(streams, present, days)
    later = fusion(streams, present, days * 2)
    assert not torch.allclose(found[:2], later[:2], atol=1e-4) and torch.equal(found[2], later[2])
    streams[2][2], streams[3] = float("nan"), torch.full((3, 9), float("nan"))
    streams[3][0] = 0.0
    assert torch.isfinite(fusion(streams, present, days)).all()


def test_a_modality_is_dropped_from_all_visits_or_from_none():
    present = torch.ones(400, 6, dtype=torch.bool)
    found = drop_modalities(present, 0.5, torch.Generator().manual_seed(0), visits=3).reshape(400, 3, 2)
    assert (found == found[:, :1]).all() and found.any(dim=(1, 2)).all() and not found.all()
    assert drop_modalities(torch.ones(4, 3, dtype=torch.bool), 0.9, torch.Generator(), visits=3).all()


# --- likelihoods ----------------------------------------------------------------------------------------------------


def cohort(count=200, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=count)
    seen, lost = rng.exponential(1200 / np.exp(risk)), rng.uniform(200, 2500, count)
    days = np.minimum(seen, lost)
    return risk, (seen <= lost).astype(float), np.ceil(days / 50) * 50 if ties else days


def test_exposure_counts_intervals_survived_and_the_one_with_the_event():
    event = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    days = torch.tensor([365.0, 400.0, 500.0, 600.0, 9000.0, 9000.0, 0.0])
    at_risk, died = exposure(event, days, torch.tensor(EDGES))
    assert at_risk.sum(1).tolist() == [1, 2, 1, 2, 4, 4, 0]
    assert died.argmax(1)[:2].tolist() == [0, 1] and died.sum(1).tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert exposure(torch.ones(1), torch.zeros(1), torch.tensor(EDGES))[1][0].tolist() == [1, 0, 0, 0]


def test_hazard_loss_is_the_likelihood_by_hand():
    kind = Hazard(target("hazard"), np.zeros(4))
    outputs = torch.tensor([[math.log(1 / 3)] * 4] * 2)  # a hazard of 1/4 in each interval
    truth = torch.tensor([[1.0, 800.0], [0.0, 730.0]])
    expected = -(math.log(0.75 * 0.75 * 0.25) + math.log(0.75 * 0.75)) / 2
    assert float(kind.loss(outputs, truth)) == pytest.approx(expected, rel=1e-5)
    values = kind.predict(outputs)[0].values
    assert values[0, 1:] == pytest.approx([1 - 0.75**k for k in (1, 2, 3, 4)], rel=1e-5)
    assert values[0, 0] == pytest.approx(np.mean([0.125, *(1 - (0.75**k + 0.75 ** (k + 1)) / 2 for k in (1, 2, 3))]))


@pytest.mark.parametrize("ties", [False, True])
def test_partial_likelihood_is_largest_where_scikit_survival_says(ties):
    risk, event, days = cohort(ties=ties)
    oracle = CoxPHSurvivalAnalysis(ties="breslow").fit(risk[:, None], Surv.from_arrays(event > 0, days)).coef_[0]
    tensors = [torch.tensor(values) for values in (event, days)]

    def minus_log(slope):
        return float(partial_likelihood(slope * torch.tensor(risk), *tensors))

    assert minus_log(oracle) < min(minus_log(oracle - 0.01), minus_log(oracle + 0.01))
    if not ties:
        fitted = CoxPHFitter().fit(pd.DataFrame({"x": risk, "t": days, "e": event}), "t", "e")
        assert -minus_log(float(fitted.params_["x"])) == pytest.approx(fitted.log_likelihood_, rel=1e-6)


def test_partial_likelihood_in_pieces_is_that_of_the_whole(monkeypatch):
    risk, event, days = (torch.tensor(values) for values in cohort(ties=True))
    whole = partial_likelihood(risk, event, days)
    monkeypatch.setattr("visionfm.tasks.progression.fit.PAIRS", 1000)
    assert torch.allclose(partial_likelihood(risk, event, days), whole)


def test_breslow_baseline_is_that_of_scikit_survival():
    risk, event, days = cohort(ties=True)
    fitted = CoxPHSurvivalAnalysis(ties="breslow").fit(risk[:, None], Surv.from_arrays(event > 0, days))
    hazard = fitted.cum_baseline_hazard_
    found = breslow(fitted.coef_[0] * risk, event, days, np.array(EDGES))
    expected = [hazard.y[np.searchsorted(hazard.x, edge, side="right") - 1] for edge in EDGES]
    scale = found[0] / expected[0]  # it centres the risks: a common factor
    assert found == pytest.approx(scale * np.array(expected))


def test_without_risk_the_baseline_is_kaplan_meier():
    _, event, days = cohort()
    kind = Cox(target("cox"))
    outputs, truth = torch.zeros(len(days), 1), torch.tensor(np.stack([event, days], 1))
    kind.finish(lambda: outputs, truth)
    free = KaplanMeierFitter().fit(days, event).predict(EDGES).to_numpy()
    assert 1 - kind.predict(outputs)[0].values[0, 1:] == pytest.approx(free, abs=0.01)
    hazards = 1 / (1 + np.exp(-life_table(event, days, np.array(EDGES))))
    assert np.cumprod(1 - hazards) == pytest.approx(free, abs=0.06)


def test_intervals_that_nobody_is_followed_into_are_an_error():
    with pytest.raises(DataError, match="no training sample is followed") as error:
        check_follow_up(np.array([100.0, 800.0]), np.array(EDGES))
    assert "1095 to 1460" in str(error.value)


def test_a_batch_without_events_has_a_loss_of_zero_and_no_gradient():
    outputs = torch.randn(5, 1, requires_grad=True)
    loss = Cox(target("cox"), 0.3).loss(outputs, torch.tensor([[0.0, 10.0]] * 5))
    loss.backward()
    assert float(loss.detach()) == 0 and outputs.grad is not None and not outputs.grad.any()


# --- from files to files --------------------------------------------------------------------------------------------


class Cohort:
    """A task on planted features: an eye's images hide its risk, an earlier visit hides more of it."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        rng = np.random.default_rng(seed)
        cls_NVLD, patch_mean_NVD, now_N = planted(COUNT, width=8, seed=seed)
        cls_before, mean_before, before_N = planted(COUNT, width=8, seed=seed + 100)
        patch_mean_NVD[..., 1] += 4 * now_N[:, None]
        self.has_before = np.arange(COUNT) % 3 > 0
        self.risk = 1.6 * now_N
        self.risk_by_visits = 1.2 * now_N + 1.2 * np.where(self.has_before, before_N, 0)
        names = [f"{n:04}.png" for n in range(COUNT)] + [f"{n:04}b.png" for n in range(COUNT)]
        both = [np.concatenate(pair) for pair in ((cls_NVLD, cls_before), (patch_mean_NVD, mean_before))]
        self.files = {"eyes": [write_cache(folder / "eyes.cls224.h5", *both, names=names)]}
        self.draw, self.lost = rng.exponential(size=COUNT), rng.integers(200, 2600, COUNT)
        self.splits = splits_of(COUNT)
        self.test = np.array(self.splits) == "test"

    def risk_of(self, form):
        return self.risk * (1.6 if form == "published" else 1)

    def outcomes(self, risk, form):
        days = np.maximum(1, np.ceil(1500 * (self.draw * np.exp(-risk)) ** 0.8))
        if form == "published":  # known on one day
            return (days <= self.lost).astype(float), self.lost.astype(float)
        return (days <= self.lost).astype(float), np.minimum(days, self.lost).astype(float)

    def tables(self, form, visits=False, shuffle=None):
        event, interval = self.outcomes(self.risk_by_visits if visits else self.risk_of(form), form)
        if shuffle is not None:
            order = np.random.default_rng(shuffle).permutation(COUNT)
            event, interval = event[order], interval[order]
        images, days = [], []
        for n in range(COUNT):
            earlier = {**image(n), "path": f"{n:04}b.png", "image_id": f"{f'{n:04}b.png':0>64}"}
            images.append([image(n), earlier] if visits and self.has_before[n] else [image(n)])
            days.append([0.0, 400.0][: len(images[-1])])
        more = {"interval_days": interval, **({"days_before": days} if visits else {})}
        write_samples(self.folder / "samples.parquet", images, self.splits, {"worse": event}, target(form), more=more)
        return event, interval

    def answers(self, form, visits=False, **keys):
        fusion = "attention" if visits else "pooled"
        out = self.folder / f"{form}.safetensors"
        same = {"kind": "progression", "targets": target(form), "modalities": ["Fundus"], "fusion": fusion}
        settings = train_settings(**same, head=form, visits=4, **keys)
        train(self.folder / "train.parquet", self.files, out, out.with_suffix(".parquet"), settings)
        wanted = PredictSettings(**same, task="t", model="m", run="seed0", splits=["test"])
        predict(out, self.folder / "samples.parquet", self.files, out.with_name("p.parquet"), wanted)
        return artifacts.read_table(out.with_name("p.parquet")).to_pandas()


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    return Cohort(tmp_path_factory.mktemp("cohort") / "results" / "task")


def concordance(event, interval, risk):
    return concordance_index_censored(np.asarray(event) > 0, np.asarray(interval), np.asarray(risk))[0]


@pytest.mark.parametrize("visits", [False, True], ids=["one image", "visits"])
@pytest.mark.parametrize("form", ["hazard", "cox"])
def test_planted_risk_is_ordered_almost_as_by_who_knows_it(eyes, form, visits):
    event, interval = eyes.tables(form, visits)
    known = concordance(*(v[eyes.test] for v in (event, interval, eyes.risk_by_visits if visits else eyes.risk)))
    found = eyes.answers(form, visits, epochs=40)
    assert concordance(found.truth, found.interval_days, found.value) > known - 0.03
    by = np.stack(found.scores)
    assert by.shape == (COUNT // 5, 4) and (np.diff(by, axis=1) >= 0).all() and by.min() >= 0 and by.max() <= 1
    free = KaplanMeierFitter().fit(found.interval_days, found.truth).predict(730)
    assert by[:, 1].mean() == pytest.approx(1 - free, abs=0.1)


def test_published_head_recognises_who_has_progressed_by_a_day(eyes):
    eyes.tables("published")
    found = eyes.answers("published", epochs=150)
    assert roc_auc_score(found.truth, found.scores.str[0]) > 0.85
    assert found.value.isna().all() and found.interval_days.notna().all()
    tensors, metadata = artifacts.read_tensors(eyes.folder / "published.safetensors")
    assert {"fc_1.weight", "fc_1.bias"} < set(tensors) and metadata["recipe"] == "sound"  # as the settings say


@pytest.mark.parametrize("form", ["published", "hazard", "cox"])
def test_permuted_outcomes_are_not_learned(eyes, form):
    found = []
    for seed in range(3):
        eyes.tables(form, shuffle=seed)
        rows = eyes.answers(form, seed=seed, epochs=15)
        if form == "published":
            found.append(roc_auc_score(rows.truth, rows.scores.str[0]))
        else:
            found.append(concordance(rows.truth, rows.interval_days, rows.value))
    assert 0.42 < np.mean(found) < 0.58, found


def test_outcomes_of_test_samples_leave_the_decoder_byte_equal(eyes):
    found = []
    for seed in range(2):
        event, interval = eyes.tables("cox")
        order = np.flatnonzero(eyes.test)
        mixed = np.random.default_rng(seed).permutation(order)
        event[order], interval[order] = event[mixed], interval[mixed]
        eyes.answers("cox", epochs=3)
        found.append((eyes.folder / "cox.safetensors").read_bytes())
    assert found[0] == found[1]


@pytest.mark.parametrize(("form", "visits"), [("published", False), ("hazard", True), ("cox", True)])
def test_signal_saves_progress_and_the_same_command_ends_in_equal_bytes(eyes, monkeypatch, form, visits):
    eyes.tables(form, visits)
    eyes.answers(form, visits, epochs=6)
    out = eyes.folder / f"{form}.safetensors"
    whole = out.read_bytes()
    for path in (out, eyes.folder.parent / ".kept" / "task" / out.name):
        path.unlink()
    with signalled(2, signal.SIGTERM, monkeypatch):
        eyes.answers(form, visits, epochs=6)
    assert not out.exists()
    eyes.answers(form, visits, epochs=6)
    assert out.read_bytes() == whole


def test_published_decoder_file_predicts_what_its_head_says(eyes):
    _, interval = eyes.tables("published")
    torch.manual_seed(0)
    head = ForecastHead(8, 1)
    state = {f"module.{name}": value for name, value in head.state_dict().items()}
    state["module.pe"] = sinusoid(torch.arange(6500), 8).unsqueeze(1)
    path = eyes.folder / "checkpoint_3_linear.pth"
    torch.save({"epoch": 4, "state_dict": state, "optimizer": {}, "best_f1": np.float64(1)}, path)
    same = {"kind": "progression", "targets": target("published"), "modalities": ["Fundus"]}
    settings = PredictSettings(**same, task="t", model="m", run="seed0", splits=["test"])
    out = eyes.folder / "published-predictions.parquet"
    predict(path, eyes.folder / "samples.parquet", eyes.files, out, settings)
    found = artifacts.read_table(out).to_pandas()
    row = int(np.flatnonzero(eyes.test)[0])
    _, mean = artifacts.read_hdf5(eyes.files["eyes"][0])[0]["cls"], artifacts.read_hdf5(eyes.files["eyes"][0])[0]
    x = torch.tensor(mean["patch_mean"][row, 0][None])
    expected = torch.sigmoid(head(x, torch.tensor([interval[row]])))
    assert found.scores[0][0] == pytest.approx(float(expected), abs=1e-6)
    state["module.pe"] = state["module.pe"] + 0.1
    torch.save({"state_dict": state}, path)
    with pytest.raises(DataError, match="not the published ones"):
        predict(path, eyes.folder / "samples.parquet", eyes.files, eyes.folder / "q.parquet", settings)
