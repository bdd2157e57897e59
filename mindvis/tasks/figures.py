"""Pictures of a running stage, drawn without a display: reconstructions and grids of images."""

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

MAX_ROWS = 4


def draw_reconstructions(
    voxels: Tensor, reconstruction: Tensor, removed: Tensor, valid: Tensor
) -> Image.Image:
    """Lines over voxels of the first responses: measured, and reconstructed where it was hidden.

    Args:
        voxels: (B, V), standardised responses.
        reconstruction: (B, V).
        removed: bool (B, V), True where the voxel was hidden.
        valid: bool (B, V), False where it is padding.
    """
    rows = min(MAX_ROWS, len(voxels))
    figure = Figure(figsize=(12, 2 * rows), layout="constrained")
    panels = figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]
    for row, panel in enumerate(panels):
        shown = valid[row].cpu()
        measured = voxels[row].float().cpu()[shown]
        hidden = removed[row].cpu()[shown]
        predicted = reconstruction[row].float().cpu()[shown]
        panel.plot(measured, color="0.6", linewidth=0.8, label="measured")
        line = torch.where(hidden, predicted, torch.nan)
        panel.plot(line, color="C3", linewidth=1.0, label="reconstructed from the rest")
        panel.set_ylabel(f"response {row}")
    panels[0].legend(loc="upper right", ncols=2, frameon=False)
    panels[-1].set_xlabel("voxel, in the order of the patches")
    return _render(figure)


def _render(figure: Figure) -> Image.Image:
    """An RGB picture of a matplotlib figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert(
        "RGB"
    )


def draw_grid(*rows: Tensor, scale_to: int = 64) -> Image.Image:
    """A grid of pictures, one row for each tensor, one column for each item.

    Args:
        *rows: (B, 3, H, W) in [-1, 1], all of one shape.
        scale_to: Least width of a picture in the grid, reached by repeating pixels.
    """
    stacked = torch.stack([row.detach().float().cpu() for row in rows])
    bytes_ = ((stacked.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    framed = torch.nn.functional.pad(bytes_, (1, 1, 1, 1), value=255)
    grid = framed.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    picture = Image.fromarray(grid.numpy())
    factor = max(1, -(-scale_to // rows[0].shape[-1]))
    return picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )
