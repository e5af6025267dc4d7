"""Pickles are read by a process of their own: what torch.save wrote comes out equal, nothing else ends this process."""

import argparse
import io
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from world.encoder_fakes import save, tensors

from visionfm.encoders import pickles
from visionfm.encoders.checkpoints import Selection, check_types, read_checkpoint, select
from visionfm.errors import DataError

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
OTHERS = [torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn]


def kinds() -> dict[str, torch.Tensor]:
    """One tensor of each kind that a checkpoint may hold."""
    base = torch.arange(24.0)
    found = {
        **{str(dtype): torch.arange(6).to(dtype).reshape(2, 3) for dtype in [*FLOATS, *OTHERS]},
        "transposed": base.reshape(4, 6).t(),
        "strided": base[3::2],
        "shared.a": base[:12],
        "shared.b": base[12:],
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
    }
    return {**found, "parameter": torch.nn.Parameter(base.clone())}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_every_kind_of_tensor_comes_out_as_torch_loads_it(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "w.pth"
    saved = {name: tensor for name, tensor in kinds().items() if not (legacy and "float8" in name)}  # torch cannot
    torch.save({"model": saved, "flat": torch.ones(2)}, path, _use_new_zipfile_serialization=not legacy)
    expected = torch.load(path, weights_only=True)["model"]
    found = read_checkpoint(path).content["model"]
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape, found[name].stride()) == (
            tensor.dtype,
            tensor.shape,
            tensor.stride(),
        ), name
        bytes_of = [t.detach().contiguous().view(-1).view(torch.uint8) for t in (found[name], tensor)]
        assert torch.equal(*bytes_of), name


