"""GIF and WebP, which may be animated."""

from PIL.GifImagePlugin import GifImageFile
from PIL.WebPImagePlugin import WebPImageFile

from visionfm.images.containers.container import Container
from visionfm.images.containers.pillow import PillowImage

FRAMES_COUNTED = 100_000  # no more are counted; an image file with more frames is as good as endless
GIF_MARKS, WEBP_MARKS = (b"GIF87a", b"GIF89a"), (b"RIFF", b"WEBP")  # WebP's second mark stands at byte 8


class _Gif(PillowImage):
    name = "GIF"
    plugin = GifImageFile

    def count_frames(self) -> int:
        return max(1, count_gif_frames(self.data))

    def ends_early(self) -> bool:
        return not self.data[-64:].rstrip(b"\0").endswith(b";")


class _WebP(PillowImage):
    name = "WEBP"
    plugin = WebPImageFile

    def ends_early(self) -> bool:
        return int.from_bytes(self.data[4:8], "little") + 8 > len(self.data)


def count_gif_frames(data: bytes) -> int:
    """Count a GIF's image blocks, at most FRAMES_COUNTED, without decoding one, in time linear in them."""
    frames = 0
    at = 13 + _table_bytes(data[10:11])
    while frames < FRAMES_COUNTED:
        kind = data[at : at + 1]
        if kind == b"!":
            at = _after_blocks(data, at + 2)
        elif kind == b",":
            frames += 1
            at = _after_blocks(data, at + 11 + _table_bytes(data[at + 9 : at + 10]))
        else:
            break
    return frames


def _table_bytes(flags: bytes) -> int:
    """Return the size of the colour table that a screen's or an image's flag byte announces."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Return the offset after a chain of length-prefixed blocks."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


GIF = Container("GIF", (".gif",), lambda data: data.startswith(GIF_MARKS), _Gif)
WEBP = Container("WEBP", (".webp",), lambda data: (data[:4], data[8:12]) == WEBP_MARKS, _WebP, lossy=True)
