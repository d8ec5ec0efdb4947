"""The service keeps what its OpenAPI document says: schemathesis sends requests that fit it, and requests that do not."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.serving.conftest import TOKEN
from tests.serving.served import served

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
# Whether an id, a column or a value exists is the model's to say and not the document's: 404 and 422 are answers to valid
# requests, and so are 401 and 403 to whoever has no token. A machine that stands still for seconds gives a 408 or a 503.
SETTINGS = f"""
hooks = "{HOOKS}"
[checks.positive_data_acceptance]
expected-statuses = ["200", "401", "403", "404", "408", "409", "422", "503"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "413", "415", "422"]
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed (pip install it)"
    ),
]


@pytest.mark.parametrize(
    ("options", "headers", "seed"),
    [
        (("--token-file", "TOKEN"), {"Authorization": f"Bearer {TOKEN}"}, 1),
        (("--token-file", "TOKEN"), {}, 2),
        (("--token-file", "TOKEN", "--private"), {"Authorization": f"Bearer {TOKEN}"}, 3),
        (("--no-page",), {}, 4),
    ],
    ids=["with the token", "without the token", "private", "without a page and a token"],
)
def test_the_service_keeps_its_document(
    bundle: Path, tmp_path: Path, token_file: Path, options: tuple[str, ...], headers: dict[str, str], seed: int
) -> None:
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    given = [str(token_file) if option == "TOKEN" else option for option in options]
    with served(bundle, tmp_path, "--store", str(tmp_path / "live.sqlite"), *given) as running:
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml"), "run"]
        command += [f"http://127.0.0.1:{running.port}/openapi.json", "--checks", "all", "--continue-on-failure"]
        command += ["--max-response-time", "600"]  # how long answers take is measured elsewhere, on a machine at rest
        command += ["--max-examples", os.environ.get("TWOTOWER_SCHEMATHESIS_EXAMPLES", "60"), "--seed", str(seed), "--no-color"]
        command += [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=900, check=False)
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
        tested = re.search(r"Tested: (\d+)", done.stdout)
        assert tested is not None
        assert int(tested[1]) == sum(map(len, running.ask("GET", "/openapi.json")[2]["paths"].values()))
        _, _, figures = running.ask("GET", "/metrics")
    answered = {(route, int(status)) for route, status in re.findall(r'route="([^"]+)",status="(\d+)"', figures.decode())}
    assert not [entry for entry in answered if entry[1] >= 500 and entry[1] != 503]
    assert ("/v1/recommend", 200) in answered  # the requests got to where answers are made
    if headers:
        assert {("/v1/items", 200), ("/v1/interactions", 200), ("/v1/similar", 200), ("/v1/explain", 200)} <= answered
    assert '"event": "fault"' not in running.log.read_text()
