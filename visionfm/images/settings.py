"""How image files become pixels, said once: every stage's settings that read images are made of these."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from visionfm.config.base import Positive, Strict
from visionfm.config.settings import Settings
from visionfm.images.identity import frame_of
from visionfm.images.transforms import Interpolation

BadImages = Literal["fail", "skip"]


class EveryFrame(Strict):
    """Every n-th frame of a file, from the first."""

    every: Positive = Field(description="1 is all")


class MiddleFrames(Strict):
    """The frames in the middle of a file."""

    middle: Positive = Field(description="how many, as far as there are so many")


Frame = int | Literal["enface"]  # enface: the picture of the fundus that came with a volume
Frames = Literal["all"] | Positive | EveryFrame | MiddleFrames  # a number: so many, evenly spread


def chosen_frames(frames: Frames, count: int) -> list[int]:
    """Return which of a file's `count` frames (from 0) are meant, in order."""
    if isinstance(frames, EveryFrame):
        return list(range(0, count, frames.every))
    if isinstance(frames, MiddleFrames):
        number = min(frames.middle, count)
        start = (count - number) // 2
        return list(range(start, start + number))
    if frames == "all" or int(frames) >= count:
        return list(range(count))
    return [(2 * at + 1) * count // (2 * int(frames)) for at in range(int(frames))]


class Reading(Settings):
    """Which pixels of a file are meant; what `reading.decode` needs to know."""

    frame: Frame | None = None  # which image of files that hold several; None: a file is one image
    max_megapixels: float = 200
    bits: int | None = None  # of 16-bit pixels that hold fewer, in their lowest bits; None: all, or what a TIFF says

    left_out: ClassVar[tuple[str, ...]] = ("bits",)

    @property
    def suffix(self) -> str:
        """Return what distinguishes these pixels in the names of transforms; empty for files read as they are."""
        frame = "" if self.frame is None else f"-frame{self.frame}"
        return frame + ("" if self.bits is None else f"-bits{self.bits}")

    @classmethod
    def of(cls, block: Any) -> Self:
        """Return what a block of the config, or other settings, say of it."""
        return cls(**{name: getattr(block, name) for name in cls.model_fields})

    def for_image(self, image_id: str) -> "Reading":
        """Return how one image is read: an id that names a frame of its file means that one."""
        frame = frame_of(image_id)
        return self if frame is None else self.for_frame(frame)

    def for_frame(self, frame: int) -> "Reading":
        """Return how one frame of a file is read."""
        return Reading(frame=frame, max_megapixels=self.max_megapixels, bits=self.bits)


class DatasetReading(Reading):
    """How the images of a dataset are read, and what becomes of those that cannot be."""

    bad_images: BadImages = "fail"


class Resizing(Settings):
    """How pixels become the square that an encoder sees."""

    interpolation: Interpolation = "bilinear"
    exact_decode: bool = False  # decode at full size even where a smaller scale would do


class EncoderReading(Reading, Resizing):
    """How files become the squares that an encoder sees."""
