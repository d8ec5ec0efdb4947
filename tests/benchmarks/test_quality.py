"""Quality by published protocols: tables from files as they are passed around, popularity by hand, figures over seeds.

The files themselves are not part of this repository: what needs them is slow, and skipped where no folder is named.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.evaluation import JudgedRows
from twotower.evaluation.rank import PositiveRanks
from twotower.metrics import Ranks
from twotower.runs import Recipe, parse_recipe

FOLDER = Path(__file__).parent.parent.parent / "benchmarks" / "quality"
sys.path.insert(0, str(FOLDER))

import known_popularity  # noqa: E402 - programs that stand beside each other in their own folder
import quality_protocols  # noqa: E402
import quality_tables  # noqa: E402
import run_quality  # noqa: E402


def matrix(path: Path, rows: list[list[int]], columns: int) -> None:
    np.savez(
        path,
        indices=np.array([item for row in rows for item in row], dtype=np.int32),
        indptr=np.cumsum([0, *map(len, rows)]).astype(np.int32),
        format=np.array("csr".encode("ascii")),
        shape=np.array([len(rows), columns]),
        data=np.ones(sum(map(len, rows)), dtype=np.float32),
    )


@pytest.fixture
def gowalla_files(tmp_path: Path) -> Path:
    """Three users and five places: place 0 is the most popular, 1 and 2 tie, 3 and 4 are tested only."""
    place = tmp_path / "data" / "gowalla"
    place.mkdir(parents=True)
    matrix(place / "gowalla_train.npz", [[1, 0], [0, 2], [0]], 5)
    matrix(place / "gowalla_test.npz", [[2, 3], [1], [2]], 5)
    (place / "valid.txt").write_text("0 1\n1 2\n")
    return place


@pytest.fixture
def beauty_files(tmp_path: Path) -> Path:
    place = tmp_path / "data" / "beauty"
    place.mkdir(parents=True)
    (place / "Beauty.txt").write_text("1 1 2 3\n2 3 1 2\n3 2 1 4\n")
    return place


def test_gowalla_keeps_its_split_and_every_place(gowalla_files: Path) -> None:
    interactions, items = quality_tables.gowalla(gowalla_files)
    assert interactions.rows() == [
        (0, 0, "train"),
        (0, 1, "validation"),
        (1, 0, "train"),
        (1, 2, "validation"),
        (2, 0, "train"),
        (0, 2, "test"),
        (0, 3, "test"),
        (1, 1, "test"),
        (2, 2, "test"),
    ]
    assert items["item"].to_list() == [0, 1, 2, 3, 4]


def test_a_pair_that_is_held_out_must_be_a_train_pair(gowalla_files: Path) -> None:
    (gowalla_files / "valid.txt").write_text("0 1 4\n")
    with pytest.raises(SystemExit, match="2 pairs are held out, of which 1 are in train"):
        quality_tables.gowalla(gowalla_files)


def test_beauty_keeps_the_order_of_the_lines(beauty_files: Path) -> None:
    interactions, items = quality_tables.beauty(beauty_files)
    assert interactions["user"].to_list() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert interactions["item"].to_list() == [1, 2, 3, 3, 1, 2, 2, 1, 4]
    assert items.rows() == [(1,), (2,), (3,), (4,)]


def test_beauty_has_titles_where_they_lie_beside(beauty_files: Path) -> None:
    (beauty_files / "idgenrec_user_sequence.txt").write_text("U A B C\nV C A B\nW B A D\n")
    (beauty_files / "idgenrec_item_keywords.txt").write_text("A soap\nB blue comb\nD oil\n")
    _, items = quality_tables.beauty(beauty_files)
    assert items.rows() == [(1, "soap"), (2, "blue comb"), (3, ""), (4, "oil")]
    (beauty_files / "idgenrec_user_sequence.txt").write_text("U A B C\nV C B B\nW B A D\n")
    with pytest.raises(SystemExit, match="an item has two ids"):
        quality_tables.beauty(beauty_files)


def test_tables_are_written_once(beauty_files: Path, tmp_path: Path) -> None:
    place = quality_tables.prepare("beauty", beauty_files.parent, tmp_path / "work")
    assert pl.read_parquet(place / "interactions.parquet").height == 9
    assert quality_tables.prepare("beauty", None, tmp_path / "work") == place
    with pytest.raises(SystemExit, match="not part of this repository, and no folder was given"):
        quality_tables.prepare("gowalla", None, tmp_path / "work")
    with pytest.raises(SystemExit, match="has no folder gowalla"):
        quality_tables.prepare("gowalla", beauty_files.parent, tmp_path / "work")


def test_tables_that_were_half_written_are_made_anew(
    beauty_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(frame: pl.DataFrame, path: Path) -> None:
        path.write_bytes(b"PAR1")
        if "items" in path.name:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", half)
        with pytest.raises(KeyboardInterrupt):
            quality_tables.prepare("beauty", beauty_files.parent, tmp_path / "work")
    place = quality_tables.prepare("beauty", beauty_files.parent, tmp_path / "work")
    assert pl.read_parquet(place / "items.parquet").height > 0
    assert pl.read_parquet(place / "interactions.parquet").height > 0


def test_the_folder_is_an_argument_or_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(quality_tables.DATA_VARIABLE, raising=False)
    assert quality_tables.data_folder() is None
    monkeypatch.setenv(quality_tables.DATA_VARIABLE, "there")
    assert quality_tables.data_folder() == Path("there")
    assert quality_tables.data_folder(Path("here")) == Path("here")


def test_no_ties_are_left_and_none_is_turned_round() -> None:
    counts = torch.tensor([3, 7, 3, 0, 7])
    strict = known_popularity.in_strict_order(counts)
    assert len(set(strict.tolist())) == 5
    assert strict.argsort(descending=True).tolist() == [1, 4, 0, 2, 3]


def small(work: Path, tables: Path, split: dict[str, Any]) -> Recipe:
    return parse_recipe(
        {
            "name": "small",
            "data": {
                "interactions": {"path": str(tables / "interactions.parquet")},
                "items": {"path": str(tables / "items.parquet")},
                "columns": {"user": "user", "item": "item", "order": "row"},
            },
            "split": split,
            "query": {"features": [{"kind": "id", "column": "user"}]},
            "candidate": {"features": [{"kind": "id", "column": "item"}]},
        }
    )


def test_popularity_per_user_by_hand(gowalla_files: Path, tmp_path: Path) -> None:
    tables = quality_tables.prepare("gowalla", gowalla_files.parent, tmp_path / "work")
    recipe = small(tmp_path, tables, {"kind": "given", "column": "part"})
    # counts over all but the test rows: place 0 three times, 1 and 2 once, 3 and 4 never; what a user has is left out
    found = known_popularity.popularity_figures(recipe, unit="user", removed=True, ks=(1, 2), ties="lowest")
    # user 0 is shown 2, 3, 4 and wants 2 and 3; user 1 is shown 1, 3, 4 and wants 1; user 2 is shown 1, 2, 3, 4 and wants 2
    second = 1 / math.log2(3)
    assert found["recall@1"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["recall@2"] == pytest.approx((2 / 2 + 1 + 1) / 3)
    assert found["ndcg@2"] == pytest.approx((1 + 1 + second) / 3)
    # ties by chance: user 0's 3 is second in one of two orders, user 2's 2 first in one of two
    found = known_popularity.popularity_figures(recipe, unit="user", removed=True, ks=(1, 2))
    assert found["recall@1"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert found["recall@2"] == pytest.approx((1.5 / 2 + 1 + 1) / 3)
    assert found["ndcg@2"] == pytest.approx(((1 + second / 2) / (1 + second) + 1 + (1 + second) / 2) / 3)


def test_popularity_per_row_by_hand(beauty_files: Path, tmp_path: Path) -> None:
    tables = quality_tables.prepare("beauty", beauty_files.parent, tmp_path / "work")
    recipe = small(tmp_path, tables, {"kind": "leave_last_out"})
    # counts without every last row: item 1 three times, 2 twice, 3 once, 4 never; users 1, 2 and 3 want items 3, 2 and 4
    included = known_popularity.popularity_figures(recipe, unit="row", removed=False, ks=(1, 2, 3))
    assert (included["recall@1"], included["recall@2"], included["recall@3"]) == pytest.approx((0, 1 / 3, 2 / 3))
    removed = known_popularity.popularity_figures(recipe, unit="row", removed=True, ks=(1, 2))
    # user 1 is left with 3 and 4, user 2 with 2 and 4, user 3 with 3 and 4
    assert (removed["recall@1"], removed["recall@2"]) == pytest.approx((2 / 3, 1))
    assert removed["ndcg@2"] == pytest.approx((1 + 1 + 1 / math.log2(3)) / 3)


def test_a_known_answer_agrees_to_four_digits() -> None:
    for seen, agrees in ((0.04163, True), (0.04165, True), (0.04166, False), (0.0415, False)):
        line = known_popularity.Line("gowalla", "recall@20", True, 0.0416, seen, "lowest")
        assert line.agrees == agrees
        assert ("as known" in str(line)) == agrees


def test_every_protocol_has_its_known_answers_and_its_recipes() -> None:
    assert quality_protocols.PROTOCOLS.keys() == quality_protocols.KNOWN.keys()
    for protocol in quality_protocols.PROTOCOLS.values():
        assert all(file.exists() for file in protocol.recipes.values())
        assert set(protocol.asked) <= set(protocol.keys)
        assert protocol.goal.keys() == protocol.asked.keys()
        assert all(protocol.goal[key] >= asked for key, asked in protocol.asked.items())
        assert all(set(row.figures) <= set(protocol.keys) for row in protocol.published)


def test_values_of_rows_and_of_users() -> None:
    ranks = Ranks(np.array([0, 1, 5]), np.array([1, 1, 1]))
    judged = JudgedRows(
        rows=np.arange(3),
        user_rows=np.array([7, 7, 4]),
        item_rows=np.array([2, 3, 9]),
        warm=np.ones(3, dtype=np.bool_),
        history_lengths=np.zeros(3, dtype=np.int64),
        item_counts=np.ones(3, dtype=np.int64),
        rankers={"model": PositiveRanks(ranks, ranks)},
    )
    values, users = run_quality.unit_values(judged, "recall@1", unit="row", removed=True, catalogue_size=10)
    assert (values.tolist(), users.tolist()) == ([1, 0, 0], [7, 7, 4])
    values, users = run_quality.unit_values(judged, "recall@1", unit="user", removed=True, catalogue_size=10)
    assert (values.tolist(), users.tolist()) == ([0, 0.5], [4, 7])


def test_the_mean_and_its_interval_are_over_users_and_seeds() -> None:
    rng = np.random.default_rng(0)
    users = np.arange(400)
    of_seeds = [(rng.random(400) < share).astype(float) for share in (0.4, 0.5, 0.6)]
    found = run_quality.over_seeds(of_seeds, users)
    assert found["mean"] == pytest.approx(np.mean(of_seeds))
    assert found["seeds"] == pytest.approx([each.mean() for each in of_seeds])
    alone = run_quality.over_seeds(of_seeds[:1], users)
    assert alone["low"] < alone["mean"] < alone["high"]
    assert found["high"] - found["low"] > alone["high"] - alone["low"]  # seeds that differ by more than users do


RECIPE = """
name = "small"
[data]
interactions = { path = "nowhere" }
items = { path = "nowhere" }
[data.columns]
user = "user"
item = "item"
order = "row"
[split]
kind = "given"
column = "part"
[[query.features]]
kind = "id"
column = "user"
embedding = { dim = 4 }
[[candidate.features]]
kind = "id"
column = "item"
embedding = { dim = 4 }
[model]
layer_sizes = []
[training]
epochs = 2
early_stopping = { metric = "ndcg@2 per user removed" }
[evaluation]
ks = [2]
"""


def test_the_runner_measures_and_chooses(
    gowalla_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, work = tmp_path / "small.toml", tmp_path / "work"
    recipe.write_text(RECIPE)
    protocol = quality_protocols.Protocol(
        title="small", recipes={"small": recipe}, tables="gowalla", unit="user", removed=True, metrics=("recall@2", "ndcg@2")
    )
    known = quality_protocols.Known({"recall@2": 1.0}, ties="lowest")
    monkeypatch.setitem(quality_protocols.PROTOCOLS, "small", protocol)
    monkeypatch.setitem(quality_protocols.KNOWN, "small", (known,))
    common = ["run_quality.py", "--data", str(gowalla_files.parent), "--work", str(work), "--only", "small", "--seeds", "2"]

    monkeypatch.setattr(sys, "argv", [*common, "--validation"])
    run_quality.main()
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [len(seed["validation"]) for seed in line["seeds"]] == [2, 2]
    assert "ndcg@2 per user removed" in line["seeds"][0]["validation"][0]
    assert not (work / "runs").exists()

    monkeypatch.setattr(sys, "argv", common)
    run_quality.main()
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(line["figures"]) == {"recall@2 removed", "ndcg@2 removed"}
    assert len(line["figures"]["recall@2 removed"]["seeds"]) == 2
    assert line["popularity"] == [{"metric": "recall@2", "removed": True, "seen": 1.0, "ties": "lowest"}]
    log = (work / "logs" / "small-2.log").read_text()
    assert "select   1" in log
    assert len((work / "results.jsonl").read_text().splitlines()) == 2

    wrong = quality_protocols.Known({"recall@2": 0.9})
    monkeypatch.setitem(quality_protocols.KNOWN, "small", (wrong,))
    with pytest.raises(SystemExit, match="no figure can be trusted"):
        run_quality.main()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gowalla", "beauty"])
def test_popularity_is_what_it_is_known_to_be(name: str, tmp_path: Path) -> None:
    data = quality_tables.data_folder()
    if data is None or not (data / name).is_dir():
        pytest.skip(f"{quality_tables.DATA_VARIABLE} names no folder with {name}: it is not part of this repository")
    lines = known_popularity.check_popularity(name, data, tmp_path)
    assert len(lines) >= 2
    assert [str(line) for line in lines if not line.agrees] == []


def test_acceptance_holds_the_first_recipe_to_what_was_asked(tmp_path: Path) -> None:
    def line(recall: float, ndcg: float, *sets: str) -> str:
        figures = {
            f"{metric} removed": {"mean": mean, "low": mean - 0.01, "high": mean + 0.01, "seeds": [mean]}
            for metric, mean in (("recall@20", recall), ("ndcg@20", ndcg))
        }
        return json.dumps({"benchmark": "quality", "recipe": "gowalla", "set": sets, "figures": figures})

    path = tmp_path / "results.jsonl"
    # the newest line of the recipe as it is counts
    path.write_text("\n".join([line(0.1, 0.1), line(0.19, 0.15), line(0.2, 0.2, "training.epochs=9")]))
    program = FOLDER.parent.parent / "acceptance" / "quality.py"
    environment = {key: value for key, value in os.environ.items() if key != quality_tables.DATA_VARIABLE}
    done = subprocess.run(
        [sys.executable, str(program), "--results", str(path), "--no-tests"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [text[:4] for text in lines if "gowalla.toml" in text] == ["pass", "FAIL"]
    all_figures = sum(len(protocol.keys) * len(protocol.recipes) for protocol in quality_protocols.PROTOCOLS.values())
    assert lines[-2:] == [f"{all_figures - 2 + 2} not measured", "1 passed, 1 failed"]  # and two of live streams
    path.write_text("no line")
    done = subprocess.run([sys.executable, str(program), "--results", str(path)], capture_output=True, text=True, check=False)
    assert "not a line of run_quality.py" in done.stderr
