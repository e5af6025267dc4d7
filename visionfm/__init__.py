"""VisionFM as a pipeline: one vision encoder per ophthalmic modality, features extracted once, fused, decoded.

`load_encoder` is imported when it is first used, so that `import visionfm` imports no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionfm.encoders.vit import load_encoder

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder"]


def __getattr__(name: str) -> Any:
    if name == "load_encoder":
        from visionfm.encoders.vit import load_encoder

        return load_encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
