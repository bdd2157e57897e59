"""Pictures of the simulated experiment: one coloured shape on a muted background, 64 classes.

A picture is the rendering of a `Scene`, a handful of numbers. Shapes are signed distance functions
(negative inside), so edges are antialiased at any size without supersampling. Backgrounds are dark
to middle and weakly saturated: the colour of the object is never ambiguous.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Shape = Literal["circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent"]
Colour = Literal["red", "orange", "yellow", "green", "cyan", "blue", "purple", "white"]
Texture = Literal["plain", "stripes", "dots"]
Backdrop = Literal["linear", "radial", "waves", "blobs"]
RGB = tuple[float, float, float]
Array = npt.NDArray[np.floating[Any]]

SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
TEXTURES: tuple[Texture, ...] = get_args(Texture)
BACKDROPS: tuple[Backdrop, ...] = get_args(Backdrop)

PALETTE: dict[Colour, RGB] = {
    "red": (0.88, 0.08, 0.10),
    "orange": (0.98, 0.50, 0.04),
    "yellow": (0.97, 0.90, 0.10),
    "green": (0.10, 0.68, 0.16),
    "cyan": (0.10, 0.82, 0.88),
    "blue": (0.12, 0.22, 0.90),
    "purple": (0.62, 0.12, 0.76),
    "white": (0.97, 0.97, 0.97),
}

SIZE_RANGE = (0.50, 0.75)  # diameter of the object as a fraction of the picture's side
MAX_ROTATION = np.pi / 12  # radians either way; a square repeats beyond pi / 4
RELIEF = 0.12  # how far the two colours of a background may lie apart
MARGIN = 0.02


def class_name(shape: Shape, colour: Colour) -> str:
    """Name of the class, such as "red circle"."""
    return f"{colour} {shape}"


CLASS_NAMES: tuple[str, ...] = tuple(
    class_name(shape, colour) for shape in SHAPES for colour in COLOURS
)


def split_class(name: str) -> tuple[Shape, Colour]:
    """Shape and colour of a class name; the inverse of `class_name`."""
    shape, colour = divmod(CLASS_NAMES.index(name), len(COLOURS))
    return SHAPES[shape], COLOURS[colour]


def unseen_classes() -> tuple[str, ...]:
    """The 16 classes kept out of the brain's training pictures.

    Each shape misses two colours and each colour two shapes, as in a Latin square: every shape and
    every colour is seen, their combination is not.
    """
    return tuple(
        class_name(shape, COLOURS[(row + step) % len(COLOURS)])
        for row, shape in enumerate(SHAPES)
        for step in (0, 3)
    )


@dataclass(frozen=True)
class Scene:
    """All that a picture shows; lengths are fractions of the picture's side, y runs down.

    Attributes:
        shape: What the object is.
        colour: Which of the eight colours it has.
        x: Horizontal centre of the object, 0 (left) to 1.
        y: Vertical centre of the object, 0 (top) to 1.
        size: Diameter of the object.
        rotation: Turn of the object in radians.
        tint: The object's colour, near the palette's, RGB in [0, 1].
        texture: Pattern on the object.
        texture_frequency: Its periods across the object.
        texture_contrast: Its amplitude in luminance.
        backdrop: Pattern of the background.
        ends: The two RGB colours that the background mixes.
        angle: Direction of the background's pattern in radians.
        frequency: Periods of the background's pattern across the picture.
        phase: Phase of the background's pattern in radians.
    """

    shape: Shape
    colour: Colour
    x: float
    y: float
    size: float
    rotation: float
    tint: RGB
    texture: Texture
    texture_frequency: float
    texture_contrast: float
    backdrop: Backdrop
    ends: tuple[RGB, RGB]
    angle: float
    frequency: float
    phase: float


def sample_scene(shape: Shape, colour: Colour, rng: np.random.Generator) -> Scene:
    """A random scene of one class; the object lies wholly inside the picture."""
    size = rng.uniform(*SIZE_RANGE)
    ground = _muted(rng)
    near, far = size / 2 + MARGIN, 1 - size / 2 - MARGIN
    return Scene(
        shape=shape,
        colour=colour,
        x=rng.uniform(near, far),
        y=rng.uniform(near, far),
        size=size,
        rotation=rng.uniform(-MAX_ROTATION, MAX_ROTATION),
        tint=_jittered(PALETTE[colour], rng, 0.03),
        texture=TEXTURES[rng.integers(len(TEXTURES))],
        texture_frequency=rng.uniform(2.5, 4.5),
        texture_contrast=rng.uniform(0.08, 0.16),
        backdrop=BACKDROPS[rng.integers(len(BACKDROPS))],
        ends=(ground, _jittered(ground, rng, RELIEF)),
        angle=rng.uniform(0, 2 * np.pi),
        frequency=rng.uniform(0.5, 1.5),
        phase=rng.uniform(0, 2 * np.pi),
    )


def _jittered(colour: RGB, rng: np.random.Generator, spread: float) -> RGB:
    shift = rng.uniform(-spread, spread, 3)
    red, green, blue = np.clip(np.asarray(colour) + shift, 0, 1).tolist()
    return red, green, blue


def _muted(rng: np.random.Generator) -> RGB:
    red, green, blue = (rng.uniform(0.15, 0.55) + rng.uniform(-0.07, 0.07, 3)).tolist()
    return red, green, blue


def render(scene: Scene, size: int = 64) -> npt.NDArray[np.uint8]:
    """Draw a scene.

    Args:
        scene: What to draw.
        size: Side of the picture in pixels.

    Returns:
        RGB picture, uint8 (size, size, 3).
    """
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    x, y = centres[None, :], centres[:, None]
    mix = _background_mix(scene, x, y)[..., None]
    first, second = np.asarray(scene.ends, np.float32)
    background = first + (second - first) * mix
    u, v = object_frame(scene, x, y)
    radius = np.float32(scene.size / 2)
    cover = np.clip(0.5 - DISTANCES[scene.shape](u, v) * (radius * np.float32(size)), 0, 1)
    surface = np.asarray(scene.tint, np.float32) * _surface_shade(scene, u, v)[..., None]
    picture = background + (surface - background) * cover[..., None]
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def object_frame(scene: Scene, x: Array, y: Array) -> tuple[Array, Array]:
    """Coordinates on the object, in units of its radius, of points of the picture."""
    cos, sin = np.float32(np.cos(scene.rotation)), np.float32(np.sin(scene.rotation))
    dx = (x - np.float32(scene.x)) / np.float32(scene.size / 2)
    dy = (y - np.float32(scene.y)) / np.float32(scene.size / 2)
    return cos * dx + sin * dy, cos * dy - sin * dx


def _background_mix(scene: Scene, x: Array, y: Array) -> Array:
    """Share of the second background colour in [0, 1]; x (1, W), y (H, 1) to (H, W)."""
    cos, sin = np.float32(np.cos(scene.angle)), np.float32(np.sin(scene.angle))
    along = cos * (x - 0.5) + sin * (y - 0.5)
    if scene.backdrop == "linear":
        return 0.5 + 0.7 * along
    if scene.backdrop == "radial":
        dx, dy = x - (0.5 + 0.3 * cos), y - (0.5 + 0.3 * sin)
        return np.sqrt(dx * dx + dy * dy)
    turn = np.float32(2 * np.pi * scene.frequency)
    waves = np.sin(turn * along + np.float32(scene.phase))
    if scene.backdrop == "waves":
        return 0.5 + 0.2 * waves + 0.3 * along
    across = cos * (y - 0.5) - sin * (x - 0.5)
    return 0.5 + 0.3 * waves * np.cos(turn * across)


def _surface_shade(scene: Scene, u: Array, v: Array) -> Array:
    """Factor on the object's colour, 1 on average at most."""
    if scene.texture == "plain":
        return np.ones_like(u)
    turn = np.float32(np.pi * scene.texture_frequency)
    pattern = np.sin(turn * u)
    if scene.texture == "dots":
        pattern = pattern * np.sin(turn * v)
    return 1 - np.float32(scene.texture_contrast) * (0.5 + 0.5 * pattern)


