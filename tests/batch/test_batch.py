"""A batch without Ray: what is made, kept, found again and told, with the work replaced by a stand-in."""

from __future__ import annotations

import csv
import gc
import io
import itertools
import json
import sqlite3
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinmeround.batch import ledger, sheet, stores, work
from spinmeround.batch.head import COLUMNS, STAGES, Recipe, Row
from spinmeround.batch.many import HeadMaker, make_recipe
from spinmeround.batch.plan import Selection
from spinmeround.batch.run import Progress, run_batch
from spinmeround.batch.stores import FolderStore, open_store
from spinmeround.batch.table import HEADER, from_line, to_line
from spinmeround.errors import InputError, OutputError, ResourceError, SpinMeRoundError
from spinmeround.pipelines.settings import DiffusionOptions, PhotoOptions, RunSettings
from tests.batch.stand_ins import fake_reconstruct, inline, instant

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """Heads are letters; the list holds the names of those that were made."""
    made = []

    def reconstruct(photos, folder, recipe):
        made.append(photos[0].stem)
        return fake_reconstruct(photos, folder, recipe)

    monkeypatch.setattr(work, "_reconstruct", reconstruct)
    return made


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abcde":
        (folder / f"{name}.jpg").write_text("no face" if name == "c" else name)
    return folder


def batch(photos, out, executor=inline, *, selection=None, **recipe):
    return run_batch([str(photos)], Recipe(str(out), **recipe), executor, selection=selection)


