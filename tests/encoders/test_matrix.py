"""Whatever weights file a command is given, it ends with an encoder or with one error that says what to do.

The files are drawn: layouts x wrappers x formats, whole and damaged. `cli.main` lets every other exception through.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from world.encoder_fakes import Tensors, prefixed
from world.layout_files import REFUSED, STAGED, WRITTEN, drawn, file_of

from visionfm import cli
from visionfm.errors import DataError

WRAPPERS: dict[str, Callable[[Tensors], Any]] = {
    "flat": lambda state: dict(state),
    "model": lambda state: {"model": state, "epoch": 3, "args": {"lr": 0.1}},
    "lightning": lambda state: {"state_dict": prefixed(state, "model."), "hyper_parameters": {"lr": 1e-3}},
    "beside an optimizer": lambda state: {"state_dict": state, "optimizer": {"state": {0: {"m": torch.ones(2)}}}},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "nested": lambda state: {"model": {"state_dict": state}, "version": "1"},
    "ddp": lambda state: {"model": prefixed(state, "module.")},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "an entry of any name": lambda state: {"weights_of_the_best_epoch": state},
}


def some(state: Tensors, dims: int) -> str:
    """The name of a tensor in the middle of the network that every layout keeps."""
    return next(name for name in sorted(state) if state[name].ndim == dims and "norm" not in name and "1" in name)


def changed(dims: int, change: Callable[[torch.Tensor], Any]) -> Callable[[Tensors], Tensors]:
    def apply(state: Tensors) -> Tensors:
        name = some(state, dims)
        return {**state, name: change(state[name])}

    return apply


def without(state: Tensors) -> Tensors:
    left = dict(state)
    del left[some(state, 2)]
    return left


DAMAGES: dict[str, Callable[[Tensors], Any]] = {
    "a tensor is missing": without,
    "a tensor too many": lambda state: {**state, f"{some(state, 2)}.surplus": drawn(3)},
    "a block far away": lambda state: {**state, re.sub(r"\.\d+\.", ".999999999.", some(state, 2), count=1): drawn(3)},
    "another shape": changed(2, lambda tensor: drawn(5, 7)),
    "a number alone": changed(2, lambda tensor: torch.tensor(1.0)),
    "no values": changed(2, lambda tensor: torch.zeros(0, 64)),
    "not a number": changed(2, lambda tensor: tensor * float("nan")),
    "int8": changed(2, lambda tensor: tensor.to(torch.int8)),
    "bool": changed(2, lambda tensor: tensor > 0),
    "complex": changed(2, lambda tensor: tensor.to(torch.complex64)),
    "float8": changed(2, lambda tensor: tensor.to(torch.float8_e4m3fn)),
    "beyond float32": changed(2, lambda tensor: tensor.double() * 1e200),
    "quantised": changed(2, lambda tensor: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8)),
    "on no device": changed(2, lambda tensor: tensor.to("meta")),
    "huge": changed(2, lambda tensor: torch.zeros(1).expand(1 << 30, 1 << 12)),
    "convolutions turned": lambda state: {
        n: t.movedim(1, -1).contiguous() if t.ndim == 4 else t for n, t in state.items()
    },
    "everything flat": lambda state: {name: tensor.reshape(-1) for name, tensor in state.items()},
    "everything doubled": lambda state: {**state, **prefixed(state, "ema.")},
    "blocks swapped for text": lambda state: {n.replace("blocks", "layers"): t for n, t in state.items()},
}
BYTES: dict[str, Callable[[bytearray], bytes]] = {
    "cut at a third": lambda data: bytes(data[: len(data) // 3]),
    "cut at the end": lambda data: bytes(data[:-100]),
    "a bit flipped at its head": lambda data: bytes([*data[:11], data[11] ^ 4, *data[12:]]),
    "zeros at its end": lambda data: bytes(data[: len(data) // 2]) + bytes(len(data) - len(data) // 2),
    "empty": lambda data: b"",
    "a page of a website": lambda data: b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>",
}
SAFE = ("flat", "compiled")  # wrappers that safetensors can have


def write(content: Any, path: Path, kind: str) -> Path:
    if kind == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file({name: tensor.clone().contiguous() for name, tensor in content.items()}, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def kind_of(at: int, wrapper: str, content: Any) -> str:
    plain = isinstance(content, dict) and all(
        torch.is_tensor(t) and t.layout == torch.strided and not (t.is_quantized or t.is_meta) and t.stride() != (0, 0)
        for t in content.values()
    )
    kinds = ["zip", "legacy", "safetensors"] if wrapper in SAFE and plain else ["zip", "legacy"]
    return kinds[at % len(kinds)]


def files(folder: Path) -> Iterator[tuple[str, Path, str | None, int | None]]:
    """Yield what a file is, its path, its architecture, and the exit code, where one alone is right."""
    states = {name: (file_of(name)[0], WRITTEN[name].arch, WRITTEN[name].key) for name in WRITTEN}
    states |= {name: (state, None, None) for name, (_, state) in REFUSED.items()}
    states |= {name: (state, None, None) for name, state in STAGED.items()}
    number = 0
    for at, (name, (state, arch, key)) in enumerate(states.items()):
        wrappers = {key: lambda state, key=key: {key: state}} if key else {}
        wrappers |= {word: WRAPPERS[word] for word in list(WRAPPERS)[at % 3 :: 3]}
        right = 0 if arch else 3
        for wrapper, wrap in wrappers.items():
            number += 1
            content = wrap(state)
            kind = kind_of(number, wrapper, content)
            yield f"{name}, {wrapper}, {kind}", write(content, folder / f"{number}.pth", kind), arch, right
        for damage, harm in list(DAMAGES.items())[at % 3 :: 3]:
            if arch is None:
                continue
            number += 1
            content = harm(state)
            kind = kind_of(number, "flat", content)
            if kind == "legacy" and damage in ("float8", "huge"):  # torch cannot write these so
                kind = "zip"
            yield f"{name}, {damage}, {kind}", write(content, folder / f"{number}.pth", kind), arch, None
        for damage, spoil in list(BYTES.items())[at % 2 :: 2]:
            number += 1
            kind = kind_of(number, "flat", state)
            path = write(state, folder / f"{number}.pth", kind)
            path.write_bytes(spoil(bytearray(path.read_bytes())))
            yield f"{name}, {damage}, {kind}", path, arch, None


MEANT = {"a tensor too many": 3, "not a number": 3, "int8": 3, "bool": 3, "complex": 3, "float8": 3}


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Keep what the command line does to the process's logging within a test."""
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    yield
    root.handlers[:] = before