# Signed distances, in radii of the object, v pointing down. Exact near the edge, which is where
# antialiasing reads them.


def _circle(u: Array, v: Array) -> Array:
    return np.hypot(u, v) - 0.95


def _square(u: Array, v: Array) -> Array:
    return np.maximum(np.abs(u), np.abs(v)) - 0.8


def _triangle(u: Array, v: Array) -> Array:
    slope = np.float32(np.sqrt(0.75)) * np.abs(u) - 0.5 * v
    return np.maximum(slope, v) - 0.53


def _star(u: Array, v: Array) -> Array:
    """Five points: fold the plane into one tenth, where the star's edge is a single segment."""
    tenth = np.float32(np.pi / 5)
    angle = np.abs(np.mod(np.arctan2(u, -v) + tenth, 2 * tenth) - tenth)
    radius = np.hypot(u, v)
    inner = 0.42 * np.array([np.cos(tenth), np.sin(tenth)], np.float32)
    edge = inner - np.array([1, 0], np.float32)
    normal = np.array([edge[1], -edge[0]], np.float32) / np.hypot(*edge)
    return (radius * np.cos(angle) - 1) * normal[0] + radius * np.sin(angle) * normal[1]


def _cross(u: Array, v: Array) -> Array:
    a, b = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(a - 0.95, b - 0.3), np.maximum(b - 0.95, a - 0.3))


def _ring(u: Array, v: Array) -> Array:
    return np.abs(np.hypot(u, v) - 0.74) - 0.22


def _heart(u: Array, v: Array) -> Array:
    """A square on its corner with a disc on each of its upper edges."""
    half = np.float32(0.56)
    diagonal = np.float32(np.sqrt(0.5))
    v = v - 0.14
    box = np.maximum(np.abs(u + v), np.abs(u - v)) * diagonal - half
    centre = half * diagonal
    return np.minimum(box, np.hypot(np.abs(u) - centre, v + centre) - half)


def _crescent(u: Array, v: Array) -> Array:
    return np.maximum(np.hypot(u, v) - 0.95, 0.74 - np.hypot(u - 0.46, v))


DISTANCES: dict[Shape, Callable[[Array, Array], Array]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "crescent": _crescent,
}
