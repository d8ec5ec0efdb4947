"""``twotower index``: an index is built, judged, shown, and removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.recommender.conftest import world_of

from twotower.index import ExactIndex, HNSWIndex, IVFPQIndex
from twotower.recommender import Recommender

Call = Callable[..., tuple[int, str, str]]
FEW = ("--recall", "0.8", "-k", "5", "--queries", "40")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 60 users and 400 items."""
    world_of(num_users=60, num_items=400).recommender.save(tmp_path / "run" / "bundle")
    return tmp_path / "run"


@pytest.mark.parametrize(("kind", "made"), [("hnsw", HNSWIndex), ("ivf-pq", IVFPQIndex)])
def test_an_index_is_built_and_removed(call: Call, run: Path, kind: str, made: type) -> None:
    status, out, err = call("index", run, "--kind", kind, *FEW, "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    assert (found["kind"], found["folder"], found["k"], found["wanted_recall"]) == (kind, str(run / "index"), 5, 0.8)
    assert found["judged"]["num_queries"] == 20  # the other half chose
    assert found["judged"]["mean"] >= 0.8
    assert found["chosen"] in found["points"]
    assert isinstance(Recommender.load(run).index, made)
    assert isinstance(Recommender.load(run, index="exact").index, ExactIndex)
    status, out, err = call("index", run, "--kind", "exact", "--json")
    assert (status, err, json.loads(out)) == (0, "", {"kind": "exact", "removed": True})
    assert isinstance(Recommender.load(run).index, ExactIndex)
    assert json.loads(call("index", run, "--kind", "exact", "--json")[1]) == {"kind": "exact", "removed": False}


def test_what_is_shown(call: Call, run: Path) -> None:
    status, out, err = call("index", run, *FEW)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "hnsw: what each setting finds and costs (* chosen)"
    assert lines[1].split("  ")[0] == "search with"
    assert lines[1].endswith("ms alone  queries/s  x exact, alone  x exact, many")
    assert "recall@5" in lines[1]
    assert sum(" * " in line or line.partition("  ")[0].endswith("*") for line in lines[2:-3]) == 1
    assert lines[-3].startswith("of 20 users that did not choose it, it finds ")
    assert lines[-3].endswith(" of the 5 best; 0.8 was asked for")
    assert lines[-2:] == [f"index:  {run / 'index'}", f"next:   twotower serve {run}"]
    assert call("index", run, "--kind", "exact")[1] == f"{run} is searched exactly; the index is removed\n"
    assert call("index", run, "--kind", "exact")[1] == f"{run} is searched exactly, as it was\n"


def test_options_change_the_result(call: Call, run: Path) -> None:
    def queries(*options: str) -> int:
        return int(json.loads(call("index", run, *FEW, *options, "--json")[1])["judged"]["num_queries"])

    assert queries() == queries("--seed", "1") == 20
    assert queries("--queries", "60") == 30
    before = (run / "index" / "manifest.json").read_bytes()
    assert json.loads(before)["card"]["options"]["seed"] == 0
    call("index", run, *FEW, "--seed", "1")
    assert json.loads((run / "index" / "manifest.json").read_bytes())["card"]["options"]["seed"] == 1


@pytest.mark.parametrize(
    ("options", "expected", "words"),
    [
        (("--kind", "tree"), 2, "--kind must be hnsw, ivf-pq or exact; came 'tree'"),
        (("--recall", "1.5"), 2, "--recall"),
        (("--recall", "0"), 2, "recall must be above 0, and at most 1; came 0"),
        (("-k", "0"), 2, "-k"),
        (("--queries", "19"), 2, "--queries"),
        (("--latency-ms", "0.0000001", *FEW), 2, "no setting surely reaches"),
        (("--latency-ms", "fast"), 2, "--latency-ms"),
    ],
)
def test_what_can_not_be_asked(call: Call, run: Path, options: tuple[str, ...], expected: int, words: str) -> None:
    for more in ((), ("--json",)):
        status, out, err = call("index", run, *options, *more)
        assert (status, out) == (expected, "")
        assert words in err
    assert sorted(path.name for path in run.iterdir()) == ["bundle"]


def test_what_is_no_run_with_enough_users(call: Call, run: Path, finished: Path, tmp_path: Path) -> None:
    for path, expected, words in (
        (tmp_path / "nowhere", 1, "no bundle or run folder at"),
        (run / "bundle", 2, "an index lies beside one: name the folder that holds bundle/"),
        (finished, 2, "an index is tuned on at least 20 users; the model knows 10"),
    ):
        status, out, err = call("index", path)
        assert (status, out) == (expected, "")
        assert words in err
    assert not (finished / "index").exists()
    weights = run / "bundle" / "item_vectors.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    status, out, err = call("index", run, *FEW)
    assert (status, out) == (1, "")
    assert "item_vectors" in err
    shutil.rmtree(run / "bundle")
    assert call("index", run)[0] == 1
