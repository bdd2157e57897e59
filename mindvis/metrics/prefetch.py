"""The `mindvis prefetch` command: weights that metrics need, for machines without a network."""

from typing import Any

from mindvis.console import say
from mindvis.errors import CheckpointError, ConfigError, one_of
from mindvis.files import write_json
from mindvis.metrics.weights import WEIGHTS, Weights, fetch, locate, needed, verify


def prefetch(
    names: list[str] | None = None,
    protocols: list[str] | None = None,
    check: bool = False,
    directory: str | None = None,
    manifest: str | None = None,
) -> dict[str, Any]:
    """Get the weights of metrics, or say which are missing; print path, size and SHA-256 of each.

    Files go where torch and Hugging Face look for them (TORCH_HOME, HF_HOME): run this where there
    is a network, and copy those folders, or `directory`, to where there is none.

    Args:
        names: Weights to get; by default those of `protocols`, or all.
        protocols: Protocols whose weights to get, such as nsd8-mindeye or fid-2048.
        check: Fetch nothing; exit with 2 where any is missing or damaged.
        directory: A folder to look in first and to write to, instead of the caches.
        manifest: JSON file to write the list to.

    Returns:
        For each of the weights path, bytes and sha256.

    Raises:
        MindVisError: A name is unknown, or weights are missing, damaged or cannot be fetched.
    """
    chosen = _choose(names, protocols)
    found, problems = {}, []
    for weights in chosen:
        try:
            found[weights.name] = _entry(weights, directory, check)
        except CheckpointError as error:
            problems.append(str(error).rstrip("."))
    for name, entry in found.items():
        say(f"{entry['sha256']}  {entry['bytes']:>11}  {name}  {entry['path']}")
    if manifest is not None:
        write_json(manifest, found)
    if problems:
        raise CheckpointError(
            f"{len(problems)} of {len(chosen)} weights are not there: {'; '.join(problems)}",
            remedy="run `mindvis prefetch` where there is a network" if check else "",
        )
    return found


def _choose(names: list[str] | None, protocols: list[str] | None) -> list[Weights]:
    """Weights by name, of protocols, or all."""
    for name in names or ():
        if name not in WEIGHTS:
            raise ConfigError(
                f"there are no weights {name!r}", one_of("the weights", name, WEIGHTS)
            )
    if names:
        return [WEIGHTS[name] for name in names]
    return needed(protocols)


def _entry(weights: Weights, directory: str | None, check: bool) -> dict[str, Any]:
    """Where weights are and what they are, after fetching where that is allowed."""
    path = locate(weights, directory) if check else fetch(weights, directory)
    if path is None:
        users = ", ".join(weights.used_by)
        raise CheckpointError(f"{weights.name} ({weights.megabytes} MB, for {users}) is missing")
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    digest = verify(weights, path)
    return {"path": str(path), "bytes": size, "sha256": digest, "source": weights.place}
