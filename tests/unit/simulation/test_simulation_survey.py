"""A part of the survey: ids, labels, catalogues; independent of its neighbours."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from scope_ml.simulation.census import CENSUS, DECK_SHARES
from scope_ml.simulation.populations import deal
from scope_ml.simulation.seeds import Stream, random_stream
from scope_ml.simulation.stars import MAX_SOURCES, draw_star, light_curve_id, object_name, source_id
from scope_ml.simulation.survey import COLLECTIONS, SurveyConfig, simulate_part
from scope_ml.simulation.truth import cast_votes, label_tags
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

DECK = sum(DECK_SHARES)
TAXONOMY = load_classes(packaged_conf_dir())
PARENTS = {tag: TAXONOMY.parents(tag) for tag in TAXONOMY.tags}


@pytest.fixture(scope="module")
def deck() -> dict[str, pa.Table]:
    """One full deck of stars."""
    return simulate_part(SurveyConfig(), 0, DECK, PARENTS)


def label_matrix(labels: pa.Table) -> np.ndarray:
    return np.column_stack([labels[tag].to_numpy() for tag in TAXONOMY.tags])


def test_all_collections_are_there(deck) -> None:
    assert set(deck) == {*COLLECTIONS, "labels"}
    assert all(table.num_rows > 0 for table in deck.values())


def test_every_tag_has_members_in_one_deck(deck) -> None:
    assert label_tags(PARENTS) == TAXONOMY.tags
    totals = dict(zip(TAXONOMY.tags, label_matrix(deck["labels"]).sum(axis=0).tolist(), strict=True))
    assert {tag: total for tag, total in totals.items() if total < 2} == {}


def test_labels_are_closed_upward(deck) -> None:
    values = label_matrix(deck["labels"])
    column = {tag: number for number, tag in enumerate(TAXONOMY.tags)}
    for tag, parents in PARENTS.items():
        members = values[values[:, column[tag]] == 1]
        for parent in parents:
            assert np.all(members[:, column[parent]] == 1), f"{tag} without {parent}"


def test_a_third_of_the_stars_does_not_vary(deck) -> None:
    share = 1.0 - np.mean(deck["labels"]["vnv"].to_numpy())
    assert 0.3 < share < 0.5


def test_some_labels_are_wrong_and_some_undecided(deck) -> None:
    labels = deck["labels"]
    undecided = [text for text in labels["uncertain_tags"].to_pylist() if text]
    assert 0.1 < len(undecided) / labels.num_rows < 0.6
    assert {tag for text in undecided for tag in text.split(",")} <= set(TAXONOMY.tags)
    native_rrab = pc.equal(labels["native_class"], "rrab").to_numpy()
    assert labels["rrab"].to_numpy()[native_rrab].mean() > 0.8


def test_without_label_noise_bright_stars_get_their_own_tags() -> None:
    population = next(population for population in CENSUS if population.name == "rrab")
    for seed in range(40):
        tags, _ = cast_votes(np.random.default_rng(seed), population, ("saw",), 30.0, 0.0)
        assert tags == {"rrab", "saw"}
    wrong = [cast_votes(np.random.default_rng(seed), population, (), 30.0, 0.5)[0] for seed in range(200)]
    assert 0.35 < np.mean([tags != {"rrab"} for tags in wrong]) < 0.65


def test_variables_below_the_noise_are_often_missed() -> None:
    population = next(population for population in CENSUS if population.name == "dscu")
    votes = [cast_votes(np.random.default_rng(seed), population, (), 0.05, 0.0)[0] for seed in range(200)]
    assert 0.4 < np.mean([not tags for tags in votes]) < 0.8


def test_light_curve_ids_follow_kowalski(deck) -> None:
    table = deck["ZTF_sources"]
    ids = table["id"].to_numpy()
    assert ids.dtype == np.int64
    assert np.unique(ids).size == ids.size
    fields = {name: table[name].to_numpy().astype(np.int64) for name in ("field", "rc", "filter", "ccd", "quad")}
    rest = ids - (10**13 + fields["field"] * 10**9 + fields["rc"] * 10**7 + fields["filter"] * 10**6)
    assert np.all((rest >= 0) & (rest < 10**6))
    np.testing.assert_array_equal(fields["rc"], (fields["ccd"] - 1) * 4 + fields["quad"] - 1)


def test_numbers_in_a_quadrant_are_one_to_one() -> None:
    rng = np.random.default_rng(0)
    indices = np.unique(np.concatenate([np.arange(2000), rng.integers(0, MAX_SOURCES, 3000)]))
    star = draw_star(random_stream(1, Stream.STAR, 0), 1, 0)
    for band in range(3):
        numbers = {light_curve_id(_moved(star, int(index)), band) for index in indices}
        assert len(numbers) == indices.size
    assert len({object_name(int(index)) for index in indices}) == indices.size
    assert len({source_id(_moved(star, int(index))) for index in indices}) == indices.size


def _moved(star, index: int):
    from dataclasses import replace

    return replace(star, index=index)


def test_source_ids_join_light_curves_to_labels_and_need_64_bits(deck) -> None:
    sources, labels = set(deck["ZTF_sources"]["source_id"].to_pylist()), deck["labels"]["id"].to_pylist()
    assert len(set(labels)) == len(labels) == DECK
    assert sources <= set(labels)
    assert min(labels) > 2**53


def test_light_curves_are_sorted_and_their_counts_right(deck) -> None:
    table = deck["ZTF_sources"]
    assert table.schema.field("hjd").type == pa.list_(pa.float64())
    lengths = pc.list_value_length(table["hjd"]).to_numpy()
    np.testing.assert_array_equal(lengths, table["nobs"].to_numpy())
    for name in ("mag", "magerr", "catflags", "programid"):
        np.testing.assert_array_equal(pc.list_value_length(table[name]).to_numpy(), lengths)
    for hjd in table["hjd"].slice(0, 60):
        assert np.all(np.diff(hjd.values.to_numpy()) > 0)


def test_stars_of_a_quadrant_share_epochs_but_for_the_light_time(deck) -> None:
    table = deck["ZTF_sources"].filter(
        pc.and_(pc.equal(deck["ZTF_sources"]["field"], 764), pc.equal(deck["ZTF_sources"]["filter"], 2))
    )
    first, second = (np.asarray(table["hjd"][row].as_py()) for row in (0, 1))
    nearest = np.abs(first[:, None] - second[None, :]).min(axis=1)
    assert np.median(nearest) < 1e-4
    assert nearest.max() > 0.0


def test_gaia_ids_have_19_digits_as_strings(deck) -> None:
    ids = deck["Gaia_EDR3"]["_id"].to_pylist()
    assert all(len(identity) == 19 and identity.isdigit() and int(identity) < 2**63 for identity in ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["AllWISE", "PS1_DR1"])
def test_other_catalogue_ids_are_unique_int64(deck, name: str) -> None:
    assert deck[name].schema.field("_id").type == pa.int64()
    ids = deck[name]["_id"].to_numpy()
    assert np.unique(ids).size == ids.size
    assert ids.min() > 2**53


def test_catalogues_miss_some_stars_and_have_neighbours_of_others(deck) -> None:
    labels, gaia = deck["labels"], deck["Gaia_EDR3"]
    ra, dec = labels["ra"].to_numpy(), labels["dec"].to_numpy()
    east = (gaia["ra"].to_numpy()[:, None] - ra[None, :]) * np.cos(np.radians(dec))[None, :] * 3600.0
    north = (gaia["dec"].to_numpy()[:, None] - dec[None, :]) * 3600.0
    matches = (np.hypot(east, north) < 2.0).sum(axis=0)
    assert 0.01 < np.mean(matches == 0) < 0.15
    assert 0.005 < np.mean(matches == 2) < 0.15
    assert matches.max() == 2


def test_panstarrs_uses_its_sentinel_for_magnitude_and_error_together(deck) -> None:
    table = deck["PS1_DR1"]
    for band in "grizy":
        mag, error = table[f"{band}MeanPSFMag"].to_numpy(), table[f"{band}MeanPSFMagErr"].to_numpy()
        np.testing.assert_array_equal(mag == -999.0, error == -999.0)
        assert mag[mag != -999.0].min() > 5.0
    assert (table["gMeanPSFMag"].to_numpy() == -999.0).any()


def test_colours_follow_the_stars(deck) -> None:
    labels, gaia = deck["labels"], deck["Gaia_EDR3"]
    order = np.argsort(labels["ra"].to_numpy())
    near = order[np.clip(np.searchsorted(labels["ra"].to_numpy()[order], gaia["ra"].to_numpy()), 0, DECK - 1)]
    native = np.asarray(labels["native_class"].to_pylist())[near]
    colour = gaia["bp_rp"].to_numpy(zero_copy_only=False)
    assert np.nanmedian(colour[native == "mir"]) > np.nanmedian(colour[native == "rrab"]) + 1.0


def test_alert_candids_are_unique_and_bogus_scores_low(deck) -> None:
    alerts = deck["ZTF_alerts"]
    candid = alerts["candid"].to_numpy()
    assert candid.dtype == np.int64
    assert np.unique(candid).size == candid.size
    braai = alerts["classifications_braai"].to_numpy()
    assert braai.min() >= 0.0 and braai.max() <= 1.0
    assert np.median(braai) > 0.8
    assert (braai < 0.3).any()


def test_a_star_does_not_depend_on_its_part(deck) -> None:
    middle = simulate_part(SurveyConfig(n_sources=50_000), 100, 110, PARENTS)
    # Arrow's equals holds no NaN for equal, as a list of Python values compared as text does.
    assert str(middle["labels"].to_pylist()) == str(deck["labels"].slice(100, 10).to_pylist())
    for name, key in (("ZTF_sources", "source_id"), ("ZTF_alerts", "candid"), ("PS1_DR1", "_id")):
        part = deck[name].filter(pc.is_in(deck[name][key], value_set=middle[name][key].combine_chunks()))
        assert part.sort_by(key).combine_chunks().equals(middle[name].sort_by(key).combine_chunks()), name


def test_another_seed_is_another_sky() -> None:
    one = simulate_part(SurveyConfig(seed=1), 0, 5, PARENTS)["labels"]
    other = simulate_part(SurveyConfig(seed=2), 0, 5, PARENTS)["labels"]
    assert not one.equals(other)


def test_an_empty_part_has_the_columns_of_a_full_one(deck) -> None:
    empty = simulate_part(SurveyConfig(), 7, 7, PARENTS)
    for name, table in empty.items():
        assert table.num_rows == 0
        assert table.schema.equals(deck[name].schema), name


def test_decks_hold_every_population_in_its_share() -> None:
    dealt = [deal(3, index, DECK_SHARES) for index in range(DECK, 2 * DECK)]
    assert tuple(np.bincount(dealt)) == DECK_SHARES
    assert dealt != [deal(3, index, DECK_SHARES) for index in range(DECK)]
