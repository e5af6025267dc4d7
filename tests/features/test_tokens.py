"""Patch tokens are encoded once, found again by image, and streamed when they are over the budget."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from world.small_project import Project
from world.stopping import AfterSteps

from visionfm.encoders.vit import load_encoder
from visionfm.errors import ArtifactError, Stopped
from visionfm.features import token_parts as dense_parts
from visionfm.features import tokens as dense
from visionfm.features.settings import DenseSettings
from visionfm.features.token_cache import DenseStore, read_dense

VIEWS = ["identity", "h", "v", "hv"]


def out_of(project: Project) -> Path:
    return project.out.with_name("eyes.dense32.h5")


def run(project: Project, **changed: Any) -> bytes:
    settings = DenseSettings(**{"size": 32, "views": VIEWS, "workers": 0, "device": "cpu", **changed})
    dense.dense(project.index, project.root, project.encoder, out_of(project), settings)
    return out_of(project).read_bytes()


def test_tokens_are_the_encoders_in_each_view(project: Project) -> None:
    run(project, dtype="float32")
    cache = read_dense(out_of(project))
    assert cache.patches_NVLPD.shape == (5, 4, 4, 4, 192) and cache.views == tuple(VIEWS) and not cache.streamed
    with Image.open(project.root / cache.paths[1]) as image:
        pixels = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    encoder = load_encoder(project.encoder, image_size=32)
    for view, turned in (("identity", pixels), ("h", pixels[:, ::-1])):
        expected = encoder.patch_tokens(torch.from_numpy(turned.copy()).permute(2, 0, 1)[None])
        found = cache.patches_NVLPD[1, VIEWS.index(view)]
        np.testing.assert_allclose(found, expected[0].numpy(), atol=2e-5)


def test_an_added_image_is_the_only_one_encoded_and_bytes_are_those_of_a_clean_run(
    new_project: Callable[..., Project], caplog: pytest.LogCaptureFixture
) -> None:
    grown, clean = new_project(4, "grown"), new_project(5, "clean")
    run(grown)
    (grown.root / "eyes/004.jpg").write_bytes((clean.root / "eyes/004.jpg").read_bytes())
    grown.reindex()
    with caplog.at_level("INFO"):
        assert run(grown) == run(clean)
    assert "to encode 1, to reuse 4 of 5" in caplog.text


def test_an_unchanged_run_is_recalled_without_torch_and_other_sizes_share_nothing(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(project)
    out_of(project).unlink()
    with caplog.at_level("INFO"):
        assert run(project) == first
    assert "unchanged" in caplog.text


def test_a_view_that_is_missing_is_added(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    run(project, views=["identity"])
    with caplog.at_level("INFO"):
        run(project)
    assert read_dense(out_of(project)).views == tuple(VIEWS)


def test_over_the_budget_the_file_says_streamed(project: Project) -> None:
    run(project, max_gb=1e-6)
    cache = read_dense(out_of(project))
    assert cache.streamed and len(cache.paths) == 0
    assert not DenseStore({"eyes": [out_of(project)]}).has_views("eyes", ["v", "x"])


def test_a_stopped_run_goes_on_from_its_parts_and_gives_the_same_bytes(
    new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stopped, clean = new_project(5, "stopped"), new_project(5, "clean")

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(dense, "stop_on_signal", lambda: AfterSteps(0))
        run(stopped)
    assert list(stopped.out.parent.glob("eyes.dense32.parts/*.h5"))
    with caplog.at_level("INFO"):
        assert run(stopped) == run(clean)
    assert "to encode 1, to reuse 4" in caplog.text
    assert not list(stopped.folder.rglob("*.parts"))


def test_rows_are_published_in_parts_when_many_are_held(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(project)
    dense_kept = project.folder / "results/.kept/features/fundus/eyes.dense32.h5"
    dense_kept.unlink()
    out_of(project).unlink()
    monkeypatch.setattr(dense_parts, "HELD_BYTES", 1)
    assert run(project) == whole


def test_the_store_believes_only_rows_of_the_right_bytes(project: Project) -> None:
    run(project)
    store = DenseStore({"eyes": [out_of(project)]})
    rows = json.loads(json.dumps([[row, image] for row, image in zip(*read_names(project), strict=True)]))
    store.locate([("eyes", path, image_id) for path, image_id in rows])
    with pytest.raises(ArtifactError, match="expected the patch tokens of image"):
        store.locate([("eyes", rows[0][0], "f" * 64)])
    with pytest.raises(ArtifactError, match="found none"):
        store.locate([("eyes", "no.png", rows[0][1])])


def read_names(project: Project) -> tuple[list[str], list[str]]:
    cache = read_dense(out_of(project))
    return cache.paths, cache.image_ids