def table(out: Path, name: str = "batch") -> dict[str, dict]:
    rows = parquet.read_table(out / f"{name}.parquet").to_pylist()
    assert len({row["head"] for row in rows}) == len(rows), "a head has two rows"
    with (out / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        assert {row["head"] for row in csv.DictReader(file)} == {row["head"] for row in rows}
    return {row["head"]: row for row in rows}


def test_each_head_is_a_folder_and_a_row(photos, tmp_path, caplog):
    result = batch(photos, tmp_path / "out", settings=RunSettings(seed=3, quality="draft"))
    assert (result.wanted, result.present, result.done, result.failures) == (5, 0, 4, {"NoFaceError": 1})
    rows = table(tmp_path / "out")
    assert list(rows) == list("abcde")
    for name in "abde":
        folder = tmp_path / "out" / "heads" / name
        assert (folder / "head.ply").read_text() == f"{name} 3 draft"
        row = rows[name]
        assert sorted(row["files"]) == sorted(path.name for path in folder.iterdir())
        assert row["bytes"] == sum(path.stat().st_size for path in folder.iterdir() if path.name != "head.json")
        assert (row["state"], row["verdict"], row["quality"]) == ("done", "fair", 0.4)
        assert (row["seconds_photo"], row["seconds_other"], row["seconds"], row["peak_memory_mb"]) == (
            0.5,
            2.0,
            2.5,
            700,
        )
        assert json.loads(row["options"]) == {"seed": 3, "quality": "draft"}
        assert row["photos"] == [str(photos / f"{name}.jpg")]
        assert len(row["sha256"][0]) == 64
    failed = rows["c"]
    assert (failed["state"], failed["error_kind"], failed["error"]) == ("failed", "NoFaceError", "no face found")
    assert {path.name for path in (tmp_path / "out" / "heads").iterdir()} == set("abde")
    assert not list((tmp_path / "out").glob(".unfinished/*"))
    assert "c: NoFaceError: no face found" in caplog.text


def test_the_same_again_makes_only_what_is_missing_or_changed(photos, tmp_path, letters):
    out = tmp_path / "out"
    batch(photos, out)
    before = {path: path.stat().st_mtime_ns for path in (out / "heads").rglob("*.ply")}
    letters.clear()
    assert batch(photos, out).failures == {"as before": 1}
    assert letters == []
    assert {path: path.stat().st_mtime_ns for path in (out / "heads").rglob("*.ply")} == before

    (photos / "f.jpg").write_text("f")  # new
    (photos / "a.jpg").write_text("A")  # changed
    (photos / "b.jpg").touch()  # looks changed, and is not
    (photos / "c.jpg").write_text("now a face")
    (photos / "d.jpg").write_text("no face")
    (out / "heads" / "e" / "head.ply").unlink()
    result = batch(photos, out)
    assert (result.present, result.done, result.failures) == (0, 5, {"NoFaceError": 1})
    assert letters == ["a", "c", "d", "e", "f"]
    assert (out / "heads" / "a" / "head.ply").read_text().startswith("A")
    assert before[out / "heads" / "b" / "head.ply"] == (out / "heads" / "b" / "head.ply").stat().st_mtime_ns
    assert not (out / "heads" / "d").exists(), "it shows another photo"
    assert table(out)["d"]["state"] == "failed"

    letters.clear()
    batch(photos, out, settings=RunSettings(seed=1))
    assert letters == list("abcdef")
    assert (out / "batch.csv").read_text().count("\n") == 7, "replaced rows are dropped at the end"


def test_heads_are_made_again_once_auto_takes_something_else(photos, tmp_path, letters, monkeypatch):
    out = tmp_path / "out"
    choose = "spinmeround.portrait.hair_segmentation.choose_hair_network"
    with monkeypatch.context() as patch:
        patch.setattr(choose, lambda: ("builtin", "the better network could not be fetched"))
        batch(photos, out)
    letters.clear()
    assert batch(photos, out, settings=RunSettings(photo=PhotoOptions(hair="mediapipe"))).present == 0
    assert letters == list("abcde")
    letters.clear()
    assert batch(photos, out).present == 4, "auto takes what was asked for by name just now"
    assert letters == []


def test_a_list_may_give_each_head_settings_of_its_own(photos, tmp_path):
    heads = tmp_path / "list.csv"
    heads.write_text("photo,name,seed\nphotos/a.jpg,one,1\nphotos/a.jpg,two,2\nphotos/b.jpg,wrong,x\nphotos/z.jpg,,\n")
    batch(heads, tmp_path / "out")
    rows = table(tmp_path / "out")
    made = {name: (tmp_path / "out" / "heads" / name / "head.ply").read_text() for name in ("one", "two")}
    assert made == {"one": "a 1 standard", "two": "a 2 standard"}
    assert rows["wrong"]["error"] == "seed: expected int, got 'x'"
    assert rows["z"]["error"].endswith("z.jpg: no such file")


def test_a_defect_costs_one_head_and_is_tried_again(photos, tmp_path, monkeypatch, letters):
    def broken(chosen, folder, recipe):
        if chosen[0].stem == "b":
            raise KeyError("a defect")
        return fake_reconstruct(chosen, folder, recipe)

    with monkeypatch.context() as patch:
        patch.setattr(work, "_reconstruct", broken)
        assert batch(photos, tmp_path / "out").failures == {"KeyError": 1, "NoFaceError": 1}
    assert table(tmp_path / "out")["b"]["error"].startswith("'a defect' (in broken, test_batch.py:")
    batch(photos, tmp_path / "out")
    assert letters == ["b"]


def test_shards_and_limits_divide_the_heads(photos, tmp_path):
    out = tmp_path / "out"
    for part in (1, 2):
        batch(photos, out, selection=Selection(shard=(part, 2)))
    parts = [set(table(out, f"batch.{part}-of-2")) for part in (1, 2)]
    assert parts[0] | parts[1] == set("abcde") and not parts[0] & parts[1]
    result = batch(photos, out)
    assert (result.present, result.failures) == (4, {"as before": 1})
    assert set(table(out)) == set("abcde"), "the whole takes over the rows of its parts"
    assert batch(photos, tmp_path / "two", selection=Selection(limit=2)).wanted == 2
    with pytest.raises(InputError, match="1/2 to 2/2"):
        Selection(shard=(3, 2))


@pytest.mark.parametrize("kept", [0, 10, 200, -30, -1])
def test_a_run_that_was_killed_goes_on(photos, tmp_path, letters, kept):
    out = tmp_path / "out"

    def killed(heads, recipe):
        yield from itertools.islice(inline(heads, recipe), 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch(photos, out, killed)
    table_file = out / "batch.csv"
    table_file.write_bytes(table_file.read_bytes()[:kept])  # as much as had reached the disk
    half = out / ".unfinished" / "d" / "1234" / "head.ply"
    half.parent.mkdir(parents=True)
    half.write_text("half")
    letters.clear()
    assert batch(photos, out).failures == {"NoFaceError": 1}
    assert letters == ["c", "d", "e"], "finished heads are known by their folders"
    assert set(table(out)) == set("abcde")
    assert not half.exists()


def test_a_damaged_row_costs_a_look_at_its_head(photos, tmp_path, letters, caplog):
    out = tmp_path / "out"
    batch(photos, out)
    lines = (out / "batch.csv").read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * 40 + b"\xff\n"
    (out / "batch.csv").write_bytes(b"".join(lines))
    letters.clear()
    assert batch(photos, out).done == 4
    assert letters == []
    assert "1 rows are damaged" in caplog.text
    assert set(table(out)) == set("abcde")


def test_a_full_disk_is_one_line_and_keeps_what_was_made(photos, tmp_path, monkeypatch, letters):
    class Full(io.FileIO):
        def write(self, data):
            return super().write(data[:10] if self.tell() > 800 else data)

    real = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "open", lambda path, *how, **more: Full(path, "ab") if "ab" in how else real(path, *how, **more)
        )
        with pytest.raises(ResourceError, match="the disk is full"):
            batch(photos, tmp_path / "out")
    made = len(letters)
    assert 0 < made < 5
    assert batch(photos, tmp_path / "out").done == 4
    assert len(letters) == 5, "no head was made twice"
    assert set(table(tmp_path / "out")) == set("abcde")


def test_a_full_disk_of_temporary_files_is_one_line(photos, tmp_path, monkeypatch):
    connect = sqlite3.connect

    def small(place):
        made = connect(place)
        made.execute("PRAGMA max_page_count = 3")
        return made

    (tmp_path / "list.csv").write_text("photo\n" + "".join(f"/photos/{index}.jpg\n" for index in range(500)))
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", small)
        with pytest.raises(ResourceError, match="no room for a batch's temporary files: database or disk is full"):
            batch(tmp_path / "list.csv", tmp_path / "out", instant)
    assert batch(tmp_path / "list.csv", tmp_path / "out", instant).done == 500


def test_two_runs_at_once_and_foreign_tables_are_refused(photos, tmp_path):
    out = tmp_path / "out"
    with _locked(out), pytest.raises(OutputError, match="another run"):
        batch(photos, out)
    (out / "batch.csv").write_text("not,our,table\n")
    with pytest.raises(InputError, match="no table of this version"):
        batch(photos, out)
    with pytest.raises(OutputError, match="cannot write"):
        batch(photos, photos / "a.jpg" / "out")


@pytest.mark.parametrize(
    ("first", "second"), [("batch.1-of-2", "batch"), ("batch", "batch.1-of-2"), ("batch.1-of-2", "batch.2-of-2")]
)
def test_a_whole_run_and_a_shard_exclude_each_other(tmp_path, monkeypatch, first, second):
    monkeypatch.setattr(stores, "_PROBE_S", 0.0)
    store = FolderStore(tmp_path)
    for _ in range(2):  # locks of runs that ended are no hindrance
        with _locked(tmp_path, first), store.workspace("a") as unfinished:
            if "batch" in (first, second):
                with pytest.raises(OutputError, match="another run"), _locked(tmp_path, second):
                    pass
            else:
                with _locked(tmp_path, second):
                    pass
            assert unfinished.exists()
        with _locked(tmp_path, second):
            pass


def _locked(out, name="batch"):
    store = FolderStore(out)
    store.prepare()
    return store.session(name, alone=name == "batch")


def test_an_object_store_holds_the_same(photos, tmp_path, letters):
    out = "memory://batches/one"
    remote = open_store(out)._files
    try:
        assert batch(photos, out).done == 4
        assert remote.cat("/batches/one/heads/a/head.ply") == b"a 0 standard"
        remote.rm("/batches/one/heads/b", recursive=True)
        (photos / "d.jpg").write_text("D")
        letters.clear()
        assert batch(photos, out).done == 4
        assert letters == ["b", "d"]
        remote.get("/batches/one/batch.parquet", str(tmp_path / "batch.parquet"))
        remote.get("/batches/one/batch.csv", str(tmp_path / "batch.csv"))
        assert set(table(tmp_path)) == set("abcde")
        assert remote.exists("/batches/one/batch.html")
        remote.put(str(photos), "/photos", recursive=True)
        assert run_batch(["memory://photos"], Recipe("memory://batches/two"), inline).done == 4
    finally:
        remote.rm("/batches", recursive=True)
        remote.rm("/photos", recursive=True)


def test_a_row_is_the_same_as_text_and_in_parquet(tmp_path):
    stages = {STAGES[0]: 1.0, "held out": 0.25, "mine": 2.0}
    row = Row(
        "é", ("a\nb,.jpg", '"'), "done", ("00",), {"seed": 1}, verdict="good", quality=0.5, reasons=("x; y",),
        seconds=3.25, stage_seconds=stages, peak_memory_mb=7, files=("head.ply",), bytes=2**40, node="n", plan="p",
    )  # fmt: skip
    line = to_line(row)
    assert line.count("\n") == 1
    back = from_line(line)
    assert back == replace(row, stage_seconds={STAGES[0]: 1.0, "held out": 0.25, "other": 2.0})
    assert from_line(to_line(replace(row, quality=None))).quality is None
    assert HEADER.strip().split(",") == list(COLUMNS)


def test_rows_take_no_memory_and_can_be_read_while_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "_SHORTEST_PAUSE_S", 0.05)
    monkeypatch.setattr(ledger, "_FRACTION_FOR_PUBLISHING", 0.2)
    count, early = 400, 200  # benchmarks/batch.py has 100,000
    heads, out = tmp_path / "list.csv", tmp_path / "out"
    heads.write_text("photo\n" + "".join(f"/photos/{index}.jpg\n" for index in range(count)))
    seen = []

    def watched(wanted, recipe):
        for index, row in enumerate(instant(wanted, recipe)):
            if index in (early, count - 1):
                with (out / "batch.csv").open(encoding="utf-8", newline="") as file:
                    assert sum(1 for _ in csv.DictReader(file)) == index
                published = parquet.read_table(out / "batch.parquet", columns=["head"]).num_rows
                gc.collect()
                seen.append((published, tracemalloc.get_traced_memory()[0]))
                tracemalloc.start()
            yield row

    try:
        run_batch([str(heads)], Recipe(str(out)), watched)
    finally:
        tracemalloc.stop()
    (published, _), (_, grown) = seen
    assert 0 < published <= early
    assert grown < 40_000, "bytes of all rows since"
    assert len(table(out)) == count


