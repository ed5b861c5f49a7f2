"""The command `tsallis-run`: Hydra composes, pydantic validates, `launch` runs.

Exit statuses are those of `ExitStatus`; a user's mistake is a message on standard error, without a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tsallis_run.complaint import print_mistake
from tsallis_run.composition_errors import (
    COMPOSITION_ERRORS,
    Compose,
    check_overrides,
    choices_of,
    composition,
    culprit_of,
    each_value_once,
    explain,
    groups,
    is_unknown_key,
    key_of,
)
from tsallis_run.config import RunConfig, validate
from tsallis_run.launch import launch
from tsallis_run.resume import saved_config
from tsallis_run.tracking.records import RunFolder
from tsallis_run.tracking.wandb_mirror import check_wandb
from tsallis_run.types import ExitStatus, UserError


def main() -> None:
    """The console script."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # its other way of telling an error is to print it and exit with 1
    OmegaConf.register_new_resolver("choices", all_choices, replace=True)  # conf/hydra/help shows them
    command = hydra.main(version_base="1.3", config_path=str(configuration_folder()), config_name="config")(run)
    with _any_reader(), _mistakes_end_the_process():
        check_command_line()
        command()


def check_command_line() -> None:
    """Finds what Hydra would answer with a traceback of its own, or take for something else.

    Raises:
        UserError: for flags.
        OverrideError: for the first override that cannot be read or gives a group none of its choices.
    """
    given = get_args_parser().parse_args()
    if given.config_dir and not Path(given.config_dir).is_dir():
        raise UserError(f"--config-dir: must be a folder, got {given.config_dir}; check the path")
    if given.resolve and not (given.cfg or given.help):
        raise UserError("--resolve: must come with --cfg or --help, got neither; write --cfg job --resolve")
    check_overrides(given.overrides, configuration_folders())


@contextmanager
def _any_reader() -> Iterator[None]:
    """A reader that has seen enough (`| head`) closes the pipe: no failure, and nothing to be told."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the interpreter's end
        sys.exit(ExitStatus.FINISHED)


@contextmanager
def _mistakes_end_the_process() -> Iterator[None]:
    """Tells a user's mistake and exits; done within Hydra's job as well, where Hydra would comment on it."""
    try:
        yield
        return
    except UserError as error:
        mistake = error
    except (*COMPOSITION_ERRORS, ValueError, RecursionError) as error:  # the last two also come from files, by YAML
        faults = _faults_of_command()
        if not faults and not isinstance(error, COMPOSITION_ERRORS):
            raise
        mistake = UserError("\n".join(faults or [explain(error, None)]))
    print_mistake(mistake)
    sys.exit(ExitStatus.USER_ERROR)


def configuration_folder() -> Path:
    """conf/: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def configuration_folders() -> list[Path]:
    """conf/, and the folder that the command adds with --config-dir."""
    given, _ = get_args_parser().parse_known_args()
    return [configuration_folder(), *([Path(given.config_dir)] if given.config_dir else [])]


def all_choices() -> str:
    """Every group with its choices, a line each."""
    folders = configuration_folders()
    return "\n".join(f"{group}: {', '.join(choices_of(group, folders))}" for group in groups(folders))


def run(composed: DictConfig) -> None:
    """Hydra's task: one run. Ends the process with the run's exit status."""
    settings = HydraConfig.get()
    with _mistakes_end_the_process():
        if sweep := settings.runtime.choices.get("sweep"):
            raise UserError(f"sweep: must be run with -m, got +sweep={sweep}; write tsallis-run -m +sweep={sweep}")
        launcher = settings.runtime.choices["hydra/launcher"]
        if settings.mode is RunMode.RUN and launcher != "basic":  # Hydra would leave it out without a word
            raise UserError(
                f"hydra/launcher: must be used with -m, got {launcher} without; write tsallis-run -m ... "
                f"hydra/launcher={launcher}"
            )
        config = resumed(composed, settings.overrides.task) if composed.resume else check(composed)
        sys.exit(launch(config))


def check(composed: DictConfig) -> RunConfig:
    """Validates what Hydra composed, and what else can be found out before anything heavy starts.

    Raises:
        UserError: with one line per fault.
    """
    data = cast(dict[str, object], OmegaConf.to_container(composed, resolve=True))
    config = validate({key: value for key, value in data.items() if key != "hydra"})
    check_wandb(config.tracker.wandb)
    return config


def resumed(composed: DictConfig, overrides: Sequence[str]) -> RunConfig:
    """The run in the folder `resume`, every setting from its config.yaml but those that the command gives.

    Raises:
        UserError: where no run lies there, or what the command gives is no setting of one. Whether it makes it another
            run is found out where the folder is opened.
    """
    folder = RunFolder(Path(composed.resume).expanduser())
    data = OmegaConf.create(saved_config(folder).model_dump(mode="json"))
    given = {key_of(override): override for override in overrides if not key_of(override).startswith("hydra.")}
    if strange := [override for key, override in given.items() if key.split(".")[0] not in data]:
        raise UserError(
            f"resume: must come with settings of the run alone (the others come from {folder.config_yaml}), "
            f"got {' '.join(strange)}; leave {'it' if len(strange) == 1 else 'them'} out"
        )
    for key in given:
        OmegaConf.update(data, key, OmegaConf.select(composed, key), merge=False, force_add=True)
    if data.output_dir is None or Path(data.output_dir).expanduser().resolve() != folder.path.resolve():
        raise UserError(f"output_dir: must be the folder that resume names, got {data.output_dir}; leave it out")
    plain = cast(dict[str, object], OmegaConf.to_container(data, resolve=True))
    config = validate({**plain, "output_dir": str(folder.path), "resume": str(folder.path)})
    check_wandb(config.tracker.wandb)
    return config


def compose_valid(overrides: Sequence[str], compose: Compose) -> RunConfig:
    """Composes and validates a list of overrides.

    Composition stops at the first fault: it is told and left out, until the rest composes and can be validated.
    A misspelt key is added instead, because the validation knows the keys and what was probably meant.

    Raises:
        UserError: with one line per fault, all faults together.
    """
    faults: list[str] = []
    left, folders = list(overrides), configuration_folders()
    while True:
        try:
            config = check(composition(compose, left, folders))
        except UserError as error:
            raise UserError("\n".join([*faults, str(error)])) from None
        except COMPOSITION_ERRORS as error:
            culprit = culprit_of(error, left)
            if culprit is None:
                raise UserError("\n".join([*faults, explain(error, None)])) from None
            place = left.index(culprit)
            if is_unknown_key(error, culprit):
                left[place] = f"++{culprit}"
            else:
                faults.append(explain(error, culprit))
                del left[place]
        else:
            if faults:
                raise UserError("\n".join(faults))
            return config


def _faults_of_command() -> list[str]:
    """What is wrong with the command line, once composition has stopped."""
    given = get_args_parser().parse_args()
    search_path = [f"hydra.searchpath=[file://{Path(given.config_dir).resolve()}]"] if given.config_dir else []
    faults: dict[str, None] = {}
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(configuration_folder())):
        for overrides in each_value_once(given.overrides) if given.multirun else [given.overrides]:
            try:
                compose_valid(overrides, lambda left: hydra.compose("config", search_path + left))
            except UserError as mistake:
                faults |= dict.fromkeys(str(mistake).splitlines())
    return list(faults)
