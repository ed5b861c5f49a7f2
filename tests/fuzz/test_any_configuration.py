"""Every key of the schema with values of every kind: it is accepted and can be written, or the message names it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
import yaml
from fuzz.conftest import FUZZ, LINE, Count
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from small import run_config

from tsallis_run.config import RunConfig, validate
from tsallis_run.types import UserError

MOVING = "q={kind:linear,start:1,end:0,num_steps:9}"
PER_EXAMPLE = "q={kind:per_example,floor:0.1,prior:1}"
FORMS = [
    ("dataset=reversal", "estimator=garl", "estimator.normalize=false", "rollout=vllm", MOVING),
    ("dataset=finqa", "estimator=paft", "rollout=vllm_server"),
    ("dataset=gsm8k", "estimator=reward", "rollout=transformers", PER_EXAMPLE, "optimizer=sgd"),
    ("dataset=hotpotqa", "estimator=rloo", "dataset.label_noise.fraction=0.5"),
]
"""Runs that have, taken together, every form of every section."""

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**3), 10**3),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=20),
    st.text(st.characters(categories=["Cs", "Cc", "Zl"]), min_size=1, max_size=5),
    st.sampled_from(
        ["", " ", "none", "null", "auto", "1", "-1", "1e999", "0x10", "yes", "~nobody-of-this-name/x", "."]
    ),
    st.sampled_from(["x" * 10**5, "1" * 5000, "a\nb: c"]),
    st.binary(max_size=5),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=3),
    st.dictionaries(st.one_of(st.integers(), st.text(max_size=5)), st.integers(), max_size=3),
    st.fixed_dictionaries({"name": st.text(max_size=5)}),
    st.just([[[{}]]]),
    st.just(1j),
)


def keys(section: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a run as plain data, those of sections too."""
    for name, value in section.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from keys(value, (*above, name))


def schema_keys(part: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that the schema knows, in any form of any section."""
    for name, field in part.model_fields.items():
        yield (*above, name)
        for form in parts_of(field.annotation):
            yield from schema_keys(form, (*above, name))


def parts_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from parts_of(inner)


def changed(base: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    data = copy.deepcopy(dict(base))
    section = data
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    return data


def test_the_forms_have_every_key_of_the_schema() -> None:
    walked = {path for form in FORMS for path in keys(run_config(*form).model_dump(mode="json"))}
    assert set(schema_keys(RunConfig)) - walked == set()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form[0])
def test_any_value_of_any_key_is_accepted_or_told_by_its_name(form: tuple[str, ...], count: Count) -> None:
    base = run_config(*form).model_dump(mode="json")
    new = base.keys() if form == FORMS[0] else ("dataset", "estimator", "optimizer", "q", "rollout")
    paths = sorted(path for path in keys(base) if path[0] in new)

    @settings(FUZZ, max_examples=len(paths) * 7)
    @given(st.sampled_from(paths), VALUES)
    def check(path: tuple[str, ...], value: Any) -> None:
        try:
            config = validate(changed(base, path, value))
        except UserError as error:
            count("configuration", "refused")
            lines = str(error).split("\n")
            assert all(LINE.fullmatch(line) for line in lines)
            assert any(path[-1] in line for line in lines)
            assert all(line.startswith(path[0]) or path[-1] in line for line in lines)
        else:
            count("configuration", "accepted")
            written = yaml.safe_dump(config.model_dump(mode="json")).encode()
            assert validate(yaml.safe_load(written)) == config

    check()


@settings(FUZZ, max_examples=50)
@given(data=st.dictionaries(st.one_of(st.sampled_from(sorted(RunConfig.model_fields)), st.text(max_size=5)), VALUES))
def test_whatever_stands_in_a_config_yaml_is_told(data: dict[str, Any], count: Count) -> None:
    with pytest.raises(UserError) as caught:
        validate(data)
    count("configuration", "refused")
    assert all(LINE.fullmatch(line) for line in str(caught.value).split("\n"))
