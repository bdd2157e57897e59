"""Weights of the networks that metrics read: where they are, and that they are what they say.

Nothing here asks a network but `fetch`, which `mindvis prefetch` alone calls. A digest is compared
with the part of it that the publisher put into the file's name; where none is published it is
recorded the first time the file is seen, and compared with that record from then on.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch

from mindvis.errors import CheckpointError, ConfigError, one_of
from mindvis.files import sha256, write_json
from mindvis.metrics.digests import folder_digest

LOCK: Final = "weights.lock.json"


@dataclass(frozen=True)
class Weights:
    """One set of weights.

    Args:
        name: What results call it.
        source: "torch" is a file of TORCH_HOME/hub/checkpoints, "hub" a repository of the Hugging
            Face cache (HF_HOME).
        place: Address of the file, or name of the repository.
        megabytes: About how large.
        published: First figures of its SHA-256 where the publisher states them.
        used_by: Protocols that need it.
    """

    name: str
    source: Literal["torch", "hub"]
    place: str
    megabytes: int
    published: str = ""
    used_by: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Name of the file, or of the folder."""
        return self.place.rsplit("/", 1)[-1]


_TORCH: Final = "https://download.pytorch.org/models/"
_FIDELITY: Final = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
_SWAV: Final = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"
_NSD: Final = ("nsd8-braindiffuser", "nsd8-mindeye", "nsd8-mindeye2")
_MINDEYE: Final = _NSD[1:]

WEIGHTS: Final[dict[str, Weights]] = {
    weights.name: weights
    for weights in (
        Weights(
            "vit-h-14",
            "torch",
            f"{_TORCH}vit_h_14_swag-80465313.pth",
            2417,
            "80465313",
            ("mindvis-nway",),
        ),
        Weights(
            "alexnet",
            "torch",
            f"{_TORCH}alexnet-owt-7be5be79.pth",
            233,
            "7be5be79",
            (*_NSD, "mindvis-pairwise"),
        ),
        Weights(
            "inception-v3",
            "torch",
            f"{_TORCH}inception_v3_google-0cc3c7bd.pth",
            104,
            "0cc3c7bd",
            _NSD,
        ),
        Weights(
            "efficientnet-b1-v1",
            "torch",
            f"{_TORCH}efficientnet_b1_rwightman-bac287d4.pth",
            30,
            "bac287d4",
            _NSD[:1],
        ),
        Weights(
            "efficientnet-b1-v2",
            "torch",
            f"{_TORCH}efficientnet_b1-c27df63c.pth",
            30,
            "c27df63c",
            _MINDEYE,
        ),
        Weights("swav-resnet50", "torch", _SWAV, 108, "", _NSD),
        Weights(
            "clip-vit-l-14",
            "hub",
            "openai/clip-vit-large-patch14",
            1710,
            "",
            (*_NSD, "retrieval-300"),
        ),
        Weights(
            "fid-inception",
            "torch",
            f"{_FIDELITY}weights-inception-2015-12-05-6726825d.pth",
            91,
            "6726825d",
            ("fid-2048", "kid"),
        ),
    )
}


def needed(protocols: tuple[str, ...] | list[str] | None = None) -> list[Weights]:
    """Weights of some protocols, or all.

    Raises:
        ConfigError: No weights are used by a protocol of that name.
    """
    known = sorted({protocol for weights in WEIGHTS.values() for protocol in weights.used_by})
    for protocol in protocols or ():
        if protocol not in known:
            raise ConfigError(
                f"protocol {protocol!r} needs no weights", one_of("the protocol", protocol, known)
            )
    chosen = set(protocols or known)
    return [weights for weights in WEIGHTS.values() if chosen & set(weights.used_by)]


def locate(weights: Weights, directory: str | os.PathLike[str] | None = None) -> Path | None:
    """Where weights are on this machine, None where they are not.

    Args:
        weights: Which.
        directory: A folder of such files and folders; it comes before the caches.
    """
    if directory is not None:
        place = Path(directory) / weights.file
        if place.exists():
            return place
    if weights.source == "torch":
        file = Path(torch.hub.get_dir()) / "checkpoints" / weights.file
        return file if file.is_file() else None
    return in_hub_cache(weights.place)


def in_hub_cache(repository: str) -> Path | None:
    """A repository's folder in the Hugging Face cache, without asking the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return folder if any(folder.glob("*.safetensors")) else None


def lock_file() -> Path:
    """The record of digests that nobody publishes: MINDVIS_HOME, or the user's cache folder."""
    home = os.environ.get("MINDVIS_HOME")
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return (Path(home) if home else Path(cache).expanduser() / "mindvis") / LOCK


def verify(weights: Weights, path: Path) -> str:
    """The SHA-256 of weights, compared with what is published or was recorded before.

    Args:
        weights: Which.
        path: Where `locate` found them.

    Raises:
        CheckpointError: They are not what they were.
    """
    digest = folder_digest(path) if path.is_dir() else sha256(path)
    if weights.published:
        if not digest.startswith(weights.published):
            raise CheckpointError(
                f"{path} has the SHA-256 {digest[:16]}...",
                f"one that starts with {weights.published}, as its publisher says",
                f"delete it and run `mindvis prefetch {weights.name}`",
            )
        return digest
    record = _read_lock()
    known = record.setdefault(weights.name, digest)
    if known != digest:
        raise CheckpointError(
            f"{path} has the SHA-256 {digest[:16]}..., when it was first used {known[:16]}...",
            "the same weights as before",
            f"fetch it again, or delete its line in {lock_file()} where the change is meant",
        )
    _write_lock(record)
    return digest


def _read_lock() -> dict[str, str]:
    """Recorded digests, by name of weights."""
    path = lock_file()
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error})", remedy="delete it") from error
    return {str(name): str(digest) for name, digest in content.items()}


def _write_lock(record: dict[str, str]) -> None:
    """Keep the record; a cache that cannot be written to only means that nothing is remembered."""
    try:
        write_json(lock_file(), dict(sorted(record.items())))
    except PermissionError:
        return


def fetch(weights: Weights, directory: str | os.PathLike[str] | None = None) -> Path:
    """Download weights to where `locate` looks; those that are there stay.

    Raises:
        CheckpointError: They cannot be had.
    """
    found = locate(weights, directory)
    if found is not None:
        return found
    try:
        return (_fetch_file if weights.source == "torch" else _fetch_folder)(weights, directory)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{weights.name} cannot be fetched from {weights.place} ({reason})",
            remedy=f"copy it to a machine with a network, or put {weights.file} into a folder of "
            "your own and name that with --directory",
        ) from error


def _fetch_file(weights: Weights, directory: str | os.PathLike[str] | None) -> Path:
    """One file, checked against the published figures before it gets its name."""
    folder = Path(torch.hub.get_dir()) / "checkpoints" if directory is None else Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / weights.file
    prefix = weights.published or None
    torch.hub.download_url_to_file(weights.place, str(target), hash_prefix=prefix)
    return target


def _fetch_folder(weights: Weights, directory: str | os.PathLike[str] | None) -> Path:
    """Configuration and safetensors of a repository; no other format of the same weights."""
    from huggingface_hub import snapshot_download

    local = None if directory is None else str(Path(directory) / weights.file)
    patterns = ["*.json", "*.safetensors", "*.txt"]
    return Path(snapshot_download(weights.place, allow_patterns=patterns, local_dir=local))
