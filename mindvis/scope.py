"""A block whose changes to the process are undone: random states, environment, logging, signals."""

import logging
import os
import random
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning")
# what Lightning advises every run, and what is meant here
ADVICE = (
    r".*does not have many workers.*",
    r".*is smaller than the logging interval.*",
    r".*You defined a `validation_step` but have no `val_dataloader`.*",
    r".*exists and is not empty.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`.*",
    r".*in eval mode at the start of training.*",
    r".*`Trainer\.fit\(\)` loaded the checkpoint.*",
)


@contextmanager
def random_states() -> Iterator[None]:
    """Restore the global random states of Python, NumPy and torch."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def environment_variables() -> Iterator[None]:
    """Restore the environment variables."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Silence Lightning's advice; its warnings of substance are still shown."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        for message in ADVICE:
            warnings.filterwarnings("ignore", message=message)
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def signal_handlers() -> Iterator[None]:
    """Restore the handlers of interrupt and termination, which only the main thread can change."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def torch_flags() -> Iterator[None]:
    """Restore torch's choice between fast and deterministic algorithms."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def scoped_process() -> Iterator[None]:
    """All of the above at once."""
    with ExitStack() as stack:
        for scope in (
            random_states,
            environment_variables,
            quiet_logging,
            signal_handlers,
            torch_flags,
        ):
            stack.enter_context(scope())
        yield
