"""Where Fritz is and who asks: no configuration holds a secret or says it again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from scope_ml.core.configuration import build, science_values
from scope_ml.errors import ConfigError, CredentialError
from scope_ml.services.fritz.settings import FritzConfig, token_of
from scope_ml.services.settings import AllServicesConfig, BrokerConfig, ServicesConfig

CONF = Path(__file__).parents[3] / "conf" / "service" / "fritz.yaml"
TOKEN = "0a1b2c3d-1234-4abc-9def-0123456789ab"


def test_the_conf_file_says_what_the_defaults_are():
    values = yaml.safe_load(CONF.read_text())
    assert list(values) == ["fritz"]
    assert build(FritzConfig, values["fritz"], "service.fritz") == FritzConfig()
    assert set(values["fritz"]) == set(FritzConfig.__dataclass_fields__)


def test_nothing_of_it_changes_a_result():
    assert science_values(FritzConfig(page=3)) == {}
    assert science_values(BrokerConfig()) == {"fritz": {}}
    assert science_values(AllServicesConfig()) == science_values(ServicesConfig()) | {"fritz": {}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": f"https://me:{TOKEN}@fritz.science"},
        {"url": f"https://{TOKEN}@fritz.science"},
        {"url": f"https://fritz.science?token={TOKEN}"},
        {"url": f"https://fritz.science#{TOKEN}"},
        {"token_env": TOKEN},
        {"token_env": TOKEN.replace("-", "_").replace("0a", "aa")},
        {"token_env": "a" + TOKEN.replace("-", "")[1:]},
        {"token_env": f"token {TOKEN}"},
    ],
)
def test_secrets_in_the_configuration_are_refused_and_not_repeated(wrong):
    with pytest.raises(ConfigError, match=r"service\.fritz\.(url|token_env)") as caught:
        build(FritzConfig, wrong, "service.fritz")
    text = str(caught.value)
    assert not any(part in text for part in (TOKEN, *wrong.values()) if part != wrong.get("url"))
    assert TOKEN[-12:] not in text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"url": "fritz.science"}, "is not an address"),
        ({"url": "ftp://fritz.science"}, "is not an address"),
        ({"url": "https://fritz.science/api/"}, "give that of the site, as service.fritz.url=https://fritz.science$"),
        ({"token_env": ""}, "token_env=FRITZ_TOKEN"),
        ({"page": 501}, "at most 500"),
        ({"requests_per_second": 0}, "more than 0"),
        ({"connections": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_is_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        build(FritzConfig, values, "service.fritz")


def test_the_address_has_no_slash_at_its_end():
    assert FritzConfig(url="https://fritz.science/").address == "https://fritz.science"


def test_the_token_is_looked_up_in_the_environment(monkeypatch):
    monkeypatch.setenv("FRITZ_TOKEN", f" {TOKEN}\n")
    assert token_of(FritzConfig()) == TOKEN
    monkeypatch.delenv("FRITZ_TOKEN")
    with pytest.raises(CredentialError, match=r"FRITZ_TOKEN is not set; .* export FRITZ_TOKEN=YOUR_TOKEN"):
        token_of(FritzConfig())
    with pytest.raises(CredentialError, match="export OTHER=YOUR_TOKEN"):
        token_of(FritzConfig(token_env="OTHER"), {"OTHER": "  ", "FRITZ_TOKEN": TOKEN})
    for wrong in ("1234\nX-Header: 1", "1234\t5", "12\x7f34", "ü234"):
        with pytest.raises(CredentialError, match=r"a sign|another sign") as caught:
            token_of(FritzConfig(), {"FRITZ_TOKEN": wrong})
        assert "34" not in str(caught.value)
