"""The ONNX graph answers as the package does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from world.decoder_data import BINARY
from world.handed_over import USE, Run

from visionfm.errors import UsageError
from visionfm.images.reading import decode
from visionfm.images.settings import Reading
from visionfm.images.transforms import resize_square
from visionfm.tasks.package import onnx_export
from visionfm.tasks.package.making import package
from visionfm.tasks.package.model import load_model
from visionfm.tasks.vectors.slices import SlicePooling


@pytest.mark.slow  # torch takes a quarter of a minute to trace a network
def test_onnxruntime_answers_as_the_package_does(run: Run, sick: Path, tmp_path: Path) -> None:
    import onnxruntime

    package(sick, tmp_path / "sick.vfm", USE, onnx=tmp_path / "sick.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "sick.onnx")
    assert [one.name for one in session.get_inputs()] == ["images_Fundus"]
    assert USE in session.get_modelmeta().custom_metadata_map["intended_use"]
    paths = sorted((run.folder / "Fundus/eyes").iterdir())[:7]
    images_BHWC = np.stack([
        resize_square(decode(path.read_bytes(), Reading(), target_px=32, exact=False, where=path), 32, "bilinear")
        for path in paths
    ])  # fmt: skip
    (found_BK,) = session.run(None, {"images_Fundus": np.ascontiguousarray(images_BHWC.transpose(0, 3, 1, 2))})
    expected = load_model(tmp_path / "sick.vfm", device="cpu").predict(paths)["sick"]
    np.testing.assert_allclose(found_BK[:, 0], expected, atol=1e-4)


def test_views_are_averaged_before_they_are_calibrated(run: Run, hidden: np.ndarray) -> None:
    labels = (hidden > 0).astype(float)
    folder = run.task("flipped", BINARY, labels, kind="classification", calibrate="platt", tta="flips")
    model = load_model(run.packaged(folder), device="cpu")
    model.decoders[0].calibrator.tensors["calibration.sick"][:] = 9.0, 1.0  # far from a straight line
    paths = sorted((run.folder / "Fundus/eyes").iterdir())[:7]
    images_BHWC = np.stack([
        resize_square(decode(path.read_bytes(), Reading(), target_px=32, exact=False, where=path), 32, "bilinear")
        for path in paths
    ])  # fmt: skip
    with torch.no_grad():
        (found_BK,) = onnx_export.Graph(model).eval()(torch.from_numpy(images_BHWC.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(found_BK[:, 0], model.predict(paths)["sick"], atol=1e-4)


def test_what_has_no_graph_is_said(sick_model: Path, tmp_path: Path) -> None:
    model = load_model(sick_model, device="cpu")
    model.contents = model.contents.model_copy(update={"kind": "progression"})
    with pytest.raises(UsageError, match="not written as ONNX"):
        onnx_export.write(model, tmp_path / "m.onnx")
    model = load_model(sick_model, device="cpu")
    model.decoders[0].network.slices = SlicePooling([32])
    with pytest.raises(UsageError, match="slices: attention"):
        onnx_export.write(model, tmp_path / "m.onnx")