def test_the_sheet_shows_the_worst_first_and_no_name_can_end_its_script(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "MOST_HEADS", 3)
    (photos / "f.jpg").write_text("no </script> face")

    def spoken(chosen, folder, recipe):
        if chosen[0].stem == "f":
            raise InputError("</script><b>")
        return fake_reconstruct(chosen, folder, recipe)

    monkeypatch.setattr(work, "_reconstruct", spoken)
    batch(photos, tmp_path / "out")
    page = (tmp_path / "out" / "batch.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 1
    data = json.loads(page.split("const {total, heads} = ")[1].split(";\n")[0])
    assert data["total"] == 6
    assert [(head[0], head[1]) for head in data["heads"]] == [("c", "failed"), ("f", "failed"), ("a", "fair")]
    assert "http" not in page


def test_progress_is_a_sentence():
    progress = Progress(1000, started=time.monotonic() - 3600)
    assert progress.sentence == "0 of 1000 heads"
    for index in range(100):
        progress.count(
            Row("", (), "failed" if index < 3 else "done", error_kind="Crashed" if index == 1 else "NoFaceError")
        )
    assert progress.sentence == "100 of 1000 heads, 100 an hour, 9.0 h left; failed: 2 NoFaceError, 1 Crashed"


def test_a_class_makes_heads_in_a_pipeline(photos, tmp_path):
    maker = HeadMaker(tmp_path / "out", settings=RunSettings(quality="draft"), formats=["ply"])
    batch = {
        "photo": np.array([str(photos / "a.jpg"), str(photos / "c.jpg")]),
        "options": [{"seed": 4}, None],
        "id": [1, 2],
    }
    result = maker(batch)
    assert result["state"].tolist() == ["done", "failed"]
    assert result["id"] == [1, 2]
    assert result["files"][0][0] == "head.ply"
    assert result["options"] == [{"seed": 4}, None]
    (made,) = (tmp_path / "out/heads").iterdir()
    assert (made / "head.ply").read_text() == "a 4 draft"
    assert maker({"photo": []}) == {"photo": []}


def test_heads_without_names_are_told_apart_by_the_paths_of_their_photos(tmp_path):
    places = [tmp_path / folder / "me.jpg" for folder in "ab"]
    for place in places:
        place.parent.mkdir()
        place.write_text("me")
    result = HeadMaker(tmp_path / "out")({"photo": [str(place) for place in places]})
    first, second = result["head"]
    assert first != second
    assert first.startswith("me-")
    assert {path.name for path in (tmp_path / "out/heads").iterdir()} == {first, second}


@pytest.mark.parametrize("mark", [b"", b"\xff", b"[]", b"{}", b'{"options": 3}'])
def test_a_head_whose_mark_cannot_be_read_is_made_again(photos, tmp_path, letters, mark):
    out = tmp_path / "out"
    batch(photos / "a.jpg", out)
    (out / "heads" / "a" / "head.json").write_bytes(mark)
    (out / "batch.csv").unlink()
    assert batch(photos / "a.jpg", out).done == 1
    assert letters == ["a", "a"]


def test_a_line_that_is_no_csv_is_a_damaged_row(photos, tmp_path, caplog):
    batch(photos, tmp_path / "out")
    with (tmp_path / "out" / "batch.csv").open("a") as file:
        file.write("x" * 200_000 + "\n")  # longer than a field of CSV may be
    assert batch(photos, tmp_path / "out").present == 4
    assert "1 rows are damaged" in caplog.text


def test_a_head_made_anew_keeps_no_file_of_the_older_in_an_object_store(tmp_path):
    store = open_store("memory://batches/anew")
    try:
        for files in (("head.ply", "hair.usdc", "head.json"), ("head.ply", "head.json")):
            folder = tmp_path / str(len(files))
            folder.mkdir()
            for name in files:
                (folder / name).write_text(name)
            store.publish(folder, "a")
            found = {path.rsplit("/", 1)[-1] for path in store._files.find("/batches/anew/heads/a")}
            assert found == set(files)
    finally:
        store._files.rm("/batches", recursive=True)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"formats": ["xyz"]}, "cannot write the extension '.xyz'"),
        ({"formats": ["usdc"]}, "needs a file of splats or a mesh"),
        ({"formats": ["ply", "usdc", "USDA"]}, "a head has one file of hair"),
        ({"formats": []}, "needs a file of splats or a mesh"),
        ({"settings": RunSettings(prior="nobody")}, "nobody"),
        ({"settings": RunSettings(prior="template", diffusion=DiffusionOptions(steps=3))}, "only the diffusion prior"),
    ],
)
def test_what_no_head_could_be_made_with_is_refused_at_once(recipe, message):
    with pytest.raises(SpinMeRoundError, match=message):
        make_recipe("out", **recipe)
