"""The model as other things are made from it: the JSON Schema, the manual, the plan."""

# ruff: noqa: E501 - cases are data, one to a line

import typing

import jsonschema
import pytest
import yaml

from dask_fleet.errors import SpecError
from dask_fleet.spec import Spec, default_spec, json_schema, parse, template
from dask_fleet.spec.model import Needs
from dask_fleet.spec.translate import MODELS, model_at

FIELDS = [(model, name) for model in MODELS.values() for name in model.model_fields]


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=[f"{m.__name__}.{n}" for m, n in FIELDS])
def test_every_field_says_what_it_is_and_what_its_change_needs(model, name):
    field = model.model_fields[name]
    assert field.description
    assert field.description.endswith(".")
    assert (field.json_schema_extra or {}).get("needs") in typing.get_args(Needs)


def test_the_table_of_models_is_complete():
    from dask_fleet.spec import model, model_door
    from dask_fleet.spec.model_base import Model

    all_models = {
        value
        for module in (model, model_door)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Model) and value is not Model
    }
    assert all_models == set(MODELS.values())
    assert model_at(("workers", "a", "ports")).__name__ == "PortsSpec"
    assert model_at(("workers", "a", "resources")) is None
    assert model_at(()) is Spec


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(json_schema())


GOOD = [
    template("mine"),
    "name: x\nscheduler: {port: '${PORT}'}\nworkers: {a: {nthreads: '${N:-2}', memory_limit: 2GB, resources: {GPU: 1}}}\n",
    "name: x\nhosts:\n  vm-[1-2]: {address: '10.0.0.[1-2]', ssh: {sudo: '${SUDO}', port: 22}}\nworkers: {}\nruntime: systemd\n",
    "name: x\nconfig: {a.b: {c: [1]}}\nport_range: 9000-9100\nenvironment: {packages: [dask]}\n",
    "name: x\ndoor: true\n",
    "name: x\ndoor: false\n",
    "name: x\ndoor: {tls: fleet, login: users, listen: 443}\n",
    "name: x\ndoor: {tls: false, login: none, listen: '10.0.0.1:80', allow: [10.0.0.0/8], frames: ['https://a.example']}\n",
    "name: x\ndoor: {tls: {certificate: a, key: b}, login: {forward_auth: 'http://a/b', sign_in: 'http://a/c'}}\n",
]
BAD = [
    "nam: x\n", "name: X\n", "name: x\nscheduler: {port: abc}\n", "name: x\nscheduler: {port: 0}\n",
    "name: x\nruntime: docker\n", "name: x\nworkers: {A: {}}\n", "name: x\nworkers: {a: {memory_limit: lots}}\n",
    "name: x\nworkers: {a: {resources: {GPU: -1}}}\n", "name: x\nhosts: {a: {}}\n", "name: x\nport_range: 9000\n",
    "name: x\nvariables: {A: 1}\n", "name: x\nworkers: {a: {nthreads: 0}}\n",
    "name: x\ndoor: 5\n", "name: x\ndoor: {listen: 0}\n", "name: x\ndoor: {tls: true}\n", "name: x\ndoor: {login: false}\n",
    "name: x\ndoor: {login: {forward_auth: here}}\n", "name: x\ndoor: {allow: 10.0.0.0/8}\n",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_the_schema_accepts_what_is_right(text):
    jsonschema.validate(yaml.safe_load(text), json_schema())


@pytest.mark.parametrize("text", BAD)
def test_the_schema_refuses_what_is_wrong(text):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), json_schema())
    with pytest.raises(SpecError):
        parse(text, {})


def test_the_schema_carries_what_an_editor_shows():
    schema = json_schema()
    assert schema["properties"]["name"]["description"].startswith("Name of the fleet")
    assert schema["properties"]["name"]["needs"] == "machine"
    assert schema["additionalProperties"] is False


def test_the_default_fleet_says_what_a_bare_name_leaves_open():
    from dask_fleet.layout import lay_out

    assert lay_out(parse("name: local\n", {})) == lay_out(default_spec())
