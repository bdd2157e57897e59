"""Reading a checkpoint that somebody pickled, without executing anything that it names.

What a file pickles is listed before it is loaded: weights, and classes from a short list that stand
for plain values. Those become inert objects, everything else is refused by its name, and torch's
own weights-only reader is the second lock. Tensors stay in the file until they are used.
"""

import os
import pickle
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor
from tqdm import tqdm

from mindvis.errors import CheckpointError

# The pickled part of a file: names and shapes, numbers of an optimiser, a configuration.
MOST_PICKLE_BYTES: Final = 1 << 28
_PIECE: Final = 1 << 24

# What torch needs to rebuild tensors and plain containers, all of it its own safe code.
_WEIGHTS: Final = re.compile(
    r"torch\.(\w+Storage|Size|(b?float|int|uint)\d+|bool"
    r"|_utils\._rebuild_(tensor_v2|parameter)|nn\.parameter\.Parameter|storage\.\w+Storage)"
    r"|collections\.OrderedDict|_codecs\.encode|(__builtin__|builtins)\.(set|complex)"
)
# Configurations whose values are read: MinD-Vis' own classes, and the class of our exports.
_CONFIGURATIONS: Final = (
    "config.Config_MAE_fMRI",
    "config.Config_MAE_finetune",
    "config.Config_MBM_fMRI",
    "config.Config_MBM_finetune",
    "config.Config_Generative_Model",
    "argparse.Namespace",
)
# What real files hold beside weights, none of it used: numbers of numpy in optimisers, schedules
# and random states, and the state of Lightning's callbacks and hyper-parameters.
_LEFTOVERS: Final = (
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "pathlib.PosixPath",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
)
# What torch's reader raises on bytes that make no sense.
_DAMAGE: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
)


class Inert:
    """Stands for an instance of a class that a file names; does nothing, keeps named values."""

    def __new__(cls, *arguments: Any) -> "Inert":
        """An empty object, whatever the file passes."""
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(name): value for name, value in state.items()})


def _stub(name: str) -> tuple[type[Inert], str]:
    """A class of its own for each name, since some files have classes as keys."""
    return type(name.rsplit(".", 1)[-1], (Inert,), {}), name


_STUBS: Final[list[Callable[..., Any] | tuple[Callable[..., Any], str]]] = [
    _stub(name) for name in (*_CONFIGURATIONS, *_LEFTOVERS)
]
_KNOWN: Final = frozenset((*_CONFIGURATIONS, *_LEFTOVERS))


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The dictionary that `torch.save` wrote, tensors mapped from the file and inert objects.

    Args:
        path: A `.pth` or `.ckpt` file of torch 1.6 or later.

    Raises:
        CheckpointError: No such file, damage, or a pickle of anything but weights and plain values.
    """
    file = Path(path)
    _check_archive(file)
    try:
        with torch.serialization.safe_globals(_STUBS):
            content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except _DAMAGE as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise _damaged(file, f"its content makes no sense, {said}") from error
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is not None:
            raise _unsafe(file, refused[1]) from error
        raise _damaged(file, "its pickle is none of weights") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{file} holds a {type(content).__name__}", "a dictionary with weights in it"
        )
    _check_tensors(file, content)
    return content


def plain_values(config: Any) -> dict[str, Any]:
    """The numbers, texts and lists of numbers and texts in a configuration, by name.

    Args:
        config: An inert object or a mapping; anything else has no values.
    """
    values = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
    return {str(name): value for name, value in values.items() if _is_plain(value)}


def tensors_in(value: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dictionaries, lists and inert objects, by its path.

    A container is entered once, however often or deeply it is found in itself.
    """
    entered: set[int] = set()
    waiting = [("", value)]
    while waiting:
        place, item = waiting.pop()
        if isinstance(item, Tensor):
            yield place, item
        elif id(item) not in entered:
            entered.add(id(item))
            inside = [(f"{place}.{name}".lstrip("."), below) for name, below in _items(item)]
            waiting += reversed(inside)


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, Inert):
        return vars(value).items()
    return enumerate(value) if isinstance(value, list | tuple) else ()


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_scalar(item) for item in value)
    return _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _check_archive(file: Path) -> None:
    """Refuse what is no whole, uncompressed archive of torch, or pickles an unknown name."""
    if not file.is_file():
        raise CheckpointError(f"there is no file {file}", remedy="correct the path")
    try:
        with zipfile.ZipFile(file) as archive:
            pickled = _check_records(file, archive)
            for name in _globals(archive.read(pickled)):
                if name not in _KNOWN and not _WEIGHTS.fullmatch(name):
                    raise _unsafe(file, name)
            _check_sums(file, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(file, str(error)) from error
    except (ValueError, UnicodeError) as error:
        raise _damaged(file, f"its pickle is cut short: {error}") from error


def _check_records(file: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The pickled record of an archive whose records are as large as they say."""
    records = archive.infolist()
    pickled = [record for record in records if record.filename.endswith("/data.pkl")]
    if len(pickled) != 1 or any(r.filename.endswith("/constants.pkl") for r in records):
        raise _damaged(file, "it is another kind of archive")
    if sum(record.file_size for record in records) > file.stat().st_size:
        raise _damaged(file, "its records claim more bytes than it has")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise _damaged(file, "its records are packed")
    if pickled[0].file_size > MOST_PICKLE_BYTES:
        raise _damaged(file, f"its pickle has {pickled[0].file_size} bytes")
    return pickled[0]


def _globals(pickled: bytes) -> Iterator[str]:
    """Every name that a pickle would look up; an opcode that can hide one is named itself."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif opcode.name in {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}:
            yield f"{argument or 'a name'} by {opcode.name}"


def _check_sums(file: Path, archive: zipfile.ZipFile) -> None:
    """Read every record once; zipfile compares its checksum at its end."""
    with tqdm(
        total=file.stat().st_size, desc=f"checking {file.name}", unit="B", unit_scale=True, delay=2
    ) as bar:
        for record in archive.infolist():
            with archive.open(record) as stream:
                for piece in _pieces(stream):
                    bar.update(len(piece))


def _pieces(stream: BinaryIO | Any) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece


def _check_tensors(file: Path, content: dict[str, Any]) -> None:
    """Refuse tensors that claim more values than the file holds for them."""
    for name, tensor in tensors_in(content):
        needed = tensor.numel() * tensor.element_size()
        if tensor.layout is not torch.strided or needed > tensor.untyped_storage().nbytes():
            raise _damaged(file, f"{name} claims more values than are stored for it")


def _damaged(file: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{file} cannot be read ({why.rstrip('.')})",
        "a whole file that torch.save wrote, version 1.6 or later",
        "download it again, or give the path of a checkpoint",
    )


def _unsafe(file: Path, name: str) -> CheckpointError:
    return CheckpointError(
        f"{file} pickles {name}",
        "weights, numbers, texts and MinD-Vis' own configuration classes alone",
        "do not open this file with torch.load: it may run code; nothing of it was run here",
    )
