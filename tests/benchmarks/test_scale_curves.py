"""Curves of the cost model: what is drawn is what the model says, and what is committed is what is drawn."""

from __future__ import annotations

import importlib
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("scale_curves")


@pytest.mark.parametrize("name", ["scale_strong", "scale_weak", "scale_strong_l4"])
def test_the_committed_drawings_are_current(name: str, curves: Any) -> None:
    device, scaling = curves.DRAWINGS[name]
    committed = (ROOT / "docs" / "drawings" / f"{name}.svg").read_text(encoding="utf-8")
    drawn = curves.drawing(device, scaling, curves.curve_of(device, scaling))
    said = "python benchmarks/scale_curves.py --out docs/drawings draws them anew"
    number = re.compile(r"-?\d+(?:\.\d+)?")
    assert number.sub("0", committed) == number.sub("0", drawn), said
    # steps are played through with numbers that another version of numpy may draw differently
    ours, theirs = ([float(each) for each in number.findall(text)] for text in (drawn, committed))
    assert ours == pytest.approx(theirs, abs=1.5), said


def test_there_is_no_other_drawing(curves: Any) -> None:
    there = {path.stem for path in (ROOT / "docs" / "drawings").glob("scale_*.svg")}
    assert there == set(curves.DRAWINGS)


def test_a_drawing_has_every_kind_and_stays_on_its_sheet(curves: Any) -> None:
    device, scaling = curves.DRAWINGS["scale_strong"]
    root = ET.fromstring(curves.drawing(device, scaling, curves.curve_of(device, scaling)))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    drawn = root.findall(f"{SVG}polyline")
    assert len(drawn) == 3 + len(curves.KINDS)
    for line in drawn:
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
    assert not root.findall(f"{SVG}circle")  # there is room everywhere
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert set(curves.KINDS) <= set(words)
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.attrib["y"]) <= height


def test_points_without_room_are_marked(curves: Any) -> None:
    device, scaling = curves.DRAWINGS["scale_strong_l4"]
    curve = curves.curve_of(device, scaling)
    root = ET.fromstring(curves.drawing(device, scaling, curve))
    assert len(root.findall(f"{SVG}circle")) == sum(not point.fits for point in curve) == 3


def test_kinds_are_all_of_a_step(curves: Any) -> None:
    for point in curves.curve_of(*curves.DRAWINGS["scale_strong"]):
        assert sum(curves.seconds_by_kind(point).values()) == pytest.approx(point.plan.step.seconds)


def test_steps_played_through_say_what_the_page_says(curves: Any) -> None:
    """docs/scale.md: ranks wait for a tenth of their time at most with one batch, and half of the ids are asked for."""
    found = [curves.facts(point)["simulated"] for point in curves.curve_of(*curves.DRAWINGS["scale_strong"])]
    assert max(each["waited"] for each in found) < 0.11
    assert 0.4 < found[1]["asked"] < 0.5
    assert found[6]["fullest"] < 1.1
    assert found[10]["fullest"] > 4


def test_strong_scaling_ends_and_weak_scaling_of_all_negatives_does_not_pay(curves: Any) -> None:
    """What docs/scale.md says: more ranks stop helping one batch; a batch that grows makes every row dearer."""
    strong = [point.plan.step.rows_per_s for point in curves.curve_of(*curves.DRAWINGS["scale_strong"])]
    assert strong[3] > 6 * strong[0]
    assert strong[-1] < max(strong)
    weak = curves.curve_of(*curves.DRAWINGS["scale_weak"])
    losses = [curves.seconds_by_kind(point)["loss"] for point in weak]
    assert losses[3] == pytest.approx(8 * losses[0], rel=0.05)
