"""Who does the work of runs and subjects: processes of this machine, or a Dask cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from joblib import parallel_config

from mindvis.errors import ConfigError

Backend = Literal["processes", "dask"]


@dataclass(frozen=True)
class Workers:
    """Where jobs run; which of them changes no byte of a result.

    Args:
        n_jobs: Processes, in joblib's meaning (-1: one a core). A Dask cluster uses all it has.
        backend: "processes" of this machine, or "dask".
        scheduler: Address of the Dask scheduler. Its workers must see the same files by the same
            paths.
        timeout: Seconds to wait for the scheduler.

    Raises:
        ConfigError: An address without Dask, or the reverse.
    """

    n_jobs: int = 1
    backend: Backend = "processes"
    scheduler: str | None = None
    timeout: float = 10.0

    def __post_init__(self) -> None:
        if (self.backend == "dask") != (self.scheduler is not None):
            raise ConfigError(
                f"--backend is {self.backend} and --scheduler is {self.scheduler}",
                "both of them for a Dask cluster, or neither",
                "pass --backend dask --scheduler tcp://HOST:PORT",
            )
        if self.backend == "dask":
            object.__setattr__(self, "n_jobs", -1)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Make joblib use these workers inside the block.

        Raises:
            ConfigError: Dask is not installed, or no scheduler answers.
        """
        if self.backend == "processes":
            yield
            return
        try:
            from distributed import Client
        except ImportError:
            raise ConfigError(
                "Dask is not installed", remedy="pip install 'mindvis[dask]'"
            ) from None
        try:
            client = Client(self.scheduler, timeout=self.timeout, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no Dask scheduler answers at {self.scheduler} ({error})",
                "an address such as tcp://HOST:8786",
                "start one with `dask scheduler`, and workers with `dask worker ADDRESS`",
            ) from None
        with client, parallel_config("dask", client=client):
            yield
