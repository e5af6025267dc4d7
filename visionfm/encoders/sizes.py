"""Image sizes that fit an encoder's patches."""

from visionfm.errors import DataError


def check_size(image_size: int, patch: int, arch: str) -> None:
    """Raise DataError, naming the nearest sizes, unless `image_size` px divide into patches of `patch` px."""
    if image_size > 0 and image_size % patch == 0:
        return
    below = image_size // patch * patch
    sizes = [str(size) for size in (below, below + patch) if size > 0]
    raise DataError(
        f"images of {image_size} px do not divide into the patches of {arch}",
        expected=f"a multiple of {patch}; nearest: {' and '.join(sizes)}",
        found=image_size,
        do="set `image_size` to one of them",
    )
