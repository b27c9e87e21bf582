"""Photos, folders, patterns and lists become heads with names of their own."""

from __future__ import annotations

import json
import logging
from pathlib import PureWindowsPath

import fsspec
import pytest

from spinmeround.batch import inputs
from spinmeround.batch.inputs import photo_name, read_entries, safe_name
from spinmeround.batch.plan import distinct_heads
from spinmeround.batch.settings import differing, with_options
from spinmeround.errors import InputError
from spinmeround.pipelines.settings import AvatarOptions, PhotoOptions, RunSettings


@pytest.fixture
def photos(tmp_path):
    """A folder of photos, and of what is none."""
    for name in ("b.jpg", "a.PNG", "more/c d.jpeg", "more/notes.txt", ".hidden/x.jpg", "ä.webp"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "photos"


def names(*places) -> list[str]:
    return [name for name, _, _ in read_entries(map(str, places))]


def test_a_folder_is_searched_and_a_pattern_matched(photos):
    assert names(photos) == ["a", "b", "ä", "more_c_d"]
    assert names(photos / "*.jpg", photos / "more" / "c d.jpeg") == ["b", "c_d"]
    assert names(f"file://{photos}") == names(photos)
    ((_, (photo,), _),) = read_entries([str(photos / "b.jpg")])
    assert photo == str(photos / "b.jpg")


def test_a_url_is_read_as_a_disk_is(photos):
    remote = fsspec.filesystem("memory")
    remote.put(str(photos), "/inputs", recursive=True)
    remote.pipe("/inputs/list.jsonl", b'{"photo": "b.jpg", "name": "bee"}\n{"photo": "memory://elsewhere/z.jpg"}\n')
    try:
        found = {name: photo for name, (photo,), _ in read_entries(["memory://inputs/"])}
        assert set(names(photos)) <= set(found)
        assert found["b"] == "memory:///inputs/b.jpg"
        assert names("memory://inputs/*.jpg") == ["b"]
        assert [entry[:2] for entry in read_entries(["memory://inputs/list.jsonl"])] == [
            ("bee", ("memory://inputs/b.jpg",)),
            ("z", ("memory://elsewhere/z.jpg",)),
        ]
        with pytest.raises(InputError, match="no such file"):
            names("memory://inputs/none.jpg")
    finally:
        remote.rm("/inputs", recursive=True)


@pytest.mark.parametrize("out", ["photos/heads", "photos", "elsewhere"])
def test_what_the_batch_writes_is_no_photo(photos, out):
    written = photos.parent / out
    preview = written / "heads" / "b" / "preview.jpg"
    preview.parent.mkdir(parents=True)
    preview.write_text("a preview")
    assert [name for name, _, _ in read_entries([str(photos)], out=str(written))] == ["a", "b", "ä", "more_c_d"]
    found = read_entries([f"{photos}/**/*.jp*g"], out=str(written))
    assert sorted(name for name, _, _ in found) == ["b", "c_d", "x"]
    remote = fsspec.filesystem("memory")
    remote.put(str(photos), "/photos", recursive=True)
    try:
        for place in ("memory://photos", "memory://photos/**/*.jpg"):
            assert "preview" not in str(list(read_entries([place], out=f"memory://{out}")))
    finally:
        remote.rm("/photos", recursive=True)


def test_the_name_of_a_photo_may_begin_with_a_bracket(tmp_path):
    (tmp_path / "list.csv").write_text("photo\n[1] a.jpg\n")
    assert names(tmp_path / "list.csv") == ["_1_a"]


def test_a_photo_is_named_by_its_file_on_any_system(monkeypatch):
    assert photo_name("memory://inputs/a.b.jpg") == photo_name("/x/a.b.jpg") == "a.b"
    monkeypatch.setattr(inputs, "PurePath", PureWindowsPath)
    assert photo_name(r"C:\photos\a.jpg") == "a"


def test_lists_hold_photos_names_and_settings(tmp_path, caplog):
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    rows = [
        {"photos": "a.jpg;b.jpg", "name": "two/photos", "seed": "3", "photo.face": "2", "age": "40"},
        {"photos": "/c.jpg", "name": None, "seed": None, "photo.face": None, "age": None},
    ]
    expected = [
        ("two_photos", (f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg"), {"seed": "3", "photo.face": "2"}),
        ("c", ("/c.jpg",), {}),
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "list.parquet")
    (tmp_path / "list.csv").write_text(
        "photos,name,seed,photo.face,age\na.jpg;b.jpg,two/photos,3,2,40\n/c.jpg,,,,\n", encoding="utf-8-sig"
    )
    options = {"seed": "3", "photo.face": "2"}
    lines = [{"photos": ["a.jpg", "b.jpg"], "name": "two/photos", "options": options, "age": 40}, {"photo": "/c.jpg"}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with caplog.at_level(logging.WARNING):
        for name in ("list.csv", "list.parquet", "list.jsonl"):
            assert list(read_entries([str(tmp_path / name)])) == expected
    assert caplog.text.count("columns that are no settings were ignored: age") == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "face\nx.jpg\n", "row 1: no photo; a list has a column photo"),
        ("a.jsonl", "{]\n", "cannot be read as a list"),
        ("a.parquet", "no parquet", "cannot be read as a list"),
        ("a.csv", "photo,options\nx.jpg,{\n", "row 1: its options are no JSON object"),
        ("a.csv", "photo,options\nx.jpg,[1]\n", "row 1: its options are no JSON object"),
        ("a.csv", "photos\n[x.jpg\n", "row 1: its photos are no JSON list"),
        ("a.jsonl", '{"photo": "x.jpg"}\n3\n', "row 2: expected a JSON object, got 3"),
        ("a.jsonl", '{"photos": {"a": 1}}\n', "row 1: expected a list of photos"),
        ("a.csv", "photo\n", "no photos there"),
    ],
)
def test_a_broken_list_is_one_line(tmp_path, name, text, message):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        names(tmp_path / name)


@pytest.mark.parametrize("pattern", ["photos/a**", "photos/**b/*"])
def test_a_pattern_that_is_none_is_one_line(pattern):
    with pytest.raises(InputError, match=r"memory://photos/.*: Invalid pattern"):
        names(f"memory://{pattern}")


def test_each_head_is_made_once_under_a_name_of_its_own(caplog):
    entries = [
        ("a", ("x/a.jpg",), {}),
        ("A", ("y/a.jpg",), {}),
        ("a", ("x/a.jpg",), {}),
        ("a", ("x/a.jpg",), {"seed": 1}),
    ]
    heads = list(distinct_heads(entries))
    assert [head.photos for head in heads] == [("x/a.jpg",), ("y/a.jpg",), ("x/a.jpg",)]
    assert len({head.name.lower() for head in heads}) == 3
    assert heads[0].name == "a"
    assert "1 heads are listed more than once" in caplog.text
    assert [head.name for head in distinct_heads(entries)] == [head.name for head in heads]


@pytest.mark.parametrize(
    ("text", "name"), [("a/b c", "a_b_c"), ("../../etc", "_.._etc"), ("...", "head"), ("", "head"), ("é.1", "é.1")]
)
def test_names_are_folders_on_any_system(text, name):
    assert safe_name(text) == name
    assert len(safe_name("x" * 500)) == 100


def test_settings_are_read_by_dotted_name():
    options = {"seed": "7", "quality": "draft", "photo.face": 2.0, "avatar.rig": "no", "avatar.lod": "1"}
    options |= {"avatar.expression": '{"happy": 1}', "height_m": "0.3", "diffusion.identity": "me.npy"}
    settings = with_options(RunSettings(photo=PhotoOptions(neutral=True)), options)
    assert settings.photo == PhotoOptions(face=2, neutral=True)
    assert settings.avatar == AvatarOptions(rig=False, lod=1, expression={"happy": 1.0})
    assert (settings.seed, settings.quality, settings.height_m) == (7, "draft", 0.3)
    assert with_options(RunSettings(), differing(settings)) == settings
    nothing = {"seed": None, "photo.face": None, "age": None, "avatar.expression": {"happy": 1, "sad": None}}
    assert with_options(RunSettings(), nothing) == RunSettings(avatar=AvatarOptions(expression={"happy": 1.0}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qualty": "draft"}, "no setting 'qualty' \\(perhaps quality"),
        ({"quality": "best"}, "quality: expected one of draft, standard, high, got 'best'"),
        ({"photo.face": "1.5"}, "photo.face: expected"),
        ({"photo.neutral": "maybe"}, "photo.neutral: expected bool"),
        ({"mesh.faces": 3}, "no head any more"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(options, message):
    with pytest.raises(InputError, match=message):
        with_options(RunSettings(), options)
