"""The folder of an export is enough: a client that has nothing of the library gives the bundle's vectors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.export.conftest import Plant, people
from tests.export.test_onnx_folder import CANDIDATE, QUERY

from twotower.export import export_onnx
from twotower.recommender import Recommender

CLIENT = Path(__file__).with_name("client.py")
FEATURES: list[dict[str, Any]] = [
    {**feature, "name": f"f{at}"} if feature["kind"] != "history" else feature for at, feature in enumerate(QUERY.values())
]


def encoded(folder: Path, tower: str, requests: list[dict[str, Any]], tmp_path: Path) -> np.ndarray:
    (tmp_path / "requests.json").write_text(json.dumps(requests))
    command = [sys.executable, str(CLIENT), str(folder), tower, str(tmp_path / "requests.json"), str(tmp_path / "vectors.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    vectors: np.ndarray = np.load(tmp_path / "vectors.npy")
    return vectors


def test_every_feature_of_a_query_at_once(plant: Plant, tmp_path: Path) -> None:
    run = plant(FEATURES, pooling="sqrt_n")
    export_onnx(run, tmp_path / "out", check_rows=3)
    recommender = Recommender.load(run)
    users = recommender.users.table.ids.to_list()
    known = [
        {**row, "history": recommender.history(user)}
        for row, user in zip(recommender.users.frame_of(users).to_dicts(), users, strict=True)
    ]
    found = encoded(tmp_path / "out", "query", known, tmp_path)
    expected = recommender.encode_queries(users).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert np.ptp(expected, axis=0).min() > 1  # it is not one vector for all


def test_somebody_of_whom_nothing_is_known(plant: Plant, tmp_path: Path) -> None:
    run = plant(FEATURES)
    export_onnx(run, tmp_path / "out", check_rows=3)
    recommender = Recommender.load(run)
    asked = ["i03", "nothing", "i04", "i30", "i05"]
    found = encoded(tmp_path / "out", "query", [{"history": asked}, {}], tmp_path)
    expected = recommender.encode_queries(histories=[asked, []]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 31])
def test_items(plant: Plant, tmp_path: Path, count: int) -> None:
    run = plant(candidate=[CANDIDATE["id"], CANDIDATE["kinds"], CANDIDATE["price"], CANDIDATE["title"]])
    export_onnx(run, tmp_path / "out", check_rows=3)
    recommender = Recommender.load(run)
    rows = recommender.catalogue.frame.drop("out").to_dicts()[:count]
    found = encoded(tmp_path / "out", "candidate", rows, tmp_path)
    assert found.shape == (count, 6)
    torch.testing.assert_close(torch.from_numpy(found), recommender.item_vectors_ND[:count], rtol=1e-5, atol=1e-4)


def test_people_lack_some_of_everything() -> None:
    assert sum(people()[name].null_count() > 0 for name in people().columns) >= 10