def test_plain_values_of_a_training_come_out_and_deep_ones_are_left_out(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    content = {
        "model": OrderedDict(network.state_dict()),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(modality="OCT", sizes=(1, 2), device=torch.device("cpu"), dtype=torch.float16),
        "best": [np.float64(0.5), np.float32(0.25), np.int64(-7), np.bool_(True)],
        "loss": float("nan"),
    }
    found = read_checkpoint(save(content, tmp_path / "w.pth")).content
    assert torch.equal(found["model"]["weight"], network.weight)
    assert found["args"].modality == "OCT"
    assert found["args"].sizes == [1, 2]
    assert found["best"] == [0.5, 0.25, -7, True]
    assert found["loss"] != found["loss"]
    assert found["optimizer"]["state"][0]["exp_avg"].shape == (2, 3)


def test_what_holds_no_numbers_is_refused_by_name_where_it_is_needed_alone(tmp_path: Path) -> None:
    unusable = {
        "quantised": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        "without values": torch.empty(4, device="meta"),
        "sparse": torch.eye(3).to_sparse(),
    }
    for what, tensor in unusable.items():
        path = save({"teacher": {**tensors("fake_plain"), "norm.weight": tensor}}, tmp_path / "w.pth")
        with pytest.raises(DataError, match=f"norm.weight is {what}"):
            select(read_checkpoint(path), None)
        path = save({"teacher": tensors("fake_plain"), "buffers": {"x": tensor}}, tmp_path / "w.pth")
        assert select(read_checkpoint(path), None).key == "teacher"


@pytest.mark.parametrize("dtype", OTHERS, ids=str)
def test_types_that_are_no_weights_are_refused_unless_dropped(dtype: torch.dtype) -> None:
    selection = Selection(None, {"a": torch.ones(2), "b": torch.ones(2).to(dtype)}, {"old.b": "b"}, {})
    with pytest.raises(DataError, match=f"old.b is {str(dtype).removeprefix('torch.')}"):
        check_types(selection, {})
    assert check_types(selection, {"old.b": "counter"}) == []


def test_float64_is_told_and_refused_where_float32_cannot_hold_it(tmp_path: Path) -> None:
    state = {name: tensor.double() for name, tensor in tensors("fake_plain").items()}
    selection = select(read_checkpoint(save({"teacher": state}, tmp_path / "w.pth")), None)
    assert set(check_types(selection, {})) == set(state)
    state["norm.weight"][0] = 1e300
    with pytest.raises(DataError, match="beyond float32"):
        select(read_checkpoint(save({"teacher": state}, tmp_path / "w.pth")), None)


# --- hostile files --------------------------------------------------------------------------------------------------


def archive(path: Path, pickled: bytes) -> Path:
    """An archive as torch.save writes it, with this pickle."""
    whole = io.BytesIO()
    torch.save({"teacher": tensors("fake_plain")}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            target.writestr(entry, pickled if entry.filename.endswith("data.pkl") else source.read(entry))
    return path


DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00%s\x89\x88tR"
STATE = b"(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
HOSTILE = {
    "a dtype of objects": b"\x80\x02}X\x01\x00\x00\x00acnumpy._core.multiarray\nscalar\n("
    + DTYPE % b"O8"
    + STATE
    + b"C\x08AAAAAAAAtRs.",
    "a dtype of nonsense": b"\x80\x02}X\x01\x00\x00\x00acnumpy._core.multiarray\nscalar\n("
    + DTYPE % b"V9"
    + STATE.replace(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f")
    + b"C\x01AtRs.",
    "a text of 4 GB": b"\x80\x04\x8d" + (1 << 32).to_bytes(8, "little") + b"a.",
    "a memo of 64 GB": b"\x80\x02}r\xff\xff\xff\xff.",
    "deep": b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".",
    "a number of digits": b"\x80\x02}X\x01\x00\x00\x00a\x8b\x00\x00\x01\x00" + b"\x7f" * 65536 + b"s.",
}


@pytest.mark.parametrize("pickled", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_end_in_an_error(tmp_path: Path, pickled: bytes) -> None:
    with pytest.raises(DataError):
        read_checkpoint(archive(tmp_path / "w.pth", pickled))


def test_growth_by_reference_is_cut(tmp_path: Path) -> None:
    value: Any = [0] * 100
    for _ in range(3):
        value = [value] * 100
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(DataError, match="more than"):
        read_checkpoint(archive(tmp_path / "w.pth", pickle.dumps({"a": value}, protocol=2)))


def test_a_demand_for_memory_takes_none(tmp_path: Path) -> None:
    pickled = b"\x80\x02}X\x01\x00\x00\x00ac__builtin__\nbytearray\n(\x8a\x05\x00\x00\xa0\x65\x01tRs."
    script = (
        "import resource, sys\nfrom visionfm.encoders.checkpoints import read_checkpoint\n"
        f"read_checkpoint({str(archive(tmp_path / 'w.pth', pickled))!r})\n"
        # Of its own the peak since it started: `ru_maxrss` would be that of the test process, which it was forked from.
        "own = next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "used = [own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]\n"
        "assert max(used) < 1_000_000, used\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("raise SystemExit(3)", "exit code"),
        ("print('nonsense')", "no answer"),
        ('print(\'{"content": ["t", "float32", 0, 99999999, 0, [4], [1]]}\')', "beyond its end"),
        ('print(\'{"content": ["t", "float32", -8, 16, 0, [4], [1]]}\')', "cannot be"),
    ],
)
def test_whatever_the_reading_process_does_is_an_error_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    (tmp_path / "reader.py").write_text(script)
    monkeypatch.setattr(pickles, "SCRIPT", tmp_path / "reader.py")
    with pytest.raises(DataError, match=message):
        read_checkpoint(save({"a": torch.ones(1)}, tmp_path / "w.pth"))


def test_compressed_tensors_are_refused_not_read_as_numbers(tmp_path: Path) -> None:
    path = save({"teacher": tensors("fake_plain")}, tmp_path / "w.pth")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    with pytest.raises(DataError, match="compressed"):
        read_checkpoint(tmp_path / "c.pth")


def test_a_file_that_may_not_be_read_now_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        read_checkpoint(tmp_path)
    path = save({"a": torch.ones(1)}, tmp_path / "w.pth")
    error = pickles.not_now(path, OSError(5, "Input/output error"))
    assert "try again" in str(error)
    assert "damaged" not in str(error)