def test_no_weights_file_ends_import_embed_or_predict_with_a_traceback(
    tmp_path: Path, _quiet: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "eyes").mkdir()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "eyes/eye.png")
    count: dict[str, int] = {}
    wrong = []
    for number, (what, path, arch, right) in enumerate(files(tmp_path / "files")):
        settings = {"modality": "Fundus", "weights": str(path), "arch": arch, "statistics": "imagenet"}
        settings["image_size"] = 56 if arch and "dinov2" in arch else 64
        commands = {"import": ("import", "--settings", json.dumps(settings), "--out", tmp_path / "e.safetensors")}
        if number % 9 == 0:
            words = ("--modality", "Fundus", "--statistics", "imagenet", "--device", "cpu", "--workers", "0")
            size = ("--size", settings["image_size"], *(("--arch", arch) if arch else ()))
            out = ("--out", tmp_path / f"{number}.h5")
            commands["embed"] = ("embed", tmp_path / "eyes", "--encoder", path, *words, *size, *out)
        if number % 4 == 1:
            out = ("--out", tmp_path / "p.csv")
            commands["predict"] = ("predict", "--decoder", path, "--features", f"eyes={tmp_path}/none.h5", *out)
        if number % 8 == 2:
            commands["publish"] = ("publish", path, "--out", tmp_path / "published.pth")
        right = MEANT.get(what.split(", ")[1], right)
        for command, line in commands.items():
            try:
                code = run(*line)
            except Exception as error:
                wrong.append(f"{command} of {what}: {type(error).__name__}: {error}")
                continue
            said = capsys.readouterr().err
            count[f"{command} {code}"] = count.get(f"{command} {code}", 0) + 1
            foreign = command in ("import", "embed")
            if code not in ((0, 2, 3, 4) if right is None or not foreign else (right,)):
                wrong.append(f"{command} of {what} ended with {code}: {said}")
            if foreign and "visionfm forget" in said:
                wrong.append(f"{command} of {what} advises to forget what is no artefact")
        path.unlink()
    assert not wrong, "\n".join(wrong)
    tried = sum(number for name, number in count.items() if name.startswith("import"))
    print(f"{tried} files, of commands and exit codes:", count)  # pytest -s shows it
    assert tried >= 300, count
    assert count["import 0"] >= 80, count


@pytest.mark.parametrize("name", ["plain", "hf-vit", "dinov3", "hf-siglip", "eyeclip", "mae"])
def test_pretraining_starts_from_a_file_or_says_why_not(name: str, tmp_path: Path) -> None:
    from world.pretraining_recipes import recipe
    from world.small_training import FUNDUS

    from visionfm.pretraining import starting
    from visionfm.pretraining.settings import ImageSetSettings, PretrainSettings

    path = tmp_path / "w.pth"
    torch.save({"model": file_of(name)[0]}, path)
    settings = PretrainSettings(
        datasets={"eyes": ImageSetSettings(modality="Fundus")},
        statistics={"Fundus": FUNDUS},
        recipe=recipe(image_size=64, out_dim=32, patch_out_dim=32, head_hidden=16, head_bottleneck=8),
        init=str(path),
        arch=WRITTEN[name].arch,
    )
    if name in ("dinov3", "hf-siglip"):
        with pytest.raises(DataError, match="cannot be pretrained"):
            starting.start(settings, 8)
    else:
        assert starting.start(settings, 8).arch == WRITTEN[name].arch
