from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.errors import ConfigError, DataError
from scope_ml.selection.score_columns import ScoreColumn, check_scores, chosen_columns, score_columns

TAGS, ALGORITHMS = ("vnv", "e", "ea"), ("xgb", "dnn", "dnn_shared")
NAMES = ["id", "ea_dnn", "vnv_xgb", "vnv_xgb_spread", "vnv_dnn_shared", "e", "vnv", "e_mail", "conflicts_xgb"]


def test_scores_are_told_from_other_columns() -> None:
    assert score_columns(NAMES, TAGS, ALGORITHMS) == (
        ScoreColumn(name="vnv_xgb", tag="vnv", algorithm="xgb"),
        ScoreColumn(name="vnv_dnn_shared", tag="vnv", algorithm="dnn_shared"),
        ScoreColumn(name="e", tag="e", algorithm=""),
        ScoreColumn(name="ea_dnn", tag="ea", algorithm="dnn"),
    )


def test_columns_of_classes_and_algorithms_that_are_not_there() -> None:
    columns = score_columns(NAMES, TAGS, ALGORITHMS)
    chosen = chosen_columns(columns, ["nonvar"], ["dnn", "xgb"], where="p.csv")
    assert [one.name for one in chosen] == ["vnv_xgb", "ea_dnn"]
    assert chosen_columns(columns, [], [], where="p.csv") == columns
    with pytest.raises(ConfigError, match=r"p\.csv has no scores of class 'rrlyr'; it has vnv, e, ea"):
        chosen_columns(columns, ["rrlyr"], [], where="p.csv")
    with pytest.raises(ConfigError, match=r"no scores of algorithm 'dn'.*did you mean 'dnn'"):
        chosen_columns(columns, [], ["dn"], where="p.csv")


def test_scores_are_numbers_from_0_to_1() -> None:
    scores = check_scores(pa.array([0, None, 1]), "vnv", where="p.csv")
    assert scores.dtype == np.float64
    assert np.isnan(scores[1])
    assert np.isnan(check_scores(pa.nulls(2), "vnv", where="p.csv")).all()
    with pytest.raises(DataError, match=r"column 'vnv' is -0\.5 in row 2 \(1 such rows\)"):
        check_scores(pa.array([0.1, -0.5]), "vnv", where="p.csv")
    with pytest.raises(DataError, match="string"):
        check_scores(pa.array(["0.1"]), "vnv", where="p.csv")
