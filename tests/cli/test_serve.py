"""``twotower serve``: what is checked before a process starts, and what the service is told."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.served import served

from twotower.bundle import activate, publish
from twotower.cli import serve as serve_file

Call = Callable[..., tuple[int, str, str]]
TOKEN = "a-token-of-many-signs"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What a service would be started with."""
    found: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(serve_file, "serve", lambda config, **options: found.append((config, options)))
    return found


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        yield int(busy.getsockname()[1])


def test_what_is_said_and_told_by_default(call: Call, finished: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_file, "_require_free", lambda *_: None)
    status, out, err = call("serve", finished)
    assert (status, out) == (0, "")
    assert err == (
        f"twotower: serving {finished} on http://127.0.0.1:8000 "
        "(nobody may write: give --token-file for that); end with Ctrl-C\n"
    )
    [(config, options)] = told
    assert options == {"host": "127.0.0.1", "port": 8000, "workers": 1, "log_level": "info"}
    assert (config.model, config.store, config.token_file) == (finished, None, None)
    assert (config.private, config.page, config.limits.max_per_client) == (False, True, 0)


def test_every_option_arrives(
    call: Call, finished: Path, told: list[Any], token: Path, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = call(
        "serve", os.path.relpath(finished, tmp_path), "--host", "localhost", "--port", str(port), "--workers", "3",
        "--token-file", "token", "--private", "--store", "here.sqlite", "--no-page", "--max-per-client", "7",
        "--log-level", "warning",
    )  # fmt: skip
    assert (status, out) == (0, "")
    assert f"on http://localhost:{port} (writes need the token)" in err
    assert TOKEN not in err
    [(config, options)] = told
    assert options == {"host": "localhost", "port": port, "workers": 3, "log_level": "warning"}
    assert config.model.samefile(finished)
    # a worker may have another working directory
    assert (config.model.is_absolute(), config.store, config.token_file) == (True, tmp_path / "here.sqlite", token)
    assert (config.private, config.page, config.limits.max_per_client) == (True, False, 7)


def test_a_bundle_and_a_folder_of_versions_can_be_served(
    call: Call, finished: Path, told: list[Any], port: int, tmp_path: Path
) -> None:
    activate(tmp_path / "published", publish(finished / "bundle", tmp_path / "published"))
    for model in (finished / "bundle", tmp_path / "published"):
        assert call("serve", model, "--port", str(port))[0] == 0
    assert [config.model for config, _ in told] == [finished / "bundle", tmp_path / "published"]


def test_an_address_of_six_bytes_and_more(call: Call, finished: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_file, "_require_free", lambda *_: None)
    assert "on http://[::1]:8000 (" in call("serve", finished, "--host", "::1")[2]


@pytest.mark.parametrize(
    ("options", "expected", "words"),
    [
        (("--log-level", "loud"), 2, "--log-level must be debug, info, warning or error; came 'loud'"),
        (("--private",), 2, "--private needs a token: give --token-file"),
        (("--port", "0"), 2, "--port"),
        (("--port", "65536"), 2, "--port"),
        (("--port", "http"), 2, "--port"),
        (("--workers", "0"), 2, "--workers"),
        (("--max-per-client", "-1"), 2, "--max-per-client"),
        (("--json",), 2, "No such option"),
        (("--host", "no.such.host.invalid"), 2, "can't listen on no.such.host.invalid port"),
        (("--host", "203.0.113.7"), 2, "can't listen on 203.0.113.7 port"),
        (("--host", f"{'x' * 70}.example"), 2, "choose another --host or --port"),
        (("--host", "a..b"), 2, "choose another --host or --port"),
        (("--host", ""), 2, "choose another --host or --port"),
        (("--token-file", "nowhere"), 2, "token_file: nowhere can't be read"),
        (("--token-file", "."), 2, "token_file: . can't be read"),
    ],
)
def test_what_can_not_be_asked(
    call: Call,
    finished: Path,
    told: list[Any],
    options: tuple[str, ...],
    expected: int,
    words: str,
    port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = options if "--port" in options else ("--port", str(port), *options)
    status, out, err = call("serve", finished, *given)
    assert (status, out) == (expected, "")
    assert words in err
    assert told == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (TOKEN, 0o640, "others may read"),
        (TOKEN, 0o604, "chmod 600"),
        ("short", 0o600, "at least 16 printable ASCII characters"),
        ("", 0o600, "at least 16"),
        ("\n" + TOKEN, 0o600, "the first line of"),
        ("a token of several words", 0o600, "printable ASCII"),
        ("ein-Schlüssel-mit-Umlaut", 0o600, "printable ASCII"),
    ],
)
def test_token_files(
    call: Call, finished: Path, told: list[Any], token: Path, port: int, content: str, mode: int, words: str
) -> None:
    token.write_text(content)
    token.chmod(mode)
    status, out, err = call("serve", finished, "--port", str(port), "--token-file", token)
    assert (status, out, told) == (2, "", [])
    assert words in err
    assert not content or content.strip() not in err.replace(str(token), "")  # a message ends up in logs


