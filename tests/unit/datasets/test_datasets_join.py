"""Joining: exact ids, positions, several rows a star, several surveys, built folders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.provenance import TableMetadata
from scope_ml.datasets.assemble import DatasetConfig, assemble, load_built, load_dataset, save_built
from scope_ml.datasets.dataset import LABELS_FILE, Dataset
from scope_ml.datasets.join import JoinConfig, concatenate, join
from scope_ml.datasets.labels import read_labels
from scope_ml.datasets.split import SplitConfig
from scope_ml.errors import (
    ConfigError,
    DataError,
    EmptySelectionError,
    FeatureMismatchError,
    MetadataError,
    MissingColumnError,
    OutputError,
)
from scope_ml.io.tables import read_table, write_table
from scope_ml.taxonomy import load_classes, packaged_conf_dir

TAXONOMY = load_classes(packaged_conf_dir())

#: Neighbouring integers that are one and the same float64.
EXACT = [4295806720038900864, 4295806720038900865]

ARCSEC = 1 / 3600


def features_file(tmp_path, ids, *, name="features.parquet", digest="f", **columns):
    table = pa.table({"id": ids, "period_ls": np.arange(len(ids), dtype=np.float64), **columns})
    path = tmp_path / name
    write_table(table, path, TableMetadata(kind="features", facts={"feature_digest": digest}))
    return path


def labels_file(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def joined(features, labels, config=None, **options):
    labels = read_labels(labels, TAXONOMY)
    return join(read_table(features, kind="features"), labels, config or JoinConfig(), **options)


def values(dataset, tag):
    y, known = dataset.column(tag)
    return [int(value) if sure else None for value, sure in zip(y, known, strict=True)]


@pytest.mark.parametrize("feature_type", [pa.int64(), pa.string()])
def test_ids_are_compared_exactly_whatever_their_type(tmp_path, feature_type):
    ids = pa.array([EXACT[1], EXACT[0], 5], pa.int64()).cast(feature_type)
    dataset = joined(features_file(tmp_path, ids), labels_file(tmp_path, f"id,class\n{EXACT[0]},ea\n5,eb\n"))
    assert [str(one) for one in dataset.table["id"].to_pylist()] == [str(EXACT[0]), "5"]
    assert dataset.table["id"].type == feature_type
    assert values(dataset, "ea") == [1, 0]
    assert dataset.counts["matched"] == 2
    assert dataset.counts["without_label"] == 1
    assert dataset.counts["labels_without_features"] == 0


def test_all_rows_of_a_star_get_its_label_in_the_order_of_the_features(tmp_path):
    features = features_file(tmp_path, [11, 21, 12, 31], source_id=["b", "a", "b", "c"], band=["g", "g", "r", "g"])
    dataset = joined(features, labels_file(tmp_path, "id,class\na,ea\nb,mir\nd,ea\n"))
    assert dataset.table["id"].to_pylist() == [11, 21, 12]
    assert values(dataset, "mir") == [1, 0, 1]
    assert dataset.group.tolist() == [1, 0, 1]
    assert dataset.n_stars == 2
    assert dataset.counts["labels_without_features"] == 1


def test_the_id_column_that_finds_more_is_taken(tmp_path):
    features = features_file(tmp_path, [11, 12, 13], source_id=[1, 1, 13])
    by_id = joined(features, labels_file(tmp_path, "id,class\n11,ea\n12,ea\n13,ea\n"))
    assert by_id.counts["matched"] == 3
    by_source = joined(features, labels_file(tmp_path, "id,class\n1,ea\n"))
    assert by_source.table["id"].to_pylist() == [11, 12]


def test_a_row_without_source_is_a_star_of_its_own(tmp_path):
    features = features_file(tmp_path, [11, 12, 13], source_id=pa.array([7, None, None], pa.int64()))
    dataset = joined(features, labels_file(tmp_path, "id,class\n7,ea\n12,ea\n13,ea\n"))
    assert dataset.n_stars == 3


def test_no_shared_id_names_one_of_each_side(tmp_path):
    features = features_file(tmp_path, ["ztf_1"])
    with pytest.raises(EmptySelectionError, match=r"shares no id with F: there an id is 'ztf_1' \(.*labels 77 \(int64"):
        joined(features, labels_file(tmp_path, "id,class\n77,ea\n"), name="F")


def test_ids_that_were_floats_are_refused(tmp_path):
    with pytest.raises(DataError, match="'id' is double; ids must be whole numbers or text"):
        joined(features_file(tmp_path, [1.0, 2.0]), labels_file(tmp_path, "id,class\n1,ea\n"))


def test_labels_by_position_find_all_light_curves_within_the_radius(tmp_path):
    dec = [60.0, 60.0 + 1.5 * ARCSEC, 60.0 + 2.5 * ARCSEC, -30.0]
    features = features_file(tmp_path, [1, 2, 3, 4], ra=[359.9999, 359.9999, 359.9999, 12.0], dec=dec)
    labels = labels_file(tmp_path, f"ra,dec,class\n{-0.0001 + 360 * 0},60.0,ea\n12.0,-30.0,mir\n")
    dataset = joined(features, labels)
    assert dataset.table["id"].to_pylist() == [1, 2, 4]
    assert values(dataset, "ea") == [1, 1, 0]
    # 1.5 arcsec apart, but found by one label: one star.
    assert dataset.group[0] == dataset.group[1]
    assert joined(features, labels, JoinConfig(radius_arcsec=3.0)).counts["matched"] == 4


def test_the_nearest_of_several_positions_is_taken_for_the_whole_star_and_counted(tmp_path):
    features = features_file(tmp_path, [1, 2], source_id=[9, 9], ra=[10.0, 10.0], dec=[0.2 * ARCSEC, 1.0 * ARCSEC])
    labels = labels_file(tmp_path, f"ra,dec,class\n10.0,0.0,ea\n10.0,{1.3 * ARCSEC},mir\n")
    dataset = joined(features, labels)
    assert values(dataset, "ea") == [1, 1]
    assert dataset.counts["ambiguous_positions"] == 1


def test_no_position_in_reach_says_how_far_the_nearest_is(tmp_path):
    features = features_file(tmp_path, [1], ra=[10.0], dec=[0.0])
    with pytest.raises(EmptySelectionError, match=r"within 2 arcsec.*the nearest is 36\.0 arcsec away"):
        joined(features, labels_file(tmp_path, "ra,dec,class\n10.01,0.0,ea\n"))
    with pytest.raises(MissingColumnError, match="given by position"):
        joined(features_file(tmp_path, [1]), labels_file(tmp_path, "ra,dec,class\n10.0,0.0,ea\n"))


def test_light_curves_at_one_place_are_one_star(tmp_path):
    ra = [0.00001, 359.99999, 50.0, None, None]
    features = features_file(tmp_path, [1, 2, 3, 4, 5], ra=pa.array(ra), dec=[89.99] * 5)
    labels = labels_file(tmp_path, "id,class\n" + "".join(f"{one},ea\n" for one in range(1, 6)))
    assert joined(features, labels).group.tolist() == [0, 0, 1, 2, 3]
    assert joined(features, labels, JoinConfig(group_radius_arcsec=0)).n_stars == 5


def test_groups_do_not_depend_on_the_order_of_rows(tmp_path):
    ids, sources = [3, 1, 2, 4], ["c", "a", "b", "a"]
    labels = labels_file(tmp_path, "id,class\na,ea\nb,ea\nc,ea\n")
    one = joined(features_file(tmp_path, ids, source_id=sources), labels)
    two = joined(features_file(tmp_path, ids[::-1], source_id=sources[::-1]), labels)
    assert dict(zip(one.table["id"].to_pylist(), one.group, strict=True)) == dict(
        zip(two.table["id"].to_pylist(), two.group, strict=True)
    )


def test_coordinates_come_from_the_labels_where_the_light_curves_have_none(tmp_path):
    dataset = joined(features_file(tmp_path, [1, 2]), labels_file(tmp_path, "id,class,ra,dec\n1,ea,5.5,-6.5\n2,ea,,\n"))
    assert dataset.table["ra"].to_pylist() == [5.5, None]
    assert dataset.table["dec"].to_pylist() == [-6.5, None]


def two_surveys(tmp_path, ids=("a", "b"), digests=("f", "f"), **columns):
    features, labels = [], []
    for number, (one, digest) in enumerate(zip(ids, digests, strict=True)):
        names = [f"{one}{row}" for row in range(6)]
        features.append(features_file(tmp_path, names, name=f"f{number}.parquet", digest=digest, **columns))
        text = "id,class\n" + "".join(f"{name},{'ea' if row % 2 else 'mir'}\n" for row, name in enumerate(names))
        labels.append(labels_file(tmp_path, text, name=f"l{number}.csv"))
    return features, labels


def test_surveys_are_put_together_with_their_names_and_their_ids_as_they_are(tmp_path):
    features, labels = two_surveys(tmp_path)
    dataset, split = assemble(features, labels, TAXONOMY, origins=["asas", "crts"])
    assert dataset.origin.tolist() == ["asas"] * 6 + ["crts"] * 6
    assert dataset.table["id"].to_pylist() == [f"{name}{row}" for name in "ab" for row in range(6)]
    assert dataset.n_stars == 12
    assert len(split.part) == 12
    assert [one.name for one in dataset.inputs] == ["features:asas", "labels:asas", "features:crts", "labels:crts"]


def test_ids_that_clash_are_told_apart_by_origin(tmp_path):
    features, labels = two_surveys(tmp_path, ids=("a", "a"))
    dataset, _ = assemble(features, labels, TAXONOMY, origins=["asas", "crts"])
    assert dataset.table["id"].to_pylist()[::6] == ["asas:a0", "crts:a0"]
    assert dataset.n_stars == 12


def test_two_bands_of_one_survey_in_two_files_are_the_same_stars(tmp_path):
    features, labels = two_surveys(tmp_path, ids=("a", "a"))
    dataset, split = assemble(features, labels[:1], TAXONOMY)
    assert dataset.table["id"].to_pylist()[::6] == ["a0", "a0"]
    assert dataset.group.tolist() == [*range(6), *range(6)]
    np.testing.assert_array_equal(split.part[:6], split.part[6:])


def test_a_star_of_two_surveys_at_one_place_is_one_star(tmp_path):
    place = {"ra": [float(10 * row) for row in range(6)], "dec": [0.0] * 6}
    features, labels = two_surveys(tmp_path, **place)
    dataset, _ = assemble(features, labels, TAXONOMY, origins=["asas", "crts"])
    assert dataset.n_stars == 6


def test_surveys_with_other_features_do_not_go_together(tmp_path):
    features, labels = two_surveys(tmp_path, digests=("f", "g"))
    with pytest.raises(FeatureMismatchError, match="sets asas and crts were made with different features"):
        assemble(features, labels, TAXONOMY, origins=["asas", "crts"])


def test_what_is_missing_or_does_not_add_up_is_refused(tmp_path):
    features, labels = two_surveys(tmp_path)
    with pytest.raises(ConfigError, match="no labels given; give labels=TABLE"):
        assemble(features, [], TAXONOMY)
    with pytest.raises(ConfigError, match=r"origins has 1 name\(s\) for 2 feature table"):
        assemble(features, labels, TAXONOMY, origins=["asas"])
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("id,period_ls\n1,2\n")
    with pytest.raises(MetadataError, match=r"foreign\.csv has no metadata record"):
        assemble([foreign], labels[:1], TAXONOMY)


def test_a_built_folder_comes_back_as_it_went(tmp_path):
    features, labels = two_surveys(tmp_path)
    text = "id,class,uncertain_tags\n" + "".join(f'a{row},ea,"emsms,sin"\n' for row in range(6))
    labels[0] = labels_file(tmp_path, text, name="uncertain.csv")
    dataset, split = assemble(features, labels, TAXONOMY, origins=["asas", "crts"])
    save_built(tmp_path / "built", dataset, split)
    loaded, loaded_split = load_built(tmp_path / "built")
    assert loaded.table.equals(dataset.table)
    for name in ("y", "known", "group", "origin"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(dataset, name))
    assert loaded.tags == dataset.tags
    assert loaded.counts == dataset.counts
    assert loaded.inputs == dataset.inputs
    assert loaded.facts == dataset.facts
    assert loaded.digest == dataset.digest
    assert loaded_split.digest == split.digest
    # The labels of a data set are a label table like any other.
    again = read_labels(tmp_path / "built" / LABELS_FILE, TAXONOMY)
    np.testing.assert_array_equal(again.known, dataset.known)
    np.testing.assert_array_equal(again.y * again.known, dataset.y * dataset.known)


def test_tables_of_different_runs_are_not_taken_for_a_data_set(tmp_path):
    features, labels = two_surveys(tmp_path)
    for folder, config in (("one", JoinConfig()), ("two", JoinConfig(group_radius_arcsec=0))):
        save_built(tmp_path / folder, *assemble(features, labels, TAXONOMY, join_config=config))
    (tmp_path / "one" / LABELS_FILE).write_bytes((tmp_path / "two" / LABELS_FILE).read_bytes())
    with pytest.raises(DataError, match="its tables are of different runs"):
        load_built(tmp_path / "one")


def test_a_data_set_is_given_by_tables_or_by_a_folder(tmp_path):
    features, labels = two_surveys(tmp_path)
    by_hand = DatasetConfig(features=str(features[0]), labels=str(labels[0]))
    dataset, split = load_dataset(by_hand, TAXONOMY)
    save_built(tmp_path / "built", dataset, split)
    built = DatasetConfig(path=str(tmp_path / "built"))
    assert load_dataset(built, TAXONOMY)[0].digest == dataset.digest
    with pytest.raises(ConfigError, match=r"was split with .*'seed': 42.*asked for is .*'seed': 1"):
        load_dataset(built, TAXONOMY, SplitConfig(seed=1))
    with pytest.raises(ConfigError, match="not both"):
        load_dataset(replace(by_hand, path="built"), TAXONOMY)
    with pytest.raises(ConfigError, match=r"give dataset\.features=TABLE"):
        load_dataset(DatasetConfig(), TAXONOMY)


def test_the_digest_follows_contents_and_options_not_paths(tmp_path):
    features, labels = two_surveys(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    moved = [path.rename(tmp_path / "elsewhere" / path.name) for path in (features[0], labels[0])]
    one = assemble(moved[:1], moved[1:], TAXONOMY)[0]
    features, labels = two_surveys(tmp_path)
    two = assemble(features[:1], labels[:1], TAXONOMY)[0]
    other = assemble(features[:1], labels[:1], TAXONOMY, join_config=JoinConfig(group_radius_arcsec=0.5))[0]
    assert one.digest == two.digest
    assert other.digest != one.digest


def test_the_digest_follows_what_training_sees(tmp_path):
    features, labels = two_surveys(tmp_path)
    dataset, _ = assemble(features, labels, TAXONOMY, origins=["asas", "crts"])
    ea, sin = dataset.tags.index("ea"), dataset.tags.index("sin")

    def changed(name, place, value):
        values = getattr(dataset, name).copy()
        values[place] = value
        return replace(dataset, **{name: values})

    known = changed("known", (0, sin), False)
    others = [
        changed("y", (0, ea), 1 - dataset.y[0, ea]),
        known,
        changed("group", 0, 99),
        changed("origin", 0, "sdss"),
        replace(
            dataset, table=dataset.table.set_column(0, "id", pa.array(["x", *dataset.table["id"].to_pylist()[1:]]))
        ),
        replace(dataset, config_digest="other"),
    ]
    assert len({one.digest for one in (dataset, *others)}) == 1 + len(others)
    y = known.y.copy()
    y[0, sin] = 1
    assert replace(known, y=y).digest == known.digest
    backwards = replace(dataset, tags=dataset.tags[::-1], y=dataset.y[:, ::-1], known=dataset.known[:, ::-1])
    assert backwards.digest == dataset.digest


def test_another_meaning_of_the_same_label_file_is_another_data_set(tmp_path):
    features, labels = two_surveys(tmp_path)
    labels = [labels_file(tmp_path, path.read_text().replace("ea", "eka"), name=f"own_{path.name}") for path in labels]

    def called_eka(tag):
        specs = {
            name: replace(spec, aliases=("eka",)) if name == tag else spec for name, spec in TAXONOMY.classes.items()
        }
        return type(TAXONOMY)(specs)

    one, split = assemble(features, labels, called_eka("ea"))
    two, _ = assemble(features, labels, called_eka("eb"))
    assert one.inputs == two.inputs
    assert one.config_digest == two.config_digest
    assert one.digest != two.digest
    save_built(tmp_path / "built", one, split)
    two.save(tmp_path / "built")
    with pytest.raises(DataError, match="split of another data set"):
        load_built(tmp_path / "built")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    features, labels = two_surveys(tmp_path)
    dataset, split = assemble(features, labels, TAXONOMY)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_built(tmp_path / "file", dataset, split)
    assert isinstance(dataset, Dataset)


def test_light_curves_carry_the_weight_of_their_star_through_a_built_folder(tmp_path):
    features = features_file(tmp_path, [11, 12, 13, 14], source_id=["b", "a", "b", "c"])
    plain = joined(features, labels_file(tmp_path, "id,class\na,ea\nb,mir\nc,ea\n"))
    labels = read_labels(labels_file(tmp_path, "id,class,weight\na,ea,0.5\nb,mir,2\nc,ea,0\n"), TAXONOMY)
    dataset = join(read_table(features, kind="features"), labels, JoinConfig())
    assert dataset.weight.tolist() == [2.0, 0.5, 2.0, 0.0]
    dataset.save(tmp_path / "built")
    loaded = Dataset.load(tmp_path / "built")
    np.testing.assert_array_equal(loaded.weight, dataset.weight)
    assert loaded.digest == dataset.digest
    assert replace(dataset, weight=None).digest != dataset.digest
    assert replace(dataset, weight=dataset.weight * 2).digest != dataset.digest
    assert plain.weight is None


def test_sets_without_weights_weigh_1_beside_those_with(tmp_path):
    first = joined(features_file(tmp_path, [1, 2]), labels_file(tmp_path, "id,class,weight\n1,ea,3\n2,nonvar,4\n"))
    second = joined(features_file(tmp_path, [3]), labels_file(tmp_path, "id,class\n3,ea\n"), origin="other")
    assert concatenate([first, second]).weight.tolist() == [3.0, 4.0, 1.0]
    assert concatenate([second, second]).weight is None
