"""`mindvis fit` and `mindvis validate`: LightningCLI with run folders that resume.

A run folder has a stable name and holds `config.yaml`, `environment.json`, `manifest.json`,
`metrics.csv`, `checkpoints/last.ckpt`, `figures/` and, when training is complete, `model/`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from mindvis.arguments import options_of, own_error, refuse
from mindvis.console import say
from mindvis.data.datamodule import PairData, PictureData, ResponseData, SplitData
from mindvis.errors import ConfigError, MindVisError
from mindvis.provenance import write_provenance
from mindvis.runs import LAST, check_same_run, input_paths, is_complete
from mindvis.scope import scoped_process
from mindvis.tasks import classifier, diffusion, latent, masked
from mindvis.tasks.base import BrainTask
from mindvis.tasks.callbacks import (
    EMA,
    ExportModel,
    Figures,
    RunCheckpoint,
    StopOnNaN,
    is_transductive,
)
from mindvis.tasks.records import AtomicCheckpointIO, MetricsTable

# what a configuration can choose by its bare name: classes are found once they are imported
DATA_MODULES = (ResponseData, PairData, PictureData)
STAGES = (
    masked.MaskedModelling,
    latent.LatentDiffusion,
    diffusion.BrainDiffusion,
    classifier.PictureClassifier,
)
TRAINER_DEFAULTS = {
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "inference_mode": False,  # validation exchanges weights with their averages
}


def reuse_preprocessing(config: Any) -> None:
    """Read responses as the model that a stage starts from did, unless the options say how.

    Args:
        config: Of a stage; `data.preprocessing` is set to the run of stage A that it names.
    """
    data, model = config.data.init_args, config.model.init_args
    run = model.get("encoder") or model.get("init_from")
    if run and "preprocessing" in data and data.preprocessing is None:
        folders = (Path(run), Path(run) / "model")
        if any((folder / "preprocessing.json").is_file() for folder in folders):
            data.preprocessing = run


class NothingLeftError(Exception):
    """The run has nothing left to do."""


class Provenance(SaveConfigCallback):
    """Write configuration, environment and checksums of inputs when training begins."""

    def __init__(self, parser: LightningArgumentParser, config: Any, **options: Any) -> None:
        super().__init__(parser, config, save_to_log_dir=False, **options)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the three files into the run folder."""
        if stage != "fit":
            return
        text = self.parser.dump(self.config, skip_unset=False)
        facts = {
            "transductive": is_transductive(pl_module, trainer.datamodule),
            "splits": trainer.datamodule.splits(),
        }
        inputs = input_paths(yaml.safe_load(text))
        write_provenance(trainer.default_root_dir, text, inputs, **facts)


