"""Names on Fritz: one table, SCoPe's four files derived from it, files of that form read, own classes added."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_ml.errors import ConfigError
from scope_ml.models import algorithms
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir, read_class
from scope_ml.taxonomy.fritz_mappers import FritzClass, Mapper, read_mapper
from scope_ml.taxonomy.fritz_names import ALGORITHMS, NONVAR, FritzNames, load_names, mapper_of, old_mapper
from scope_ml.taxonomy.graph import Taxonomy

#: What `golden` calls its columns and Fritz its classes, where they differ (the file of SCoPe 0.9.5).
GOLDEN = {
    "pulsator": "Pulsating",
    "binary star": "Eclipsing",
    "detached eclipsing MS-MS": "detached MS-MS",
    "W UMa": "W Ursae Maj",
    "RR Lyrae ab": "RRab",
    "RR Lyrae c": "RRc",
    "Delta Scu": "Delta Scuti",
    "RR Lyrae d": "RRd",
    "Cepheid type-II": "Population II Cepheid",
    "Beta Lyr": "Beta Lyrae",
    "RR Lyrae Blazhko": "Blazhko",
    "SRV": "Semiregular",
    "W Virginis": "W Vir",
    "compact binary": "Compact Binary",
    "eclipsing WD+dM (NN Ser)": "NN Ser",
    "F": "Fundamental",
    "O": "Overtone",
    "eclipsing sdB+dM (HW Vir)": "HW Vir",
    "Redback pulsar": "Redback Pulsar",
    "CV": "Cataclysmic",
}
SAME = [
    "RR Lyrae", "Cepheid", "RS CVn", "YSO", "AGN", "RV Tau", "LPV", "Mira", "BL Her", "OSARG", "variable", "periodic",
    "multi periodic", "sinusoidal", "non-variable", "bogus", "bright star", "long timescale", "irregular", "blend",
    "eclipsing", "EW", "flaring", "ccd artifact", "EB", "sawtooth", "EA", "dipping", "wrong period", "double period",
    "half period", "ellipsoidal", "extended",
]  # fmt: skip

#: Columns of `fritz` that the spec names, with their labels.
TRAINED_1015 = {
    "puls": "Pulsating", "rrlyr": "RR Lyrae", "ceph": "Cepheid", "bis": "Eclipsing", "emsms": "detached MS-MS",
    "wuma": "W Ursae Maj", "rrab": "RRab", "rrc": "RRc", "dscu": "Delta Scuti", "rrd": "RRd",
    "ceph2": "Population II Cepheid", "rscvn": "RS CVn", "blyr": "Beta Lyrae", "yso": "YSO", "agn": "AGN", "lpv": "LPV",
    "mir": "Mira", "srv": "Semiregular", "osarg": "OSARG", "cv": "Cataclysmic", "wvir": "W Vir", "rrblz": "Blazhko",
    "blher": "BL Her",
}  # fmt: skip
TRAINED_1017 = {
    "vnv": "variable", "pnp": "periodic", "mp": "multi periodic", "sin": "sinusoidal", "nonvar": "non-variable",
    "bogus": "bogus", "bright": "bright star", "longt": "long timescale", "i": "irregular", "e": "eclipsing", "ew": "EW",
    "fla": "flaring", "eb": "EB", "saw": "sawtooth", "ea": "EA", "wp": "wrong period", "hp": "half period",
    "el": "ellipsoidal", "blend": "blend", "dip": "dipping", "dp": "double period", "ext": "extended",
}  # fmt: skip


@pytest.fixture(scope="module")
def names() -> FritzNames:
    return load_names(load_classes(packaged_conf_dir()))


def own_folder(folder: Path, table: str = "", tag: str = "gdor", kind: str = "ontological") -> Path:
    """A folder with one class of one's own, and its names."""
    (folder / "class").mkdir(parents=True)
    (folder / "class" / f"{tag}.yaml").write_text(
        f"# Gamma Doradus: slow pulsator.\ntag: {tag}\nlabel: Gamma Dor\nkind: {kind}\nparents: [puls]\n"
    )
    if table:
        (folder / "fritz").mkdir()
        (folder / "fritz" / "names.yaml").write_text(table)
    return folder


def with_own(names: FritzNames, folder: Path) -> FritzNames:
    own = {path.stem: read_class(path) for path in (folder / "class").glob("*.yaml")}
    return load_names(Taxonomy({**names.taxonomy.classes, **own}), folder)


