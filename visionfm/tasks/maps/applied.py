"""A dense decoder at work on single images: probabilities at the original size, points in px of the input.

Shapes: K outputs, S px of the square input, H/W px of the original.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from visionfm.data.columns import DenseSample
from visionfm.errors import DataError
from visionfm.features.settings import TokenReading
from visionfm.features.token_cache import DenseStore
from visionfm.images.transforms import MIRRORED, VIEWS
from visionfm.runtime.reproducible import check_device
from visionfm.tasks import kind_of
from visionfm.tasks.maps.decoder import load_decoder
from visionfm.tasks.maps.examples import read_image, swap_order
from visionfm.tasks.maps.objective import MapObjective
from visionfm.tasks.maps.settings import DensePredictSettings
from visionfm.tasks.maps.tiles import tiled_logits, unflipped
from visionfm.tasks.maps.tokens import TokenSource, Wanted
from visionfm.tasks.maps.training import DenseInput


class Applied:
    """One decoder, ready on its device, with the encoders of its datasets."""

    def __init__(
        self, decoder: Path, encoders: Mapping[str, Path], store: DenseStore | None, settings: DensePredictSettings
    ) -> None:
        """Raises DataError where the encoders do not fit the decoder."""
        check_device(settings.device)
        self.settings = settings
        self.spec, network = load_decoder(decoder, settings)
        self.network = network.to(settings.device)
        self.objective: MapObjective = kind_of(self.spec.kind).fit().restored(self.spec)
        readings = {name: settings.datasets.get(name, TokenReading()) for name in encoders}
        self.source = TokenSource(encoders, readings, self.spec.size, settings.device, store)
        if self.source.shape != (self.spec.patch, self.spec.width):
            raise DataError(
                "the encoder does not fit the decoder",
                expected=f"patch {self.spec.patch} px, width {self.spec.width}",
                found="patch {} px, width {}".format(*self.source.shape),
                where=decoder,
                do="name the encoder that the decoder was trained with",
            )
        self.input = DenseInput(self.source, settings.device, self.spec.head)
        self.order = swap_order(self.spec.targets, self.spec.swaps)

    @property
    def views(self) -> tuple[str, ...]:
        """The views whose outputs are averaged."""
        if self.settings.tta == "none":
            return VIEWS[:1]
        return self.objective.flips

    def logits(self, wanted: Sequence[Wanted]) -> torch.Tensor:
        """Return logits_BKSS."""
        with torch.inference_mode():
            logits_BKSS: torch.Tensor = self.network(*self.input(wanted)).float()
        if not torch.isfinite(logits_BKSS).all():
            raise DataError(
                "a prediction is not a finite number",
                expected="finite outputs",
                found="NaN or infinity",
                where=", ".join(f"{one.dataset}/{one.path or 'tile'}" for one in wanted),
                do="look at the decoder's weights (`visionfm verify`), or train it again",
            )
        return logits_BKSS

    def probabilities(self, sample: DenseSample, root: Path, reading: TokenReading) -> torch.Tensor:
        """Return probabilities (K, H, W) of an image at its original size, averaged over the views."""
        mean = self._mean(sample, root, reading, self.spec.tile_overlap)
        size = (sample.height, sample.width)
        if mean.shape[2:] != size:
            mean = functional.interpolate(mean, size=size, mode="bilinear", align_corners=False, antialias=True)
        return mean[0].clamp(0, 1)

    def points(
        self, sample: DenseSample, root: Path, reading: TokenReading
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return points (K, 2) in px of the input, and their scores (K), read from the views' mean heat maps."""
        points_K2, share_K = self.objective.read(self._mean(sample, root, reading, None, self.order)[0])
        return points_K2.double().cpu().numpy(), share_K.double().cpu().numpy()

    def _mean(
        self,
        sample: DenseSample,
        root: Path,
        reading: TokenReading,
        overlap: float | None,
        order: list[int] | None = None,
    ) -> torch.Tensor:
        """Return the views' mean map (1, K, H, W); in a mirror image its outputs stand in this `order`."""
        image_HWC = read_image(sample, root, reading, self.spec.size if overlap is None else None)
        total: torch.Tensor | None = None
        for view in self.views:
            if overlap is None:
                logits = unflipped(self.logits([Wanted(sample.dataset, sample.path, view, image_HWC)]), view)
            else:
                logits = tiled_logits(self.logits, sample.dataset, image_HWC, self.spec.size, overlap, view)
            if order is not None and view in MIRRORED:
                logits = logits[:, order]
            found = self.objective.probabilities(logits)
            total = found if total is None else total + found
        assert total is not None
        return total / len(self.views)