class StageCLI(LightningCLI):
    """One subcommand of Lightning's, for one stage with one data module.

    Args:
        command: "fit" or "validate".
        args: Words after the command.
    """

    def __init__(self, command: str, args: Sequence[str]) -> None:
        self.command = command
        strict = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            BrainTask,
            SplitData,
            save_config_callback=Provenance,
            trainer_defaults={**TRAINER_DEFAULTS, "callbacks": [StopOnNaN(), ExportModel()]},
            seed_everything_default=0,
            parser_kwargs={**strict, "prog": "mindvis", command: strict},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=[command, *args],
            auto_configure_optimizers=False,
        )

    # -- parsing ----------------------------------------------------------------------------

    def subcommands(self) -> dict[str, set[str]]:
        """Lightning's description of the one command."""
        return {self.command: LightningCLI.subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder and the callbacks; the task learns sizes from the data."""
        parser.add_argument(
            "--output", type=str | None, help="run folder; the same folder again resumes the run"
        )
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(Figures, "figures")
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.link_arguments("data.facts", "model.init_args.facts", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, with every mistake as one sentence.

        Raises:
            ConfigError: The words do not fit.
        """
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            if "model" in str(error) and "required" in str(error):
                raise ConfigError(
                    "no stage is chosen",
                    remedy="pass one with -c, such as -c configs/pretrain.yaml",
                ) from error
            own = self._subcommand_parsers[self.command]
            refuse(str(error), options_of(own), f"mindvis {self.command}")

    # -- the run folder ---------------------------------------------------------------------

    def _set_seed(self) -> None:
        """Seed the initial weights; all other draws are seeded by what they are."""
        seed_everything(int(self._get(self.config, "seed_everything")), verbose=False)

    def before_instantiate_classes(self) -> None:
        """Settle the run folder, before anything is read or built.

        Raises:
            ConfigError: There is no run folder, or it holds another run.
            NothingLeftError: The folder holds this run, complete.
        """
        config = self.config[self.command]
        self.run = Path(config.output or config.trainer.default_root_dir or "")
        if self.run == Path():
            raise ConfigError("there is no run folder", remedy="pass --output DIR")
        config.trainer.default_root_dir = str(self.run)
        reuse_preprocessing(config)
        if self.command == "fit" and not config.trainer.fast_dev_run:
            self._check_run(config)

    def _check_run(self, config: Any) -> None:
        """Refuse another run's folder, and stop where this run is complete."""
        parser = self._subcommand_parsers[self.command]
        text = parser.dump(config, skip_unset=False, skip_validation=True)
        check_same_run(self.run, yaml.safe_load(text))
        if is_complete(self.run, config.trainer.max_epochs):
            raise NothingLeftError(f"{self.run} is complete: {self.run / 'model'}")

    def instantiate_classes(self) -> None:
        """Build data, task and trainer; a mistake they name comes out as they said it.

        Raises:
            MindVisError: As the data module or the task raised it.
        """
        try:
            super().instantiate_classes()
        except (ValueError, TypeError) as error:
            own = own_error(error)
            if own is None:
                raise
            raise own from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with atomic checkpoints and the table of metrics.

        Raises:
            ConfigError: Lightning refuses an option.
        """
        config = self._get(self.config_init, "trainer")
        loggers = config.logger if isinstance(config.logger, list) else [config.logger]
        others = [logger for logger in loggers if not isinstance(logger, bool | None)]
        records = [MetricsTable(self.run)] if config.logger is not False else []
        plugins = config.plugins if isinstance(config.plugins, list) else [config.plugins]
        kwargs = {
            "logger": [*records, *others],
            "plugins": [AtomicCheckpointIO(), *(p for p in plugins if p is not None)],
            **kwargs,
        }
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise ConfigError(f"the trainer refuses its options: {error}") from error

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Lightning's arguments, with the run's own checkpoint where none was given."""
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        last = self.run / LAST
        if kwargs.get("ckpt_path") is None and last.is_file():
            kwargs["ckpt_path"] = str(last)
            if subcommand == "fit":
                say(f"continuing {self.run} from {last}")
        return {**kwargs, "weights_only": True}


def _run(command: str, args: Sequence[str]) -> None:
    """Run a command of Lightning's; nothing it changes in the process remains.

    Raises:
        MindVisError: A user's mistake, or what Lightning takes for one.
        KeyboardInterrupt: Training was interrupted.
    """
    with scoped_process():
        try:
            StageCLI(command, args)
        except NothingLeftError as done:
            say(str(done))
        except MisconfigurationException as error:
            raise ConfigError(str(error)) from error
        except torch.OutOfMemoryError as error:
            raise MindVisError(
                "the accelerator's memory is full", remedy="lower --data.batch_size"
            ) from error
        except SIGTERMException as error:
            raise SystemExit(143) from error
        except SystemExit as stop:
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from stop
            raise


def fit(args: Sequence[str]) -> None:
    """Train a stage, or go on where its run folder says it was interrupted."""
    _run("fit", args)


def validate(args: Sequence[str]) -> None:
    """Score a stage's checkpoint on its validation split."""
    _run("validate", args)
