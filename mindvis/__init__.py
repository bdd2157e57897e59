"""Brain decoding: fMRI volumes to pictures, by masked autoencoding and latent diffusion.

The public names are resolved when they are first used, so that `import mindvis` takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mindvis.data.store import VoxelStore
    from mindvis.decoding.pipeline import MindVisPipeline
    from mindvis.models.mae import BrainMAE

__version__ = "0.1.0"
__all__ = ["BrainMAE", "MindVisPipeline", "VoxelStore", "__version__"]

_MODULES = {
    "BrainMAE": "mindvis.models.mae",
    "MindVisPipeline": "mindvis.decoding.pipeline",
    "VoxelStore": "mindvis.data.store",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'mindvis' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(__all__)
