"""Volumes that lie in several files, as one run of bytes: what a file says, and behind it the files that it names.

Of a folder of slices nothing stands in front. So such a volume has one digest and is opened like any other.
"""

import json

_MARK = b"\0PARTS\n"  # no text file holds a zero byte


def joined(own: bytes, parts: dict[str, bytes]) -> bytes:
    """Return a file's bytes and those of its parts, by name, in order."""
    lengths = json.dumps([[name, len(content)] for name, content in parts.items()])
    return b"".join([own, _MARK, lengths.encode(), b"\n", *parts.values()])


def is_joined(data: bytes) -> bool:
    """Tell whether these are parts with nothing in front."""
    return data.startswith(_MARK)


def parted(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Return what `joined` was made of; a file alone has no parts."""
    own, mark, rest = data.partition(_MARK)
    if not mark:
        return own, {}
    lengths, _, body = rest.partition(b"\n")
    parts, at = {}, 0
    for name, length in json.loads(lengths):
        parts[name] = body[at : at + length]
        at += length
    return own, parts
