"""What the command line calls `data`: responses (stage A), pairs (stage B), or pictures."""

from mindvis.data.base import SplitData
from mindvis.data.pairs import PairData
from mindvis.data.pictures import PictureData
from mindvis.data.responses import ResponseData

__all__ = ["PairData", "PictureData", "ResponseData", "SplitData"]