def test_every_class_has_an_entry_and_a_tree_of_its_kind(names: FritzNames) -> None:
    from omegaconf import OmegaConf

    table = OmegaConf.load(packaged_conf_dir() / "fritz" / "names.yaml")
    tags = {path.stem for path in (packaged_conf_dir() / "class").glob("*.yaml")}
    assert set(table.names) == tags | {NONVAR}
    assert len(tags) == 52
    for tag in tags:
        name = names[tag]
        assert name is not None
        assert name.tree == names.taxonomy[tag].kind


def test_golden_is_scopes_file(names: FritzNames) -> None:
    mapper = old_mapper("golden", names)
    assert (len(mapper), len(mapper.usable)) == (55, 53)
    assert {one.column: one.label for one in mapper.usable} == GOLDEN | {name: name for name in SAME}
    assert Counter(one.taxonomy_id for one in mapper.usable) == {1011: 30, 1012: 22, 1017: 1}
    # A slip of that file, kept: it is data of an old instance.
    assert mapper["extended"].taxonomy_id == 1017
    assert [one.column for one in mapper if one.label is None] == ["nice", "niice"]


@pytest.mark.parametrize(("name", "suffix"), [("fritz", ""), ("DNN_AL", "_dnn"), ("XGB_AL", "_xgb")])
def test_files_of_trained_classes_are_scopes(names: FritzNames, name: str, suffix: str) -> None:
    mapper = old_mapper(name, names)
    assert (len(mapper), len(mapper.usable)) == (45, 45)
    assert {one.column: one.label for one in mapper if one.taxonomy_id == 1015} == {
        key + suffix: label for key, label in TRAINED_1015.items()
    }
    assert {one.column: one.label for one in mapper if one.taxonomy_id == 1017} == {
        key + suffix: label for key, label in TRAINED_1017.items()
    }


@pytest.mark.parametrize("name", ["golden", "fritz", "DNN_AL", "XGB_AL"])
def test_written_and_read_again_it_is_the_same(names: FritzNames, name: str, tmp_path: Path) -> None:
    mapper = old_mapper(name, names)
    (tmp_path / "m.json").write_text(mapper.to_json())
    read = read_mapper(tmp_path / "m.json", names=names)
    assert read.classes == mapper.classes
    assert json.loads(mapper.to_json()).keys() == set(mapper.columns)


def test_not_uploaded_columns_are_written_as_none(names: FritzNames) -> None:
    assert json.loads(old_mapper("golden", names).to_json())["nice"] == {"fritz_label": "None", "taxonomy_id": -1}


def test_case_is_never_folded(names: FritzNames) -> None:
    mapper = mapper_of(names.taxonomy, ["e", "bis"], names=names)
    assert (mapper.inverse["eclipsing"].tag, mapper.inverse["Eclipsing"].tag) == ("e", "bis")
    assert (names.labels["eclipsing"], names.labels["Eclipsing"]) == ("e", "bis")
    assert "rr lyrae" not in names.labels
    assert "ECLIPSING" not in mapper.inverse
    assert mapper_of(names.taxonomy, ["E", "RRLYR", "Vnv"], names=names).classes == ()


def test_columns_of_a_table_are_found(names: FritzNames) -> None:
    columns = [
        "id",
        "ra",
        "period",
        "rrlyr",
        "mir_dnn_shared",
        "f_xgb",
        "Delta Scu",
        "detached binary",
        NONVAR,
        "F_test",
        "i_",
    ]
    mapper = mapper_of(names.taxonomy, columns, names=names)
    assert [(one.column, one.tag) for one in mapper] == [
        ("rrlyr", "rrlyr"), ("mir_dnn_shared", "mir"), ("f_xgb", "f"), ("Delta Scu", "dscu"), ("detached binary", "ea"),
        (NONVAR, NONVAR),
    ]  # fmt: skip
    assert {one.taxonomy_id for one in mapper} == {None}
    assert mapper["mir_dnn_shared"].label == "Mira"


@given(column=st.text(max_size=12))
def test_a_column_is_about_a_class_only_if_it_is_named_so(column: str, names: FritzNames) -> None:
    found = names.word(column)
    if found is not None and found != NONVAR:
        spec = names.taxonomy[found]
        known = {found, spec.label, *spec.aliases}
        assert column in known | {f"{name}_{algorithm}" for name in known for algorithm in ALGORITHMS}


