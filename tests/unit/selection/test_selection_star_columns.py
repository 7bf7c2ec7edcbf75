from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from scope_ml.core.configuration import build, describe
from scope_ml.errors import ConfigError
from scope_ml.selection.star_columns import (
    light_curve_id,
    star_columns,
    star_schema,
    survey_columns,
)
from scope_ml.selection.star_rules import StarOptions, StarRules
from scope_ml.taxonomy import load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "catalogue-columns.md"
TAXONOMY = load_classes(packaged_conf_dir())
RULES = StarRules(taxonomy=TAXONOMY, algorithms=("xgb", "dnn"))


def table_of(*names: str, id_type: pa.DataType | None = None) -> pa.Schema:
    return pa.schema([("id", id_type or pa.int64()), *((name, pa.float32()) for name in names)])


def scores(*names: str, rules: StarRules = RULES) -> list[str]:
    """Return the columns of scores of the catalogue of a table with these."""
    return [column.name for column in star_columns(table_of(*names), rules) if column.group == "scores"]


def test_every_class_has_its_models_and_what_they_say_together():
    assert scores("rrlyr_dnn", "vnv_xgb", "rrlyr_xgb", "rrlyr_dnn_spread", "conflicts_xgb") == [
        *("vnv_xgb", "vnv_xgb_scatter", "vnv"),
        *("rrlyr_xgb", "rrlyr_xgb_scatter", "rrlyr_dnn", "rrlyr_dnn_spread", "rrlyr_dnn_scatter"),
        *("rrlyr", "rrlyr_disagreement"),
    ]
    plain = StarRules(taxonomy=TAXONOMY, algorithms=("xgb", "dnn"), options=StarOptions(details=False))
    assert scores("vnv_xgb", "vnv_dnn", "vnv_dnn_spread", rules=plain) == ["vnv_xgb", "vnv_dnn", "vnv"]
    # Where algorithms have been joined already.
    assert scores("ea") == ["ea", "ea_scatter"]


def test_every_column_is_described_once():
    columns = star_columns(table_of("vnv_xgb", "vnv_dnn", "ea_dnn", "ea_dnn_spread"), RULES)
    names = [column.name for column in columns]
    assert len(set(names)) == len(names)
    assert all(column.doc and "\n" not in column.doc for column in columns)
    assert names == star_schema(table_of("vnv_xgb", "vnv_dnn", "ea_dnn", "ea_dnn_spread"), RULES).names


def test_ids_keep_their_type():
    for id_type in (pa.int64(), pa.string()):
        schema = star_schema(table_of(id_type=id_type), RULES)
        assert schema.field("ids").type == pa.list_(id_type)
        assert schema.field("period_id").type == id_type
        assert schema.field("Gaia_EDR3___id").type == pa.int64()
    assert light_curve_id(pa.schema([("_id", pa.int64())])) == "_id"
    assert light_curve_id(pa.schema([("ra", pa.float64())])) is None


def test_surveys_keep_their_release():
    assert survey_columns(["id"]) == ("Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id")
    assert survey_columns(["PS1_DR2___id", "Gaia_DR3___id", "survey_id"]) == (
        *("Gaia_DR3___id", "AllWISE___id", "PS1_DR2___id"),
    )


def test_units_are_in_the_schema():
    schema = star_schema(table_of(), RULES)
    units = {field.name: field.metadata[b"unit"].decode() for field in schema if field.metadata}
    assert units == {
        **dict.fromkeys(("ra", "dec"), "deg"),
        "position_scatter": "arcsec",
        "period": "d",
        **dict.fromkeys(("mag_g", "mag_r", "mag_i"), "mag"),
    }


def test_a_class_that_is_called_as_a_column_is_refused():
    one = TAXONOMY["vnv"]
    clash = type(one)(**{**vars(one), "tag": "wide"})
    rules = StarRules(taxonomy=Taxonomy({"wide": clash}), algorithms=("xgb",))
    with pytest.raises(ConfigError, match="'wide'"):
        star_columns(table_of("wide_xgb"), rules)


def test_options_are_checked():
    assert build(StarOptions, {"combine": "weighted", "threshold": None}).combine == "weighted"
    for wrong in (
        {"combine": "sum"},
        {"threshold": 2},
        {"period_tolerance": -1},
        {"period_tolerance": 0.5},
        {"radius": 1},
    ):
        with pytest.raises(ConfigError):
            build(StarOptions, wrong)
    assert all(line.doc for line in describe(StarOptions))


def test_the_page_has_every_column():
    text = PAGE.read_text(encoding="utf-8")
    columns = star_columns(table_of("rrlyr_xgb", "rrlyr_dnn", "rrlyr_xgb_spread", "rrlyr_dnn_spread"), RULES)
    fields = star_schema(table_of("rrlyr_xgb", "rrlyr_dnn", "rrlyr_xgb_spread", "rrlyr_dnn_spread"), RULES)
    shown = {column.name: column for column in columns if "dnn" not in column.name}
    lines = [
        f"| `{name}` | {_type(fields.field(name).type)} | {column.unit} | {column.doc} |"
        for name, column in shown.items()
    ]
    missing = [line for line in lines if line not in text]
    assert not missing, "docs/how-to/catalogue-columns.md lacks\n" + "\n".join(missing)
    assert [line for line in text.splitlines() if line.startswith("| `")] == lines


def _type(dtype: pa.DataType) -> str:
    return f"list of {dtype.value_type}" if pa.types.is_list(dtype) else str(dtype)
