"""Label tables: both forms, what is unknown, what is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.provenance import TableMetadata
from scope_ml.datasets.labels import merge_labels, read_labels
from scope_ml.errors import ConfigError, DataError, EmptySelectionError, FormatError, MissingColumnError
from scope_ml.io.tables import write_table
from scope_ml.taxonomy import load_classes, packaged_conf_dir

TAXONOMY = load_classes(packaged_conf_dir())

#: Neighbouring integers that are one and the same float64.
EXACT = [2**53, 2**53 + 1, 4295806720038900864, 4295806720038900865]


def write(tmp_path, columns, name="labels.parquet"):
    path = tmp_path / name
    write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path, TableMetadata(kind="labels"))
    return path


def write_text(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path, **options):
    return read_labels(path, TAXONOMY, **options)


def state(labels, row, tag):
    """1, 0 or None where unknown."""
    column = TAXONOMY.index(tag)
    return int(labels.y[row, column]) if labels.known[row, column] else None


def test_a_wide_table_is_closed_upward_and_its_other_classes_are_unknown(tmp_path):
    labels = read(write(tmp_path, {"id": ["a", "b"], "rrab": [1, 0]}))
    assert [state(labels, 0, tag) for tag in ("rrab", "rrlyr", "puls", "pnp", "vnv")] == [1, 1, 1, 1, 1]
    assert [state(labels, 1, tag) for tag in ("rrab", "rrlyr", "ea")] == [0, None, None]
    assert labels.tags == TAXONOMY.tags
    assert labels.y.dtype == np.int8
    assert labels.known.dtype == bool


def test_a_missing_label_is_unknown_never_negative(tmp_path):
    labels = read(write(tmp_path, {"id": ["a", "b", "c"], "ea": [0.0, None, float("nan")], "eb": [None] * 3}))
    assert [state(labels, row, "ea") for row in range(3)] == [0, None, None]
    assert state(labels, 0, "eb") is None


def test_an_uncertain_class_is_unknown_whatever_its_children_say(tmp_path):
    columns = {"id": ["a", "b"], "srv": [1, 0], "longt": [1, 0], "pnp": [1, 0], "uncertain_tags": ["pnp, mp", None]}
    labels = read(write(tmp_path, columns))
    assert [state(labels, 0, tag) for tag in ("srv", "longt", "vnv", "pnp", "mp")] == [1, 1, 1, None, None]
    assert [state(labels, 1, tag) for tag in ("srv", "pnp", "mp")] == [0, 0, None]


def test_an_uncertain_positive_speaks_for_no_parent(tmp_path):
    labels = read(write(tmp_path, {"id": ["a"], "ew": [1], "e": [0], "uncertain_tags": ["ew"]}))
    assert state(labels, 0, "ew") is None
    assert state(labels, 0, "e") == 0


def test_probabilities_are_positive_above_the_threshold(tmp_path):
    path = write(tmp_path, {"id": [1, 2, 3, 4], "ea": [0.25, 0.5, 0.75, 1.0]})
    assert [state(read(path), row, "ea") for row in range(4)] == [0, 0, 1, 1]
    assert [state(read(path, threshold=0.8), row, "ea") for row in range(4)] == [0, 0, 0, 1]


@pytest.mark.parametrize("name", ["labels.parquet", "labels.h5", "labels.csv"])
def test_every_format_and_every_64_bit_id_is_read_exactly(tmp_path, name):
    labels = read(write(tmp_path, {"id": EXACT, "ea": [1, 0, 1, 0]}, name))
    assert labels.id.to_pylist() == EXACT
    assert [state(labels, row, "ea") for row in range(4)] == [1, 0, 1, 0]


def test_columns_named_by_the_label_in_words_are_read_too(tmp_path):
    labels = read(write(tmp_path, {"_id": [1], "RR Lyrae": [1.0], "variable": [1.0], "period": [0.55]}))
    assert state(labels, 0, "rrlyr") == 1
    assert state(labels, 0, "pnp") == 1


def test_origin_and_place_are_kept(tmp_path):
    columns = {"id": [1, 2], "ea": [1, 0], "survey": ["asas", None], "ra": [1.5, None], "dec": [-3.0, None]}
    labels = read(write(tmp_path, columns))
    assert labels.origin.tolist() == ["asas", ""]
    np.testing.assert_array_equal(labels.ra, [1.5, np.nan])
    np.testing.assert_array_equal(labels.dec, [-3.0, np.nan])


def test_a_list_of_classes_by_id_is_a_union_and_all_else_is_negative(tmp_path):
    text = f"id,class\n{EXACT[1]},RR Lyrae\n7,eclipsing\n{EXACT[1]},rrblz\n"
    labels = read(write_text(tmp_path, text))
    assert labels.id.to_pylist() == [EXACT[1], 7]
    assert [state(labels, 0, tag) for tag in ("rrlyr", "rrblz", "pnp", "ea", "rrab")] == [1, 1, 1, 0, 0]
    assert [state(labels, 1, tag) for tag in ("e", "vnv", "rrlyr")] == [1, 1, 0]


@pytest.mark.parametrize(
    "text",
    [
        "id,class,g,r,i\n1,RR Lyrae,17.2,17.0,16.9\n2,nonvar,18.0,17.5,17.1\n",
        "id,i,e,class\n1,16.9,0.02,rrlyr\n2,17.1,0.03,nonvar\n",
        "id,class,i\n1,rrlyr,0.5\n2,nonvar,0\n",
        "id,class,e,i\n1,rrlyr,,\n2,nonvar,,\n",
    ],
)
def test_a_list_of_classes_with_magnitudes_named_like_classes_stays_a_list(tmp_path, text):
    labels = read(write_text(tmp_path, text))
    assert [state(labels, row, "rrlyr") for row in range(2)] == [1, 0]
    assert [state(labels, 0, tag) for tag in ("i", "e")] == [0, 0]


def test_a_table_of_both_forms_is_refused(tmp_path):
    path = write_text(tmp_path, "id,class,RR Lyrae,ea,g\n1,rrlyr,1,0,17.2\n2,ea,0,0.5,18.1\n")
    with pytest.raises(DataError, match=r"has a column 'class' and columns of labels \(ea, RR Lyrae\)") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_magnitude_is_no_label_and_is_told_what_its_name_means(tmp_path):
    with pytest.raises(DataError, match=r"'i' is 16\.9 in row 1; labels lie between 0 and 1; 'i' is a class here"):
        read(write_text(tmp_path, "id,rrlyr,g,r,i\n1,1,17.2,17.0,16.9\n"))


def test_a_star_of_no_class_is_negative_everywhere(tmp_path):
    labels = read(write_text(tmp_path, "id,class\n1,nonvar\n2,Non-variable\n3,ea\n"))
    assert labels.known.all()
    assert labels.y.any(axis=1).tolist() == [False, False, True]


def test_an_empty_table_is_refused(tmp_path):
    wide = pa.table({"id": pa.array([], pa.int64()), "ea": pa.array([], pa.int8())})
    long = pa.table({"id": pa.array([], pa.int64()), "class": pa.array([], pa.string())})
    for number, table in enumerate((wide, long)):
        with pytest.raises(EmptySelectionError, match="has no rows"):
            read(write(tmp_path, table, f"{number}.parquet"))


def test_what_one_row_leaves_open_another_may_assert(tmp_path):
    text = "id,class,uncertain_tags\n1,ea,emsms\n1,emsms,\n2,ea,emsms\n"
    labels = read(write_text(tmp_path, text))
    assert [state(labels, row, "emsms") for row in range(2)] == [1, None]


def test_a_list_by_position_has_no_ids_and_one_row_a_position(tmp_path):
    labels = read(write_text(tmp_path, "ra,dec,class\n10.0,-5.0,ea\n10.0,-5.0,rscvn\n359.9,89.5,mir\n"))
    assert labels.id is None
    assert len(labels) == 2
    assert [state(labels, 0, tag) for tag in ("ea", "rscvn", "mir")] == [1, 1, 0]


def test_an_unknown_class_names_value_and_line(tmp_path):
    path = write_text(tmp_path, "id,class\n1,ea\n2,RR Lyre\n")
    with pytest.raises(DataError, match=r"labels.csv, line 3: class 'RR Lyre' is unknown; did you mean 'RR Lyrae'"):
        read(path)


def test_identical_and_complementary_rows_of_a_star_are_one(tmp_path):
    columns = {"id": ["a", "b", "a", "a"], "ea": [1, 0, 1, None], "sin": [None, 0, None, 0]}
    labels = read(write(tmp_path, columns))
    assert labels.id.to_pylist() == ["a", "b"]
    assert [state(labels, 0, tag) for tag in ("ea", "e", "sin")] == [1, 1, 0]


def test_contradicting_rows_of_a_star_name_it(tmp_path):
    with pytest.raises(DataError, match=r"'star 7' has different labels in rows 1, 3"):
        read(write(tmp_path, {"id": ["star 7", "b", "star 7"], "ea": [1, 0, 0]}))


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"id": [1], "rrlyrr": [1]}, MissingColumnError, "neither a column 'class' nor .*did you mean 'rrlyr'"),
        ({"star": [1], "ea": [1]}, MissingColumnError, "lacks the column"),
        ({"id": [1.0], "ea": [1]}, DataError, "'id' is double; ids must be whole numbers or text"),
        ({"id": [1, None], "ea": [1, 1]}, DataError, "'id' has no value in row 2"),
        ({"id": [1, 2], "ea": [1, 3]}, DataError, "'ea' is 3 in row 2; labels lie between 0 and 1"),
        ({"id": [1, 2], "ea": [0.0, -0.5]}, DataError, "'ea' is -0.5 in row 2"),
        ({"id": [1], "ea": ["yes"]}, DataError, "'ea' is string; labels are 0/1"),
        ({"id": [1], "ea": [1], "uncertain_tags": ["rrlir"]}, DataError, "uncertain_tags holds 'rrlir'.*mean 'rrlyr'"),
        ({"ra": [1.0, None], "dec": [0.0, 0.0], "class": ["ea", "ea"]}, DataError, "row 2 has no position"),
        ({"ra": [1.0], "dec": [91.0], "class": ["ea"]}, DataError, "row 1 has no position"),
        ({"id": [1], "class": [None]}, DataError, "class None is unknown"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path, columns, error, message):
    with pytest.raises(error, match=message) as caught:
        read(write(tmp_path, columns))
    assert "\n" not in str(caught.value)
    assert "labels.parquet" in str(caught.value)


def test_a_missing_file_is_told_as_such(tmp_path):
    with pytest.raises(FormatError, match="does not exist"):
        read(tmp_path / "labels.csv")


def test_tables_of_ids_of_both_types_merge_as_text(tmp_path):
    one = read(write(tmp_path, {"id": EXACT[:2], "ea": [1, 0]}, "one.parquet"))
    two = read(write(tmp_path, {"id": [str(EXACT[2]), str(EXACT[1])], "eb": [1, 0]}, "two.parquet"))
    merged = merge_labels([one, two])
    assert merged.id.to_pylist() == [str(EXACT[0]), str(EXACT[1]), str(EXACT[2])]
    assert [state(merged, 1, tag) for tag in ("ea", "eb")] == [0, 0]
    assert merged.source.digest not in {one.source.digest, two.source.digest}


def test_tables_that_contradict_one_another_or_do_not_fit_are_refused(tmp_path):
    one = read(write(tmp_path, {"id": [1], "ea": [1]}, "one.parquet"))
    two = read(write(tmp_path, {"id": [1], "ea": [0]}, "two.parquet"))
    place = read(write(tmp_path, {"ra": [1.0], "dec": [1.0], "ea": [0]}, "three.parquet"))
    with pytest.raises(DataError, match=r"one.parquet and two.parquet: '1' has different labels"):
        merge_labels([one, two])
    with pytest.raises(ConfigError, match="some label tables have ids"):
        merge_labels([one, place])


def test_weights_are_those_of_the_stars(tmp_path):
    wide = read(write(tmp_path, {"id": ["a", "b", "a"], "ea": [1, 0, None], "weight": [2.0, 0.0, 2.0]}))
    assert wide.weight.tolist() == [2.0, 0.0]
    assert wide.weight.dtype == np.float32
    long = read(write_text(tmp_path, "id,class,weight\n1,ea,3\n2,nonvar,0.5\n1,emsms,3\n"))
    assert long.weight.tolist() == [3.0, 0.5]
    assert read(write_text(tmp_path, "id,class\n1,ea\n")).weight is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -2.0, -3.0], r"2 row\(s\) have no weight of 0 or more: it is -2 in row 2"),
        ([1.0, 1.0, None], r"1 row\(s\) have no weight of 0 or more: it is missing in row 3"),
        ([1.0, np.inf, 1.0], "it is inf in row 2"),
        (["1", "2", "3"], "column 'weight' is string; weights are numbers of 0 or more"),
        ([1.0, 1.0, 4.0], "'a' has weight 4 in row 3 and 1 in another; give each star one weight"),
    ],
)
def test_weights_that_are_none_are_refused_in_one_line(tmp_path, weights, message):
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path, {"id": ["a", "b", "a"], "ea": [1, 0, 1], "weight": weights}))
    assert "\n" not in str(caught.value)


def test_labels_off_the_voters_grid_are_probabilities_and_counted(tmp_path):
    labels = read(write(tmp_path, {"id": [1, 2, 3, 4], "ea": [0.25, 0.6, 1.0, None], "eb": [0.1, 0.75, 0.5, 0.99]}))
    assert labels.n_off_grid == 3
    assert [state(labels, row, "ea") for row in range(4)] == [0, 1, 1, None]
    assert [state(labels, row, "eb") for row in range(4)] == [0, 1, 0, 1]


def test_labels_outside_0_to_1_say_how_many_rows_there_are(tmp_path):
    columns = {"id": [1, 2, 3, 4], "ea": [1, -1, 9, -1]}
    with pytest.raises(DataError, match=r"3 row\(s\) hold no label: column 'ea' is -1 in row 2; labels lie between 0"):
        read(write(tmp_path, columns))


def test_merged_tables_weigh_1_where_one_of_them_does_not_say(tmp_path):
    one = read(write(tmp_path, {"id": [1], "ea": [0.6], "weight": [3.0]}, "one.parquet"))
    two = read(write(tmp_path, {"id": [2], "ea": [0.9]}, "two.parquet"))
    merged = merge_labels([one, two])
    assert merged.weight.tolist() == [3.0, 1.0]
    assert merged.n_off_grid == 2
    assert merge_labels([two, two]).weight is None
