"""What `predict` writes of masks: a row per image, the mask at the original size, and maps where they are asked for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from visionfm.images.masks import encode_mask
from visionfm.tasks.maps.archive import encode_map, map_names
from visionfm.tasks.maps.predict import Archives, Image
from visionfm.tasks.maps.settings import DensePredictSettings, reading_of

if TYPE_CHECKING:
    from visionfm.tasks.maps.applied import Applied

TRUTH = ("mask_path", "mask_id", "mask2_path", "mask2_id", "fov_path", "fov_id")
COLUMNS = dict.fromkeys(("mask", *TRUTH), "string")


def rows(
    applied: "Applied", image: Image, archives: Archives, settings: DensePredictSettings
) -> Iterator[dict[str, Any]]:
    """Yield the row of one image."""
    assert archives.masks is not None, "segmentation writes masks: the stage has checked it"
    sample = image.sample
    p_KHW = applied.probabilities(sample, image.root, reading_of(settings, sample.dataset))
    ((name, target),) = settings.targets.items()
    mask_HW = applied.objective.read(p_KHW).cpu().numpy()
    archives.masks.add(image.name, encode_mask(mask_HW, target.values, orientation=sample.orientation))
    if archives.maps is not None and settings.probabilities:
        classes = len(target.classes)
        for index, map_name in map_names(image.name, classes).items():
            # From the end: of two classes there may be the second's map alone.
            archives.maps.add(map_name, encode_map(p_KHW[index - classes].double().cpu().numpy()))
    yield {"target": name, "mask": image.name} | {column: getattr(sample, column) for column in TRUTH}
