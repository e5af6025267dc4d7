"""Formats that are known and not read here: refused by name, so that the reason helps."""

_MARKS = {  # name: (offset, bytes)
    "PDF": (0, b"%PDF"),
    "EPS": (0, b"%!PS"),
    "HEIC or AVIF": (4, b"ftyp"),
    "Photoshop": (0, b"8BPS"),
    "SVG": (0, b"<svg"),
    "XML": (0, b"<?xml"),
    "ZIP": (0, b"PK\x03\x04"),
    "HDF5": (0, b"\x89HDF"),
    "gzip": (0, b"\x1f\x8b"),
}


def name_of_foreign(data: bytes) -> str | None:
    """Return the name of a known format that is not read here, or None."""
    for name, (offset, mark) in _MARKS.items():
        if data[offset : offset + len(mark)] == mark:
            return name
    return None
