"""MinD-Vis' and CompVis' checkpoint files: read without executing them, and written."""

from mindvis.models.legacy.diffusion import MindVisModel, load_mindvis_ldm
from mindvis.models.legacy.loading import load_mindvis_encoder, load_mindvis_mae

__all__ = ["MindVisModel", "load_mindvis_encoder", "load_mindvis_ldm", "load_mindvis_mae"]
