"""Weights files that nobody vouches for: harmless ones load, all others end in one DataError and run nothing."""

import argparse
import contextlib
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from world.encoder_fakes import heads, prefixed, save, tensors

from visionfm.encoders.checkpoints import read_checkpoint, select
from visionfm.errors import DataError


class Bomb:
    """Unpickled by a careless loader, it leaves a canary file."""

    def __init__(self, canary: Path, function: object = os.system) -> None:
        self.canary, self.function = canary, function

    def __reduce__(self) -> tuple[object, tuple[str]]:
        command = f"touch {self.canary}" if self.function is os.system else f"open({str(self.canary)!r}, 'w')"
        return self.function, (command,)


@pytest.mark.parametrize("function", [os.system, eval, exec], ids=["system", "eval", "exec"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_poisoned_file_is_refused_names_its_globals_and_runs_nothing(
    tmp_path: Path, function: object, legacy: bool
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "weights.pth"
    content = {"teacher": tensors("fake_plain"), "extra": Bomb(canary, function)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(DataError) as caught:
        read_checkpoint(path)
    assert not canary.exists()
    if not legacy:
        assert getattr(function, "__name__", "") in str(caught.value)
        assert "no fallback" in str(caught.value)


def test_plain_pickles_and_attribute_chains_are_refused(tmp_path: Path) -> None:
    chain = b"cbuiltins\ngetattr\n(cbuiltins\n__import__\nS'__call__'\ntR."
    for number, data in enumerate(
        [pickle.dumps({"a": Bomb(tmp_path / "canary")}), chain, b"cposix\nsystem\n(S'true'\ntR."]
    ):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(data)
        with pytest.raises(DataError):
            read_checkpoint(path)
    assert not (tmp_path / "canary").exists()


def test_a_numpy_object_array_is_refused(tmp_path: Path) -> None:
    path = save({"teacher": tensors("fake_plain"), "x": np.array([{"a": 1}], dtype=object)}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="wants to run code"):
        read_checkpoint(path)


def test_torchscript_and_legacy_tar_are_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), script)
    tar = tmp_path / "legacy.pt"
    with tarfile.open(tar, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    for path in (script, tar):
        with pytest.raises(DataError):
            read_checkpoint(path)


def test_the_upstream_dialect_with_namespace_and_numpy_scalars_loads(tmp_path: Path) -> None:
    extras = {
        "args": argparse.Namespace(modality="OCT"),
        "best": np.float64(0.5),
        "epoch": np.int64(3),
        "f": np.float32(1),
    }
    path = save({"teacher": tensors("fake_plain"), **extras}, tmp_path / "w.pth")
    content = read_checkpoint(path).content
    assert content["args"].modality == "OCT"
    assert content["best"] == 0.5


def test_numpy_1_names_of_the_same_scalars_load(tmp_path: Path) -> None:
    path = save({"teacher": tensors("fake_plain"), "best": np.float64(0.25)}, tmp_path / "new.pth")
    old = tmp_path / "old.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w") as target:
        for entry in source.infolist():
            target.writestr(
                entry.filename, source.read(entry).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            )
    assert b"numpy.core.multiarray" in old.read_bytes()
    assert read_checkpoint(old).content["best"] == 0.25


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = save({"teacher": tensors("fake_plain")}, tmp_path / "w.pth").read_bytes()
    cut = tmp_path / "cut.pth"
    for fraction in np.linspace(0, 0.999, 40):
        cut.write_bytes(whole[: int(len(whole) * fraction)])
        with pytest.raises(DataError):
            read_checkpoint(cut)


def test_every_truncated_safetensors_is_refused(tmp_path: Path) -> None:
    save_file(tensors("fake_plain"), tmp_path / "w.safetensors")
    whole, cut = (tmp_path / "w.safetensors").read_bytes(), tmp_path / "cut.safetensors"
    for fraction in np.linspace(0, 0.999, 20):
        cut.write_bytes(whole[: int(len(whole) * fraction)])
        with pytest.raises(DataError):
            read_checkpoint(cut)


def test_a_flipped_bit_in_a_tensor_is_refused(tmp_path: Path) -> None:
    data = bytearray(save({"teacher": tensors("fake_plain")}, tmp_path / "w.pth").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "flipped.pth").write_bytes(data)
    with pytest.raises(DataError, match="cannot be read"):
        read_checkpoint(tmp_path / "flipped.pth")


def test_a_zip_bomb_is_refused_from_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * 10_000_000)
    with pytest.raises(DataError, match="unpacks to"):
        read_checkpoint(path)


def test_a_tensor_that_claims_more_than_is_stored_is_refused(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(1 << 40)
    path = save({"teacher": {**tensors("fake_plain"), "head.weight": huge}}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="claims"):
        select(read_checkpoint(path), None)


def test_deep_nesting_ends_in_an_error(tmp_path: Path) -> None:
    (tmp_path / "deep.pth").write_bytes(b"\x80\x02" + b"(" * 500_000 + b"].")
    with pytest.raises(DataError):
        read_checkpoint(tmp_path / "deep.pth")


def test_a_pickle_cannot_change_numpys_own_types(tmp_path: Path) -> None:
    """It may make a dtype and set its state; were that the shared one, all of numpy's floats would change."""
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8\x89\x89tR"
    state = b"(K\x03X\x01\x00\x00\x00>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    path = save({"teacher": tensors("fake_plain"), "x": 1}, tmp_path / "w.pth")
    poisoned = tmp_path / "poisoned.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(poisoned, "w") as target:
        for entry in source.infolist():
            harm = b"\x80\x02}X\x01\x00\x00\x00a" + dtype + state + b"s."
            data = harm if "data.pkl" in entry.filename else source.read(entry)
            target.writestr(entry.filename, data)
    with contextlib.suppress(DataError):
        read_checkpoint(poisoned)
    assert np.dtype("f8").byteorder == "="
    assert np.frombuffer(np.float64(1).tobytes(), np.float64)[0] == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    state = tensors("fake_plain")
    state["norm.weight"][3] = value
    with pytest.raises(DataError, match=r"norm\.weight"):
        select(read_checkpoint(save({"teacher": state}, tmp_path / "w.pth")), None)


# --- choosing the network -------------------------------------------------------------------------------------------


def chosen(content: object, tmp_path: Path, key: str | None = None):  # type: ignore[no-untyped-def]
    return select(read_checkpoint(save(content, tmp_path / "w.pth")), key)


def test_the_teacher_is_taken_where_both_networks_are_there_and_the_student_by_key(tmp_path: Path) -> None:
    both = {
        "student": {**prefixed(tensors("fake_plain", 1), "module.backbone."), **prefixed(heads(), "module.")},
        "teacher": {**prefixed(tensors("fake_plain", 2), "backbone."), **heads()},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
        "ibot_loss": {"center": torch.zeros(1, 8)},
    }
    assert chosen(both, tmp_path).key == "teacher"
    student = chosen(both, tmp_path, "student")
    assert torch.equal(student.tensors["cls_token"], both["student"]["module.backbone.cls_token"])
    assert student.dropped.keys() == prefixed(heads(), "module.").keys()


def test_prefixes_are_removed_only_where_a_name_starts_with_them(tmp_path: Path) -> None:
    state = {
        **prefixed(tensors("fake_plain"), "module.backbone."),
        "module.backbone.blocks.0.module.backbone.x": torch.zeros(2),
    }
    assert "blocks.0.module.backbone.x" in chosen({"teacher": state}, tmp_path).tensors


def test_one_dictionary_with_both_networks_by_prefix_gives_the_teacher(tmp_path: Path) -> None:
    state = {
        **prefixed(tensors("fake_plain", 1), "student.backbone."),
        **prefixed(tensors("fake_plain", 2), "teacher.backbone."),
        "teacher.dino_head.last_layer.weight": torch.zeros(4, 4),
    }
    selection = chosen({"model": state}, tmp_path)
    assert selection.key == "teacher"
    assert torch.equal(selection.tensors["cls_token"], state["teacher.backbone.cls_token"])


def test_several_networks_are_ambiguous_and_a_wrong_key_names_those_there(tmp_path: Path) -> None:
    content = {"model": tensors("fake_plain", 1), "model_ema": tensors("fake_plain", 2)}
    with pytest.raises(DataError, match="not guessed"):
        chosen(content, tmp_path)
    with pytest.raises(DataError, match="model_ema"):
        chosen(content, tmp_path, "teacher")


def test_a_file_without_a_network_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no vision transformer"):
        chosen({"epoch": 3, "ibot_loss": {"center": torch.zeros(1, 8)}}, tmp_path)
    with pytest.raises(DataError, match="dictionary"):
        chosen([1, 2], tmp_path)