def test_algorithms_are_those_that_there_are() -> None:
    assert set(ALGORITHMS) == set(algorithms.ALGORITHMS)


def test_scores_of_two_algorithms_have_no_inverse(names: FritzNames) -> None:
    mapper = mapper_of(names.taxonomy, ["mir_dnn", "mir_xgb"], names=names)
    with pytest.raises(ConfigError, match="'mir_dnn' and 'mir_xgb' are both 'Mira'"):
        _ = mapper.inverse
    assert mapper.only(["mir_xgb"]).inverse["Mira"].column == "mir_xgb"


def test_unknown_column_is_answered_with_near_ones(names: FritzNames) -> None:
    mapper = mapper_of(names.taxonomy, ["mir_dnn", "rrlyr_dnn"], names=names)
    with pytest.raises(ConfigError, match=r"no class column 'rrlyrae_dnn'.*did you mean 'rrlyr_dnn'"):
        mapper.only(["rrlyrae_dnn"])


def test_ids_can_be_left_out(names: FritzNames) -> None:
    mapper = old_mapper("fritz", names).without_ids()
    assert {one.taxonomy_id for one in mapper} == {None}
    with pytest.raises(ConfigError, match="'vnv' has no taxonomy id"):
        mapper.to_json()


def test_unknown_old_file(names: FritzNames) -> None:
    with pytest.raises(ConfigError, match=r"no mapper is called 'goldn'.*did you mean 'golden'"):
        old_mapper("goldn", names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "cannot be read"),
        ("[]", "expected"),
        ("{}", "expected"),
        ('{"a": {"fritz_label": "x", "taxonomy_id": "1"}}', "'a' must be"),
        ('{"a": {"fritz_label": "x", "taxonomy_id": true}}', "'a' must be"),
        ('{"a": {"fritz_label": "x"}}', "'a' must be"),
        ('{"a": {"fritz_label": "x", "taxonomy_id": -1}}', "'a' has the taxonomy id -1"),
        (
            '{"a": {"fritz_label": "x", "taxonomy_id": 1}, "a": {"fritz_label": "y", "taxonomy_id": 1}}',
            "'a' is there twice",
        ),
    ],
)
def test_bad_files_are_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_mapper(tmp_path / "m.json")
    assert "\n" not in str(error.value)


def test_a_file_for_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(
        Mapper(name="m", classes=(FritzClass(column="a", label="A", taxonomy_id=1),)).to_json()
    )
    with pytest.raises(ConfigError, match="the table has no column a of mapper"):
        read_mapper(tmp_path / "m.json", columns=["b"])
    assert read_mapper(tmp_path / "m.json", columns=["a", "b"])["a"].label == "A"


def test_own_classes_are_called_by_their_label_or_as_their_folder_says(names: FritzNames, tmp_path: Path) -> None:
    plain = with_own(names, own_folder(tmp_path / "plain"))
    assert plain.labels["Gamma Dor"] == "gdor"
    named = with_own(
        names, own_folder(tmp_path / "named", "names:\n  gdor: {label: Gamma Doradus, tree: ontological}\n")
    )
    assert named.labels["Gamma Doradus"] == "gdor"
    assert mapper_of(named.taxonomy, ["gdor_xgb"], names=named)["gdor_xgb"].label == "Gamma Doradus"
    left_out = with_own(names, own_folder(tmp_path / "out", "names:\n  gdor: null\n"))
    assert left_out["gdor"] is None
    assert mapper_of(left_out.taxonomy, ["gdor"], names=left_out).usable == ()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("names:\n  gdr: {label: x, tree: ontological}\n", "names.gdr is no class; did you mean 'gdor'"),
        ("names:\n  gdor: {label: Mira, tree: ontological}\n", "'gdor' and 'mir'|'mir' and 'gdor'"),
        ("names:\n  gdor: {label: x, tree: ontologic}\n", "ontologic"),
        ("names:\n  gdor: {label: x, tree: ontological, under: pulsator}\n", "puts 'gdor' under 'pulsator'.*'puls'"),
        ("names:\n  gdor: {label: x, tree: ontological, under: vnv}\n", "puts 'gdor' under 'vnv'"),
        ("nams: {}\n", "unknown key 'nams'"),
        ("names: [\n", "cannot be read"),
    ],
)
def test_a_wrong_table_is_one_line(table: str, message: str, names: FritzNames, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        with_own(names, own_folder(tmp_path / "own", table))
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="class 'gdor' is unknown"):
        names["gdor"]
