"""Which instances are asked, and that no configuration holds a secret or says it again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from scope_ml.core.configuration import build, science_values, to_plain
from scope_ml.errors import ConfigError, CredentialError
from scope_ml.services.kowalski.settings import KowalskiConfig, KowalskiInstance, credentials

CONF = Path(__file__).parents[3] / "conf" / "service" / "kowalski.yaml"
SECRET = "sentinel-7f3a"


def test_the_conf_file_says_what_the_defaults_are():
    values = yaml.safe_load(CONF.read_text())
    assert list(values) == ["kowalski"]
    assert build(KowalskiConfig, values["kowalski"], "service.kowalski") == KowalskiConfig()
    assert to_plain(KowalskiConfig())["instances"]["gloria"] == {
        "protocol": "https",
        "host": "gloria.caltech.edu",
        "port": 443,
        "token_env": "GLORIA_INSTANCE_TOKEN",
        "username": None,
    }


def test_only_what_changes_a_result_counts_as_science():
    assert science_values(KowalskiConfig(query_limit=3)) == {"programids": [1, 2, 3]}


def test_instances_without_credentials_are_left_out():
    config = KowalskiConfig()
    usable = credentials(config, {"MELMAN_INSTANCE_TOKEN": "t", "GLORIA_INSTANCE_TOKEN": " "})
    assert list(usable) == ["melman"]
    both = KowalskiConfig(instances={"a": KowalskiInstance(host="a", username="me"), "b": KowalskiInstance(host="b")})
    assert list(credentials(both, {})) == ["a"]
    with pytest.raises(
        CredentialError,
        match="KOWALSKI_INSTANCE_TOKEN, GLORIA_INSTANCE_TOKEN, MELMAN_INSTANCE_TOKEN; type export KOWALSKI_INSTANCE_TOKEN=",
    ):
        credentials(config, {})
    with pytest.raises(CredentialError, match="token_env=KOWALSKI_INSTANCE_TOKEN"):
        credentials(KowalskiConfig(instances={"b": KowalskiInstance(host="b")}), {})


def test_credentials_are_looked_up_in_the_environment(monkeypatch):
    for variable in ("KOWALSKI_INSTANCE_TOKEN", "GLORIA_INSTANCE_TOKEN", "MELMAN_INSTANCE_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GLORIA_INSTANCE_TOKEN", "t")
    assert list(credentials(KowalskiConfig())) == ["gloria"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": f"me:{SECRET}@kowalski.caltech.edu"},
        {"host": f"{SECRET}@kowalski.caltech.edu"},
        {"host": f"https://me:{SECRET}@kowalski.caltech.edu/x"},
        {"host": f"kowalski.caltech.edu?token={SECRET}"},
        {"token_env": f"eyJ{SECRET}"},
        {"token_env": f"eyJ{SECRET}".replace("-", "_")},
        {"token_env": f"{SECRET}.b.c"},
    ],
)
def test_secrets_in_the_configuration_are_refused_and_not_repeated(wrong):
    with pytest.raises(ConfigError, match=r"service\.kowalski") as caught:
        build(KowalskiConfig, {"instances": {"kowalski": wrong}}, "service.kowalski")
    assert SECRET not in str(caught.value)
    assert SECRET.replace("-", "_") not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"instances": {}}, "names no machine"),
        ({"instances": {"a": {"host": "H"}, "b": {"host": "h"}}}, "a and b are the same machine"),
        ({"instances": {"a": {"host": "https://kowalski.caltech.edu"}}}, "not the name of a machine"),
        ({"instances": {"a": {"host": "h/x"}}}, "not the name of a machine"),
        ({"instances": {"a": {"port": 0}}}, "instances.a.port=0"),
        ({"instances": {"a": {"protocol": "ftp"}}}, "https, http"),
        ({"instances": {"a": {"password": "x"}}}, "unknown key 'service.kowalski.instances.a.password'"),
        ({"programids": []}, "names no programme"),
        ({"query_limit": 0}, "query_limit=0"),
        ({"connections": 100}, "connections=100"),
        ({"timeout_s": 0}, "timeout_s=0"),
        ({"max_time_ms": 0}, "max_time_ms=0"),
    ],
)
def test_wrong_settings_are_one_line(values, words):
    with pytest.raises(ConfigError) as caught:
        build(KowalskiConfig, values, "service.kowalski")
    assert words in str(caught.value)


def test_two_ports_of_one_machine_are_two_instances():
    config = build(
        KowalskiConfig,
        {"instances": {"a": {"host": "h", "port": 1}, "b": {"host": "h", "port": 2}}},
        "service.kowalski",
    )
    assert [one.address for one in config.instances.values()] == ["https://h:1", "https://h:2"]
