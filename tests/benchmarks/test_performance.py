"""What was asked beside what was seen, the page and the drawing that follow, turns that are gone on with, and the runner."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
BENCHMARKS = ROOT / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"
MACHINE = {
    "cpu": "a processor",
    "cores": 2,
    "load": 0.25,
    "system": "Linux 6",
    "python": "3.11",
    "torch": "2.13",
    "commit": "c0ffee",
}
LIMIT = {"flops": 2e9, "bytes": 3e6, "bound_by": "products", "limit_s": 0.02, "share": 0.5}
MOVIES = {
    "turns": 5,
    "epochs": 10,
    "sides": {
        "ours": {"epoch_seconds": 0.2, "evaluation_seconds": 0.5, "seconds": 90.0, "recall@100": 0.25},
        "TFRS, the notebook": {"epoch_seconds": 1.2, "evaluation_seconds": 9.0, "seconds": 900.0, "recall@100": 0.24},
        "TFRS, catalogue by 2,048": {"epoch_seconds": 1.2, "evaluation_seconds": 2.4, "seconds": 504.0, "recall@100": 0.24},
    },
    "ratios": {"TFRS, the notebook": 10.0, "TFRS, catalogue by 2,048": 5.6},
    "roofline": LIMIT,
    "left_out": {"RecTools DSSM": "no wheel"},
}
FEED = {
    "rows_per_s": {"ours": 5e6, "DataLoader": 5e5, "DataLoader, whole batches": 2.5e6},
    "ratios": {"DataLoader": 10.0, "DataLoader, whole batches": 2.0},
    "roofline": LIMIT,
    "threads": 2,
}


def _module(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def _written(path: Path, results: dict[str, Any], *, quick: bool = False) -> Path:
    lines = [
        {
            "job": job,
            "quick": quick,
            "peer": True,
            "at": "2026-01-02T03:04:05+00:00",
            "machine": MACHINE | ({"device": GPU} if job.startswith("cuda ") else {}),
            "result": result,
        }
        for job, result in results.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def _rows(results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    asked = _module("asked", monkeypatch)
    return {row.key: row for row in asked.rows_of(asked.read_results(_written(tmp_path / "results.jsonl", results)))}


def _search(ours: float, flat: float, *, same: bool, queries: int = 512) -> dict[str, Any]:
    row = {"vectors": 100_000, "dim": 32, "queries": queries, "k": 100, "seconds": {"ours": ours, "FAISS flat": flat}}
    row |= {
        "same_ids": {"FAISS flat": same},
        "times_faster": {"FAISS flat": flat / ours},
        "settings": {"FAISS flat": "faiss 1, 20"},
    }
    row |= {"flops": 1e9, "read_bytes": 1e6, "bound_by": "memory", "share_of_ceiling": 0.25}
    return {"exact_search 100000x32": {"rows": [row], "threads": 2}}


def test_a_figure_reaches_the_goal_what_was_asked_or_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows({"movielens": MOVIES, "feed": FEED} | _search(0.01, 0.05, same=True), tmp_path, monkeypatch)
    assert {key: (row.seen, row.verdict) for key, row in rows.items() if row.seen is not None} == {
        "a": (10.0, "pass"),
        "e": (10.0, "FAIL"),
        "g 100 k": (5.0, "goal"),
    }
    assert rows["a"].how == "900 s and 90 s; TFRS at its best: 5.6 x; recall@100 0.2400 and 0.2500"


def test_what_no_line_holds_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows({}, tmp_path, monkeypatch)
    assert len(rows) == 15
    assert {row.verdict for row in rows.values()} == {"not measured"}


GPU = {
    "device": "cuda",
    "name": "NVIDIA T0",
    "torch": "2.13.0+cu130",
    "float32_products": "highest",
    "cuda": "13.0",
    "driver": "580.1",
}
CATALOGUE = {
    "rows_per_s": {"ours": 4e6, "SparseAdam": 1e6, "Adam": 5e5},
    "ratios": {"SparseAdam": 4.0, "Adam": 8.0},
    "peer_feeds": {"resident": 5e5, "pinned, row by row": 2e4},
    "roofline": LIMIT,
    "recall_steps": 120,
    "recall@100": {"ours": 0.3, "SparseAdam": 0.2, "Adam": 0.1, "popularity": 0.05},
    "threads": 16,
}
LOSSES = {
    "sizes": [
        {
            "batch": 65_536,
            "seconds": {"ours": 0.02, "ours, bfloat16": 0.01, "eager": 0.06},
            "bytes": {"ours": 1e8, "eager": 5.2e10},
            "memory_ratio": 520.0,
            "eager_bytes_are_counted": False,
            "roofline": {"ours": LIMIT},
        }
    ],
    "threads": 16,
}


def _on_a_gpu() -> dict[str, Any]:
    (search,) = _search(0.01, 0.05, same=True).values()
    (row,) = search["rows"]
    seconds, times = {"ours": 0.01, "matmul + topk": 0.02}, {"matmul + topk": 2.0}
    row = {**row, "seconds": seconds, "times_faster": times, "same_ids": {"matmul + topk": True}, "settings": {}}
    searched = {"rows": [row], "left_out": {"FAISS flat": "it searches on the processor"}}
    return {"cuda large_catalogue": CATALOGUE, "cuda loss": LOSSES, "cuda exact_search 100000x32": searched}


def test_a_gpu_has_figures_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows(_on_a_gpu(), tmp_path, monkeypatch)
    seen = {key: (row.seen, row.verdict, row.how) for key, row in rows.items() if row.seen is not None}
    assert seen == {
        "GPU c": (
            8.0,
            "FAIL",
            "500,000 and 4,000,000 rows/s; SparseAdam: 4.0 x; recall@100 0.1000 and 0.3000; NVIDIA T0",
        ),
        "GPU d": (520.0, "goal", "52 GB (measured) and 100 MB; NVIDIA T0"),
    }
    there = _rows({"large_catalogue": CATALOGUE}, tmp_path, monkeypatch)
    assert (there["c"].seen, there["GPU c"].seen, there["GPU c"].how) == (8.0, None, "no GPU was there")


def test_the_page_of_a_gpu_is_beside_that_of_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, asked = _module("performance_page", monkeypatch), _module("asked", monkeypatch)
    before = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    results = asked.read_results(_written(tmp_path / "results.jsonl", {"feed": FEED} | _on_a_gpu()))
    here, there = page.filled(before, results).split("## On a GPU")
    assert "a processor, 2 cores" in here
    assert "; 2 threads;" in here
    assert "NVIDIA T0" not in here.split("<!-- measured: machine -->")[1]
    assert "(c) a step" not in here
    assert "Measured on NVIDIA T0, driver 580.1, CUDA 13.0, products in float32 highest, torch 2.13.0+cu130" in there
    for line in (
        "| Adam | 500,000 | 8.0 x | 0.1000 |",
        "| 65,536 | 20 ms | 10 ms | 60 ms | does not fit | 100 MB | 52.0 GB | 1 / 520 |",
        "| 100,000 x 32, batch, k = 100 | 10 ms | 20 ms | not measured | 2.0 x | - | yes |",
        "| (c) a step, 1 M items | 2.00 GFLOP, 3.0 MB | 20 ms, products | 50% |",
        "resident: 500,000 rows/s; pinned, row by row: 20,000 rows/s",
        "FAISS flat was left out: it searches on the processor.",
    ):
        assert line in there


def test_figures_of_another_machine_are_put_beside_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, asked = _module("performance_page", monkeypatch), _module("asked", monkeypatch)
    before = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    here = {"movielens": MOVIES, "feed": FEED} | _search(0.01, 0.05, same=True)
    results = [asked.read_results(_written(tmp_path / f"{i}.jsonl", lines)) for i, lines in enumerate((here, _on_a_gpu()))]
    both = page.filled(page.filled(before, results[0]), results[1], keep=True)
    assert both == page.filled(before, results[0] | results[1])
    rows = page.rows_with(both, {})
    assert {row.key: row.seen for row in rows if row.seen is not None} == {
        "a": 10.0,
        "e": 10.0,
        "g 100 k": 5.0,
        "GPU c": 8.0,
        "GPU d": 520.0,
    }


def test_other_ids_are_no_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = _rows(_search(0.01, 0.05, same=False), tmp_path, monkeypatch)["g 100 k"]
    assert (row.seen, row.verdict) == (0.0, "FAIL")
    assert "OTHER IDS" in row.how


def test_one_query_is_not_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _rows(_search(0.01, 0.05, same=True, queries=1), tmp_path, monkeypatch)["g 100 k"].seen is None


def test_loss_and_livestream_ratios_are_those_of_their_own_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"eager": 6.0, "eager, bfloat16": 5.0, "ours": 3.0, "ours, bfloat16": 1.5}
    small = {"batch": 16_384, "seconds": seconds, "bytes": {"ours": 1e7}, "memory_ratio": 7.0, "eager_bytes_are_counted": False}
    large = {
        "batch": 65_536,
        "seconds": {"ours": 9.0},
        "bytes": {"ours": 1e8},
        "memory_ratio": 300.0,
        "eager_bytes_are_counted": True,
    }
    ours = {"train_rows_per_s": 6e4, "evaluate_seconds": 2.0, "peak_bytes": 1e9, "recall@100": 0.006}
    theirs = {"train_rows_per_s": 1e4, "evaluate_seconds": 100.0, "peak_bytes": 5e9, "recall@100": 0.005}
    ratios = {"training_ratio": 6.0, "evaluation_ratio": 50.0, "evaluation_ratio_fastest_peer": 8.0, "memory_share": 0.2}
    livestream = {"ours": ours, "theirs": theirs, **ratios}
    rows = _rows({"loss": {"sizes": [small, large]}, "livestream": livestream}, tmp_path, monkeypatch)
    seen = {key: row.seen for key, row in rows.items() if row.seen is not None}
    assert seen == {
        "b training": 6.0,
        "b evaluation": 50.0,
        "b memory": 5.0,
        "d memory": 300.0,
        "d float32": 2.0,
        "d bfloat16": 4.0,
    }


def test_a_quick_measurement_counts_only_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _module("asked", monkeypatch)
    path = _written(tmp_path / "results.jsonl", {"feed": FEED}, quick=True)
    assert asked.read_results(path) == {}
    assert set(asked.read_results(path, quick=True)) == {"feed"}


def test_a_line_of_another_form_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"benchmark": "feed"}\n', encoding="utf-8")
    with pytest.raises(SystemExit, match="line 1: not a line of run_engine"):
        _module("asked", monkeypatch).read_results(path)


def test_the_page_has_a_table_between_its_markers_and_keeps_its_prose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, asked = _module("performance_page", monkeypatch), _module("asked", monkeypatch)
    before = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    results = asked.read_results(_written(tmp_path / "results.jsonl", {"movielens": MOVIES} | _search(0.01, 0.05, same=True)))
    after = page.filled(before, results)
    assert "| (a) MovieLens, 300 epochs, 60 evaluations, against TFRS | 8 / 15 | 10.0, reached | 900 s and 90 s; TFRS" in after
    assert "| TFRS, catalogue by 2,048 | 1.20 s | 2.40 s | 504 s | 5.6 x | 0.2400 |" in after
    assert "| 100,000 x 32, batch, k = 100 | 10 ms | not measured | 50 ms | - | 5.0 x | yes |" in after
    assert "RecTools DSSM was left out: no wheel." in after
    assert "a processor, 2 cores, Linux 6, Python 3.11, torch 2.13; 2 threads; load before each program at most 0.2" in after
    assert page.BLOCK.sub("", after) == page.BLOCK.sub("", before)
    assert page.filled(after, results) == after
    emptied = page.filled(after, {})
    assert emptied.count("\nnot measured\n<!-- end -->") == len(page.TABLES) - 1  # the table of what was asked says it a row
    assert "10.0," not in emptied


def test_a_page_without_a_marker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="a pair of markers"):
        _module("performance_page", monkeypatch).filled("<!-- measured: asked -->\n<!-- end -->\n", {})


def test_the_drawing_has_a_bar_for_each_figure_that_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows({"movielens": MOVIES, "feed": FEED}, tmp_path, monkeypatch)
    root = ET.fromstring(_module("ratio_drawing", monkeypatch).ratio_drawing(list(rows.values())))
    bars = [each for each in root.findall(f"{SVG}rect") if each.get("class") == "bar"]
    assert [bar.get("width") for bar in bars] == [bars[0].get("width")] * 2  # ten times, both
    assert len({bar.get("fill") for bar in bars}) == 2  # one reached what was asked, the other did not
    assert sum(text.text == "not measured" for text in root.findall(f"{SVG}text")) == len(rows) - 2
    for kind in ("asked", "goal"):
        assert sum(path.get("class") == kind for path in root.findall(f"{SVG}path")) == len(rows)


def test_turns_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, keep = _module("turns", monkeypatch).Turns, tmp_path / "turns.jsonl"
    first = turns(3, settings={"rows": 5}, keep=keep, minutes=0)
    for number in first:
        first.add({"number": number, "call": 1})
    assert (len(first.found), first.complete) == (1, False)  # no time for a second, but one is always made
    second = turns(3, settings={"rows": 5}, keep=keep, minutes=None)
    for number in second:
        second.add({"number": number, "call": 2})
    assert [(turn["number"], turn["call"]) for turn in second.found] == [(0, 1), (1, 2), (2, 2)]
    assert second.complete
    with pytest.raises(SystemExit, match="other settings"):
        turns(3, settings={"rows": 6}, keep=keep, minutes=None)


def test_the_limit_is_the_slower_of_products_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    roofline = _module("roofline", monkeypatch).roofline
    machine = {"gflops_float32": 10.0, "gflops_bfloat16": 40.0, "gigabytes_per_s": 2.0}
    bound = roofline(4.0, flops=20e9, num_bytes=2e9, machine=machine)
    assert (bound["bound_by"], bound["limit_s"], bound["share"]) == ("products", 2.0, 0.5)
    bound = roofline(4.0, flops=20e9, num_bytes=2e9, machine=machine, precision="bfloat16")
    assert (bound["bound_by"], bound["limit_s"], bound["share"]) == ("memory", 1.0, 0.25)


def test_a_process_is_timed_from_start_to_end_with_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = _module("measured", monkeypatch).timed_process
    seconds, peak = timed([sys.executable, "-c", "import time; block = b'1' * 10**8; time.sleep(.2)"])
    assert seconds >= 0.2
    assert 10**8 < peak < 2 * 10**9
    with pytest.raises(SystemExit, match=r"failed \(4\):\nno log"):
        timed([sys.executable, "-c", "import sys; print('no log', file=sys.stderr); sys.exit(4)"])


def _run_engine(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> dict[str, Any]:
    """The runner, on programs of a folder."""
    runner = _module("run_engine", monkeypatch)
    monkeypatch.setattr(runner, "BENCHMARKS", folder)
    jobs = (
        runner.Job("fast", "fast", ("--much",), ("--little",), 1),
        runner.Job("slow", "slow", (), None, 5, turns=True, folders=("peer", "log")),
    )
    monkeypatch.setattr(runner, "JOBS", jobs)
    command = ["run_engine.py", "--out", str(folder / "out.jsonl"), "--only", *(job.name for job in jobs), *more]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        runner.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return {"code": stop.value.code, **found}


def test_the_runner_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = (
        "import json, pathlib, sys\n"
        "calls = pathlib.Path(__file__).with_suffix('.calls')\n"
        "calls.open('a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "print(json.dumps({'complete': len(calls.read_text().splitlines()) > LEAST}))\n"
    )
    for name, least in (("fast", 0), ("slow", 1)):
        (tmp_path / f"{name}.py").write_text(program.replace("LEAST", str(least)), encoding="utf-8")
    first = _run_engine(monkeypatch, tmp_path, capsys, "--minutes", "0", "--peer", "--log", "a.csv")
    assert (first["code"], first["done"], first["missing"]) == (3, ["fast"], ["slow"])
    second = _run_engine(monkeypatch, tmp_path, capsys, "--peer", "--log", "a.csv")
    assert (second["code"], second["missing"]) == (0, [])
    assert (tmp_path / "fast.calls").read_text(encoding="utf-8") == "--much\n"  # once
    slow = (tmp_path / "slow.calls").read_text(encoding="utf-8").splitlines()
    assert len(slow) == 2
    assert all(call.startswith("--peer --log a.csv --keep ") for call in slow)
    quick = _run_engine(monkeypatch, tmp_path, capsys, "--quick")
    assert (quick["code"], quick["done"]) == (0, ["fast"])
    assert (tmp_path / "fast.calls").read_text(encoding="utf-8").splitlines()[-1] == "--little"


def test_the_runner_hands_a_device_on_and_records_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = "import json, sys\nprint(json.dumps({'given': sys.argv[1:]}))"
    (tmp_path / "fast.py").write_text(program, encoding="utf-8")
    runner = _module("run_engine", monkeypatch)
    monkeypatch.setattr(runner, "DEVICE_JOBS", (runner.Job("cuda fast", "fast", ("--much",), None, 1),))
    monkeypatch.setattr(runner, "_facts", lambda name: {"device": name, "name": f"a {name}"})
    found = _run_engine(monkeypatch, tmp_path, capsys, "--device", "cuda", "--only", "cuda fast")
    assert (found["code"], found["done"]) == (0, ["cuda fast"])
    line = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert line["result"] == {"given": ["--much", "--device", "cuda"]}
    assert line["machine"]["device"] == {"device": "cuda", "name": "a cuda"}
    monkeypatch.setattr(runner, "_facts", lambda name: {"device": name, "name": "another"})
    _run_engine(monkeypatch, tmp_path, capsys, "--device", "cuda", "--only", "cuda fast")
    devices = [json.loads(each)["machine"]["device"]["name"] for each in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert devices == ["a cuda", "another"]


def test_a_device_that_is_not_there_ends_the_runner_in_a_line(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "run_engine.py"), "--device", "cuda:99", "--out", str(tmp_path / "out.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("--device cuda:99: this machine has ")


def test_a_program_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fast.py").write_text("raise SystemExit('no')", encoding="utf-8")
    (tmp_path / "slow.py").write_text("print('{}')", encoding="utf-8")
    found = _run_engine(monkeypatch, tmp_path, capsys)
    assert (found["code"], found["done"], found["failed"]) == (1, ["slow"], ["fast"])


def test_acceptance_counts_what_was_not_measured_as_no_pass(tmp_path: Path) -> None:
    path = _written(tmp_path / "results.jsonl", {"movielens": MOVIES, "feed": FEED})
    command = [sys.executable, str(ROOT / "acceptance" / "engine.py"), "--results", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1  # the feed's ten times are fewer than were asked
    lines = done.stdout.splitlines()
    assert [line[:4] for line in lines if "MovieLens" in line or "feed" in line] == ["pass", "FAIL"]
    assert sum(line.endswith("not measured") and line.startswith("-") for line in lines) == 13
    assert lines[-2:] == ["13 not measured", "1 passed, 1 failed"]
