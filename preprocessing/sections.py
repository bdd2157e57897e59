"""Which arrays of a file hold what of one split."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """Keys of the arrays of one split, or of all.

    Args:
        split: "train" or "test"; where an array says it, what the ids of pictures begin with.
        responses: Key of (trials, voxels).
        images: Key of the pictures, one for each trial or for each value of `index`.
        index: Key of the number of each trial's picture.
        labels: Key of the class, one for each trial.
        split_key: Key of the array that says the split of each trial.
    """

    split: str
    responses: str
    images: str | None
    index: str | None
    labels: str | None
    split_key: str | None = None

    def named(self) -> list[str]:
        """All keys that are given."""
        keys = [self.responses, self.images, self.index, self.labels, self.split_key]
        return [key for key in keys if key]
