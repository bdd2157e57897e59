"""MinD-Vis' and CompVis' checkpoint files: read without executing them, and written."""

from mindvis.models.legacy.loading import load_mindvis_encoder, load_mindvis_mae

__all__ = ["load_mindvis_encoder", "load_mindvis_mae"]
