"""What fritz_annotate is told: sources, keys and values of the command line or a table, with their types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.errors import ConfigError, DataError, EmptySelectionError, MissingColumnError
from scope_ml.services.fritz.wanted import Wanted
from scope_ml.stages.fritz_annotate import FritzAnnotate, _rows, _Sources

GIVEN: dict[str, Any] = {
    "action": "post",
    "obj_id": "ZTFJ1",
    "origin": "SCoPe",
    "key": "period",
    "value": 1,
    "groups": [6],
}


def config(**values: Any) -> FritzAnnotate:
    return build(FritzAnnotate, {name: value for name, value in (GIVEN | values).items() if value is not None})


def wanted(given: FritzAnnotate) -> list[Wanted]:
    return list(_Sources(given, _rows(given), (6,)))


def of_table(path: Path, data: dict[str, Any], **values: Any) -> list[Wanted]:
    if path.suffix == ".csv":
        path.write_text(
            "\n".join([",".join(data), *(",".join(row) for row in zip(*data.values(), strict=True))]) + "\n"
        )
    else:
        pq.write_table(pa.table(data), path)
    return wanted(config(obj_id=None, value=None, path=str(path), **values))


def contents(rows: list[Wanted]) -> list[tuple[str, dict[str, Any]]]:
    return [(row.key, {one.key: one.value for one in row.annotations}) for row in rows]


@pytest.mark.parametrize("value", [1, 0.5, -3, "5", "text", "0.5", True, 2**62])
def test_a_value_keeps_its_type(value: Any) -> None:
    (row,) = wanted(config(value=value))
    (one,) = row.annotations
    assert one.value == value
    assert type(one.value) is type(value)
    assert (row.key, row.obj_id, row.group_ids, one.origin, one.key, one.mode) == (
        "ZTFJ1",
        "ZTFJ1",
        (6,),
        "SCoPe",
        "period",
        "new",
    )


@pytest.mark.parametrize(("action", "mode"), [("update", "change"), ("delete", "drop")])
def test_what_the_actions_do(action: str, mode: str) -> None:
    (row,) = wanted(config(action=action, value=None if action == "delete" else 1))
    assert [one.mode for one in row.annotations] == [mode]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"obj_id": None}, "either obj_id=NAME, or path=TABLE"),
        ({"path": "a.csv"}, "either obj_id=NAME, or path=TABLE"),
        ({"key": None}, r"either key=NAME, or keys=\[NAME"),
        ({"keys": ["a"]}, r"either key=NAME, or keys=\[NAME"),
        ({"groups": None}, "post needs groups"),
        ({"value": None}, "needs value="),
        ({"value": [1]}, r"value is \[1\]; a value is a number"),
        ({"value": float("nan")}, "value is nan"),
        ({"value": 2**63}, "more than 64 bits"),
        ({"action": "delete"}, "delete takes a key away"),
        ({"key": None, "keys": ["a", "b"]}, "value is that of one key"),
        ({"value_column": "x", "value": None}, "value_column is a column of a table"),
        ({"origin": " x"}, "does not begin with a letter"),
        ({"action": "remove"}, "one of post, update, delete"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises((ConfigError, DataError), match=match):
        config(**values)


def test_a_table_of_several_keys(tmp_path: Path) -> None:
    data = {"obj_id": ["a", "b", "c"], "period": ["0.5", "", "7"], "note": ["x", "5", ""]}
    rows = of_table(tmp_path / "t.csv", data, key=None, keys=["period", "note"])
    assert contents(rows) == [("a", {"period": 0.5, "note": "x"}), ("b", {"note": "5"}), ("c", {"period": 7.0})]


def test_whole_numbers_stay_whole_and_short_ones_short(tmp_path: Path) -> None:
    data = {
        "OBJ_ID": ["a", "b"],
        "gaia": pa.array([4295806720123456789, None], pa.int64()),
        "short": np.array([0.1, 0.7], np.float32),
        "flag": [True, False],
    }
    rows = of_table(tmp_path / "t.parquet", data, key=None, keys=["gaia", "short", "flag"])
    first = contents(rows)[0][1]
    assert first == {"gaia": 4295806720123456789, "short": 0.1, "flag": True}
    assert [type(value) for value in first.values()] == [int, float, bool]
    assert contents(rows)[1][1] == {"short": 0.7, "flag": False}


def test_a_column_of_another_name_and_one_value_for_all(tmp_path: Path) -> None:
    data = {"obj_id": ["a", "b"], "best": ["1", "2"]}
    assert contents(of_table(tmp_path / "t.csv", data, value_column="best")) == [
        ("a", {"period": 1}),
        ("b", {"period": 2}),
    ]
    rows = wanted(config(obj_id=None, path=str(tmp_path / "t.csv"), value="x"))
    assert contents(rows) == [("a", {"period": "x"}), ("b", {"period": "x"})]
    rows = wanted(config(obj_id=None, path=str(tmp_path / "t.csv"), action="delete", value=None))
    assert [[one.mode for one in row.annotations] for row in rows] == [["drop"], ["drop"]]


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        ({"name_of_star": ["a"], "period": [1.0]}, MissingColumnError, "lacks the column.s. obj_id"),
        ({"obj_id": ["a"], "Period": [1.0]}, MissingColumnError, "did you mean 'Period'"),
        ({"obj_id": pa.array([], pa.string()), "period": pa.array([], pa.float64())}, EmptySelectionError, "no rows"),
        ({"obj_id": ["a", None], "period": [1.0, 2.0]}, DataError, "'obj_id' is empty in row 2"),
        ({"obj_id": ["a", "b", "a "], "period": [1.0, 2.0, 1.0]}, DataError, "rows 1 and 3 are both of a"),
        ({"obj_id": ["a", "b"], "period": [1.0, float("inf")]}, DataError, "'period' in row 2 is inf"),
        ({"obj_id": ["a"], "period": [[1.0]]}, DataError, "is list"),
        ({"obj_id": ["a"], "period": pa.array([2**63], pa.uint64())}, DataError, "more than 64 bits"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(data: Any, error: type[Exception], match: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=match):
        of_table(tmp_path / "t.parquet", data)


def test_plans_of_the_same_things_go_to_the_same_place() -> None:
    assert str(config().folder) == "outputs/fritz_annotate/post_ZTFJ1_SCoPe_period"
    assert str(config(key="a/b c").folder) == "outputs/fritz_annotate/post_ZTFJ1_SCoPe_a-b-c"
    assert str(config(output="here").folder) == "here"
