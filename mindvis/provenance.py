"""Where a result comes from: configuration, software, machine, checksums of what was read."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

import mindvis
from mindvis.files import sha256, write_json, write_text

SOFTWARE = (
    "torch",
    "lightning",
    "diffusers",
    "transformers",
    "safetensors",
    "jsonargparse",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "h5py",
    "nibabel",
    "nilearn",
    "pillow",
    "matplotlib",
)
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
MANIFEST = "manifest.json"
LINEAGE = "lineage.json"
UNKNOWN_LINEAGE: dict[str, Any] = {
    "task": None,
    "transductive": False,
    "selected_on": None,
    "splits": {},
    "ancestors": [],
}


def software_versions() -> dict[str, str]:
    """Versions of mindvis, Python and the libraries it stands on; absent ones are left out."""
    found = {"mindvis": mindvis.__version__, "python": platform.python_version()}
    for name in SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str | None:
    """Output of a git command in the folder of this package, None outside a working copy."""
    folder = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def source_state() -> dict[str, Any]:
    """Commit of the source and whether its files differ from it; empty for an installed package."""
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name)
    if tracked is None:
        return {}
    return {"commit": _git("rev-parse", "HEAD"), "modified": bool(_git("diff", "HEAD", "--stat"))}


def _accelerator() -> str | None:
    """Name of the first CUDA device, asked only of a torch that is already imported."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name(0))


def environment() -> dict[str, Any]:
    """Versions, commit, machine, scheduler job and command line of this process."""
    slurm = {key: value for key, value in sorted(os.environ.items()) if key.startswith("SLURM_JOB")}
    return {
        "software": software_versions(),
        "source": source_state(),
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "accelerator": _accelerator(),
        },
        "slurm": slurm,
        "command": sys.argv,
    }


def _input_files(inputs: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Every file among the inputs; a folder stands for all files in it, in sorted order."""
    files: list[Path] = []
    for path in map(Path, inputs):
        found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        files.extend(found)
    return list(dict.fromkeys(files))


def file_manifest(
    inputs: Iterable[str | os.PathLike[str]], known: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Path, size, time of change and SHA-256 of each input file.

    Args:
        inputs: Files, and folders that stand for every file in them.
        known: An earlier manifest; a file of the same size and time of change is not read again.

    Returns:
        One entry a file: path, bytes, modified (ns), sha256.
    """
    seen = {(e["path"], e["bytes"], e["modified"]): e["sha256"] for e in known}
    entries = []
    for path in tqdm(_input_files(inputs), desc="checksums", delay=2, leave=False):
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        digest = seen.get(key) or sha256(path)
        entries.append({"path": key[0], "bytes": key[1], "modified": key[2], "sha256": digest})
    return entries


def write_provenance(
    directory: str | os.PathLike[str],
    config: Mapping[str, Any] | str,
    inputs: Iterable[str | os.PathLike[str]] = (),
    **facts: Any,
) -> None:
    """Write `config.yaml`, `environment.json` and `manifest.json` into an output folder.

    Args:
        directory: The output folder, made when absent.
        config: The resolved options, as a mapping or as YAML text.
        inputs: Files and folders that were read; their checksums go into the manifest.
        **facts: Further entries of the manifest, such as `transductive=True`.
    """
    folder = Path(directory)
    text = config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False)
    write_text(folder / CONFIG, text)
    write_json(folder / ENVIRONMENT, environment())
    known = read_manifest(folder).get("files", [])
    write_json(folder / MANIFEST, {**facts, "files": file_manifest(inputs, known)})


def read_manifest(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of an output folder, empty where there is none."""
    path = Path(directory) / MANIFEST
    return json.loads(path.read_text()) if path.is_file() else {}


def write_lineage(directory: str | os.PathLike[str], **facts: Any) -> None:
    """Write `lineage.json` into a model folder: what the model was trained on and chosen by."""
    write_json(Path(directory) / LINEAGE, {**UNKNOWN_LINEAGE, **facts})


def read_lineage(model: str | os.PathLike[str]) -> dict[str, Any]:
    """Lineage of a run folder or model folder; without one nothing is known but what it lacks.

    Returns:
        `task`, `transductive`, `selected_on` ("nothing": the last epoch was taken; "val" or "test":
        an epoch was chosen by the scores of that split; None: not recorded), `splits` (for each
        subject numbers and digests of stimuli), `ancestors` (lineages it started from).
    """
    for folder in (Path(model), Path(model) / "model"):
        if (folder / LINEAGE).is_file():
            return {**UNKNOWN_LINEAGE, **json.loads((folder / LINEAGE).read_text())}
    return dict(UNKNOWN_LINEAGE)
