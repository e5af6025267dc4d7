"""The name of an image by what it is: the sha256 of its file and, of a volume, which frame of it.

A file that is one image has its sha256 as `image_id`; so has a file of several of which the dataset's `frame` picks
one. Where the frames of one file are images of their own, as the slices of a volume are, they are `sha256:frame`, and
in tables their path is `file#frame`: one row, one image. Whoever asks whether two images are of one FILE compares
`file_id`, so that a volume's slices never stand on two sides of a split unnoticed.
"""

from collections.abc import Container
from typing import Any

BETWEEN, AFTER_PATH = ":", "#"
SHOWN_SIGNS = 12


def image_id_of(sha256: str, frame: int | None = None) -> str:
    """Return an image's id: of a frame (from 0) of a volume, or of a file that is one image (None)."""
    return sha256 if frame is None else f"{sha256}{BETWEEN}{frame}"


def file_id(image_id: str) -> str:
    """Return the sha256, in hex, of the file that an image stands in."""
    return image_id.partition(BETWEEN)[0]


def frame_of(image_id: str) -> int | None:
    """Return which frame of its file an image is; None where the file is one image."""
    frame = image_id.partition(BETWEEN)[2]
    return int(frame) if frame else None


def row_path(path: str, frame: int | None = None) -> str:
    """Return the path under which an image stands in tables."""
    return path if frame is None else f"{path}{AFTER_PATH}{frame}"


def file_path(path: str, image_id: str) -> str:
    """Return the path of the file that a row of a table means; a file's own name may hold a #."""
    frame = frame_of(image_id)
    return path if frame is None else path.removesuffix(f"{AFTER_PATH}{frame}")


def shown_as(path: str, image_id: str | None, named: bool) -> str:
    """Return what a page calls an image: its path where files may be `named`, else the first signs of its id."""
    if named:
        return path
    if not image_id:
        return "an image without an id"  # which could not be read
    frame = frame_of(image_id)
    return f"image {image_id[:SHOWN_SIGNS]}" + ("" if frame is None else f", frame {frame}")


def named_frame(path: str, files: Container[str]) -> tuple[str, int | None]:
    """Return the file, and the frame if one is named, of a path that people wrote; `files` are those that there are."""
    file, sign, frame = path.rpartition(AFTER_PATH)
    is_frame = path not in files and bool(sign) and frame.isascii() and frame.isdigit() and file in files
    return (file, int(frame)) if is_frame else (path, None)


def file_ids(image_ids: Any) -> Any:
    """Return `file_id` of a column (Arrow) of image ids."""
    import pyarrow.compute as pc

    if not has_frames(image_ids):
        return image_ids
    return pc.list_element(pc.split_pattern(image_ids, BETWEEN, max_splits=1), 0)


def file_paths(paths: Any, image_ids: Any) -> Any:
    """Return `file_path` of a column (Arrow) of paths."""
    import pyarrow as pa

    if not has_frames(image_ids):
        return paths
    rows = zip(paths.to_pylist(), image_ids.to_pylist(), strict=True)
    return pa.chunked_array([[file_path(path, image_id) for path, image_id in rows]], pa.string())


def has_frames(image_ids: Any) -> bool:
    """Tell whether frames of files are among the images of a column (Arrow) of image ids."""
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring(image_ids, BETWEEN)).as_py())
