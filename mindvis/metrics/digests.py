"""Digests of weights that are several files."""

import hashlib
from pathlib import Path

from mindvis.files import sha256


def folder_digest(folder: Path) -> str:
    """SHA-256 over the safetensors of a folder: of the file itself where there is one."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return sha256(files[0])
    lines = "".join(f"{sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
