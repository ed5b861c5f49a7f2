"""No code comes with data: models and files are opened without running any; secrets stay where they are."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small import run_config
from transformers import dynamic_module_utils

import tsallis_run
from tsallis_run.config import ModelConfig, validate
from tsallis_run.inputs import read_inputs
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.types import UserError

PACKAGE = Path(tsallis_run.__file__).parent
OPENS_MODELS = {"from_pretrained", "from_config"}
RUNS_CODE = {"torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "numpy.load", "np.load", "eval", "exec"}
RUNS_CODE_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}

CODE = """
from pathlib import Path
from transformers import Qwen3Config
Path({!r}).touch()
class Own(Qwen3Config):
    model_type = "own"
"""
"""A module that leaves a trace where it is run."""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_is_opened_by_what_runs_code() -> None:
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        nodes = list(ast.walk(tree))
        imported = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {str(node.module).split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {name for name, _ in calls(tree)} & RUNS_CODE == set(), file
        assert imported & RUNS_CODE_MODULES == set(), file


def test_every_model_is_opened_with_a_word_on_its_code() -> None:
    opened = [
        (file.name, node)
        for file in PACKAGE.rglob("*.py")
        for name, node in calls(ast.parse(file.read_text()))
        if name.split(".")[-1] in OPENS_MODELS
    ]
    said = [name for name, node in opened if "trust_remote_code" in {word.arg for word in node.keywords}]
    unsaid = [name for name, node in opened if "trust_remote_code" not in {word.arg for word in node.keywords}]
    assert len(said) >= 5
    assert set(unsaid) == {"gguf.py"}  # it says so in the dictionary that all three share


def test_no_choice_of_a_model_trusts_its_code() -> None:
    for model in ("tiny", "qwen3_0_6b", "smollm2_135m"):
        assert run_config(f"model={model}").model.trust_remote_code is False


@pytest.fixture
def with_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose configuration is code beside it; it leaves tmp_path/ran where it is run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "model"
    shutil.copytree(model_folder(run_config().model, seed=0), folder)
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    (folder / "own.py").write_text(CODE.format(str(tmp_path / "ran")))
    return folder


def settings_of(folder: Path, *, trust: bool) -> ModelConfig:
    model = run_config().model.model_copy(update={"path": str(folder), "trust_remote_code": trust})
    return ModelConfig.model_validate(model.model_dump())


def test_code_that_comes_with_a_model_runs_only_where_it_is_trusted(with_code: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with pytest.raises(UserError, match=r"^model.trust_remote_code: must be true for .*, got false; read that code"):
        model_folder(settings_of(with_code, trust=False), seed=0)
    assert not ran.exists()
    trusting = settings_of(with_code, trust=True)
    read_inputs(run_config().model_copy(update={"model": trusting}), model_folder(trusting, seed=0))
    assert ran.exists()


class _Trace:
    """Runs code where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._path,)


def test_pickled_weights_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    shutil.copytree(model_folder(run_config().model, seed=0), folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Trace(tmp_path / "ran")))
    with pytest.raises(UserError, match=r"model\*.safetensors \(other formats can run code when they are opened\)"):
        model_folder(settings_of(folder, trust=False), seed=0)
    assert not (tmp_path / "ran").exists()


def test_a_chat_template_reaches_nothing_outside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    shutil.copytree(model_folder(run_config().model, seed=0), folder)
    (folder / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(UserError, match=r"model.chat_template: .*SecurityError"):
        read_inputs(run_config(), folder)


@pytest.mark.parametrize("key", ["api_key", "hub_token", "PASSWORD", "client_secret"])
def test_a_secret_that_is_given_as_a_setting_is_refused_and_not_repeated(key: str) -> None:
    data = run_config().model_dump(mode="json")
    data["tracker"]["wandb"][key] = "do-not-tell"
    with pytest.raises(UserError) as caught:
        validate(data)
    assert str(caught.value) == (
        f"tracker.wandb.{key}: no such key; secrets are no settings, set them in the environment "
        "(WANDB_API_KEY, HF_TOKEN)"
    )
