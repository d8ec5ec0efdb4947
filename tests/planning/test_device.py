"""Devices: the table, and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.planning.worlds import device

from twotower.errors import ConfigError
from twotower.planning import DEVICES, device_named, read_device


def test_the_table_has_what_data_sheets_say() -> None:
    assert DEVICES["h200"].memory_bytes == 141e9
    assert DEVICES["h200"].memory_bytes_per_s == 4.8e12
    assert (DEVICES["h100"].memory_bytes, DEVICES["h100"].bfloat16_per_s) == (80e9, 989e12)
    assert (DEVICES["a100"].link_bytes_per_s, DEVICES["a100"].float32_per_s) == (300e9, 19.5e12)
    assert (DEVICES["l4"].memory_bytes, DEVICES["l4"].memory_bytes_per_s) == (24e9, 300e9)
    assert all(found.name == name and found.source for name, found in DEVICES.items())
    assert [name for name, found in DEVICES.items() if found.is_host] == ["cpu"]


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"--device h20: no such device; did you mean 'h200'\?"):
        device_named("h20")


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    path.write_text(json.dumps(device().model_dump(mode="json")))
    assert read_device(path) == device()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"memory_bytes": 0}, "memory_bytes"),
        ({"random_access": 1.5}, "random_access"),
        ({"wires": 3}, "wires: unknown key"),
        ({"link_latency_s": "fast"}, "link_latency_s"),
        ({"ranks_per_node": 0}, "ranks_per_node"),
    ],
)
def test_a_wrong_key_is_named(changed: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    path.write_text(json.dumps({**device().model_dump(mode="json"), **changed}))
    with pytest.raises(ConfigError, match=said):
        read_device(path)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "must be JSON"), ("[1]", "must be a table"), ('{"memory_bytes": NaN}', "memory_bytes")]
)
def test_what_is_no_device(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_device(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't be read .*--measure"):
        read_device(tmp_path / "none.json")