def test_a_port_that_is_taken(call: Call, finished: Path, told: list[Any], taken: int) -> None:
    status, out, err = call("serve", finished, "--port", str(taken))
    assert (status, out, told) == (2, "", [])
    assert err == (
        f"twotower: can't listen on 127.0.0.1 port {taken}: Address already in use; choose another --host or --port\n"
    )


def test_what_is_no_run(call: Call, finished: Path, told: list[Any], port: int, tmp_path: Path) -> None:
    published = tmp_path / "published"
    publish(finished / "bundle", published)
    (published / "current.json").write_text("{")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.json").write_text("{}")
    for model, words in (
        (tmp_path / "nowhere", "no bundle or run folder at"),
        (published, "current.json"),
        (tmp_path / "begun", "has not finished; go on with: twotower train"),
    ):
        status, out, err = call("serve", model, "--port", str(port))
        assert (status, out, told) == (1, "", [])
        assert words in err
    assert call("serve")[0] == 2


@pytest.mark.parametrize("missing", ["starlette", "granian"])
def test_without_the_extra_its_name_is_told(missing: str, finished: Path, port: int) -> None:
    program = (
        f"import sys\nsys.modules[{missing!r}] = None\n"
        "from twotower.cli import main\n"
        f"main(['serve', {str(finished)!r}, '--port', '{port}', '--store', '/dev/null/none'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("twotower: serving needs ")
    assert "pip install 'twotower[serve]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["serve", "publish", "index"])
def test_help_needs_neither_torch_nor_a_server(command: str) -> None:
    program = (
        "import sys\n"
        "from twotower.cli import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'polars', 'numpy', 'starlette', 'granian', 'faiss'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: twotower {command} ")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(finished: Path, tmp_path: Path, ending: signal.Signals) -> None:
    shutil.copytree(finished / "bundle", tmp_path / "run" / "bundle")
    with served(tmp_path / "run", tmp_path, "--no-page", "--log-level", "warning") as running:
        status, _, reply = running.ask("POST", "/v1/recommend", {"queries": [{"user": "u1"}], "k": 2})
        assert (status, len(reply["results"][0]["items"])) == (200, 2)
        assert running.ask("GET", "/")[0] == 404
        assert (tmp_path / "run" / "live.sqlite").is_file()  # beside the model
        running.process.send_signal(ending)
        assert running.process.wait(20) == 0
        with pytest.raises((OSError, http.client.HTTPException)):
            running.ask("GET", "/healthz")
    lines = running.log.read_text().splitlines()
    assert lines[0].startswith(f"twotower: serving {tmp_path / 'run'} on http://127.0.0.1:{running.port} ")
    assert not [line for line in lines if "Traceback" in line or '"request"' in line]
