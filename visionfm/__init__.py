"""VisionFM as a pipeline: one vision encoder per ophthalmic modality, features extracted once, fused, decoded.

In Python: `load_encoder` (images to tokens), `embed` (images to a table of features), `load_model` (a packaged model),
`read_results` (what a run found). Each is imported when it is first used, so that `import visionfm` imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionfm.encoders.vit import load_encoder
    from visionfm.features.embed import embed
    from visionfm.report.read_results import read_results
    from visionfm.tasks.package.model import load_model

__version__ = "0.1.0"
__all__ = ["__version__", "embed", "load_encoder", "load_model", "read_results"]
_HOMES = {
    "embed": "visionfm.features.embed",
    "load_encoder": "visionfm.encoders.vit",
    "load_model": "visionfm.tasks.package.model",
    "read_results": "visionfm.report.read_results",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
