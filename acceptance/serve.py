"""Recommendations in production: index, batch, service, page; what was asked of it beside what is seen now.

python acceptance/serve.py                    minutes: a service over MovieLens, hostile clients, small kills and swaps, export
python acceptance/serve.py --full             besides 1,000 swaps, 20 kills, the browser, load, an index of a million: an hour
python acceptance/serve.py --results FILE     lines of JSON of benchmarks/serving.py and approximate_search.py

A figure that was not measured says so, and is no pass.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checks import Checks, check_parts, last_json

ROOT = Path(__file__).resolve().parent.parent
PARTS = {
    "one contract for every index": ("tests/index",),
    "the catalogue lives; histories; versions": ("tests/recommender", "tests/bundle"),
    "logs that survive": ("tests/store",),
    "over HTTP: items, interactions, hostile clients": ("tests/serving",),
    "export": ("tests/export",),
}
SLOW = {
    "1,000 swaps under load: 0 failed, 0 mixed, memory flat": ("tests/serving/test_swaps.py",),
    "20 kill -9: everything acknowledged is there": ("tests/serving/test_kill.py",),
    "schemathesis: no 5xx, no violation": ("tests/serving/test_schemathesis.py",),
    "the page in Chromium": ("tests/browser/test_page.py",),
    "a client that never ends its request": ("tests/serving/test_hostile.py",),
    "a store on Redis": ("tests/store/test_redis_store.py",),
}
TOKEN = "a-token-for-acceptance"


def main() -> None:
    """Make all checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--results", type=Path, help="lines of JSON of the two benchmarks: they are not run")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "movielens", help="made if not there")
    options = parser.parse_args()
    checks = Checks("serve")
    not_measured = 0
    if not (options.run / "bundle" / "manifest.json").is_file():
        recipe = ROOT / "recipes" / "movielens.toml"
        _twotower("train", str(recipe), "--run-dir", str(options.run))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        service(checks, options.run, work)
        broken(checks, options.run, work)
        exported(checks, options.run, work)
        lines = _lines(options)
        for name, figures in (("serving", load), ("approximate_search", index)):
            if name in lines:
                figures(checks, lines[name])
            else:
                print(f"{'-':4} {name:58} {'':>22} {'not measured':>22}", flush=True)
                not_measured += 1
    check_parts(checks, PARTS)
    if options.full:
        slow(checks)
    print(f"{not_measured} not measured", flush=True)
    checks.finish()


def service(checks: Checks, run: Path, work: Path) -> None:
    """A service over a run: how soon it answers, and what a write changes."""
    token = work / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    arguments = ["serve", str(run), "--token-file", str(token), "--store", str(work / "live.sqlite"), "--log-level", "warning"]
    began = time.monotonic()
    with _served(arguments) as port:
        first = _ask(port, "/v1/recommend", {"queries": [{"user": "196"}], "k": 10})
        checks.at_most("the first answer after the command", time.monotonic() - began, 5, " s")
        ids = [item["id"] for item in first["results"][0]["items"]]
        checks.check("items of the first answer", "10", str(len(ids)), len(ids) == 10)
        facts = _ask(port, "/v1/model")
        names = [column["name"] for column in facts["columns"]]
        neighbour = _ask(port, "/v1/recommend", {"queries": [{"user": "196"}], "k": 1, "columns": names})
        columns = neighbour["results"][0]["items"][0]["columns"]
        began = time.monotonic()
        _ask(port, "/v1/items", {"items": [{"id": "A film of tomorrow", "features": columns}]}, method="PUT")
        new = _ask(port, "/v1/recommend", {"queries": [{"user": "196"}], "k": 1000})
        there = "A film of tomorrow" in [item["id"] for item in new["results"][0]["items"]]
        checks.check("a new item is in the list after its PUT", "yes", "yes" if there else "no", there)
        checks.at_most("until then", time.monotonic() - began, 1, " s")
        _ask(port, "/v1/interactions", {"interactions": [{"user": "196", "item": ids[0]}]})
        again = _ask(port, "/v1/recommend", {"queries": [{"user": "196"}], "k": 10})
        changed = [item["id"] for item in again["results"][0]["items"]]
        moved = ids[0] not in changed and changed[:9] != ids[1:]
        checks.check("an interaction changes the next list", "yes", "yes" if moved else "no", moved)
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20).read().decode()
        outside = re.findall(r"(?:src|href)=.?(?:https?:)?//", page)
        checks.check("the page asks other hosts for", "nothing", str(outside or "nothing"), not outside)


def broken(checks: Checks, run: Path, work: Path) -> None:
    """A changed byte anywhere in a bundle or an index is refused, with the file named."""
    folder = work / "published"
    _twotower("publish", str(run), "--to", str(folder))
    (version,) = (folder / "versions").iterdir()
    files = sorted(path for path in version.rglob("*") if path.is_file())
    refused = 0
    for path in files:
        good = path.read_bytes()
        place = len(good) // 2
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        done = subprocess.run(_command("recommend", str(version), "--user", "196"), capture_output=True, text=True, check=False)
        refused += done.returncode == 1 and path.stem in done.stderr and "Traceback" not in done.stderr
        path.write_bytes(good)
    asked = f"{len(files)} of {len(files)}"
    checks.check("files with a changed byte that are refused by name", asked, str(refused), refused == len(files))


def exported(checks: Checks, run: Path, work: Path) -> None:
    """Towers as ONNX files give the vectors of the bundle, on 1,000 real rows."""
    options = ("--format", "onnx", "--out", str(work / "onnx"), "--check-rows", "1000", "--json")
    found = json.loads(_twotower("export", str(run), *options))
    for tower, error in found["largest_error"].items():
        rows = found["checked_rows"][tower]
        checks.at_most(f"ONNX, {tower} tower, largest error of {rows:,} rows", error, 1e-4)


def load(checks: Checks, line: dict[str, Any]) -> None:
    """Requests per second and latencies beside a plain server's."""
    plain = "FastAPI + torch + FAISS flat"
    items = f"{line['items'] / 1000:.0f} k items"
    for side, ratio in line["ratios"].items():
        checks.check(f"{side}, {items}: requests/s of a plain server's", ">= 3 x", f"{ratio:.1f} x", ratio >= 3)
        ours, theirs = line["at_70_percent"][side]["p99_ms"], line["at_70_percent"][plain]["p99_ms"]
        checks.check(f"{side}: p99 at 70% of saturation", f"<= {theirs:.1f} ms", f"{ours:.1f} ms", ours <= theirs)
        more = line["at_times_plain"][side]["p99_ms"]
        what = f"{side}: p99 at {line['times']} x the requests/s of the plain server"
        checks.check(what, f"<= {theirs:.1f} ms", f"{more:.1f} ms", more <= theirs)
        checks.at_most(f"{side}: p99 of one query after the other", line["alone"][side]["p99_ms"], 10, " ms")


def index(checks: Checks, line: dict[str, Any]) -> None:
    """HNSW over a million vectors of a trained model."""
    everything, size = line["filters"]["1"]["HNSW"], f"{line['vectors']:,} x {line['dim']}"
    checks.at_least(f"HNSW, {size}: recall@{line['k']}", everything["recall"], 0.97)
    for what, figure in (("a query alone", "times_exact_alone"), ("queries together", "times_exact_batch")):
        ratio = everything[figure]
        checks.check(f"HNSW: throughput of exact's, {what}", ">= 5 x", f"{ratio:.1f} x", ratio >= 5)
    for share in ("0.01", "0.1"):
        checks.at_least(f"HNSW, {float(share):.0%} allowed: recall@{line['k']}", line["filters"][share]["HNSW"]["recall"], 0.97)


def slow(checks: Checks) -> None:
    """Proofs that take minutes each."""
    for what, paths in SLOW.items():
        there = [path for path in paths if (ROOT / path).exists()]
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", "--timeout", "3600", *there]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-60:]
        counted = re.search(r"\d+ passed", last)
        skipped = "skipped" in last or not there
        shown = (counted.group() if counted else "0 passed") + (", some skipped" if skipped else "")
        checks.check(what, "passes", shown, done.returncode == 0 and counted is not None and not skipped)


def _lines(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Lines of the benchmarks, by name."""
    if options.results is not None:
        found = [json.loads(line) for line in options.results.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {line["benchmark"]: line for line in found}
    if not options.full:
        return {}
    return {
        "serving": last_json("benchmarks/serving.py", "--approximate"),
        "approximate_search": last_json("benchmarks/approximate_search.py"),
    }


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "twotower", *arguments]


def _twotower(*arguments: str) -> str:
    done = subprocess.run(_command(*arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"twotower {' '.join(arguments)}\n{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def _served(arguments: list[str]) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([*_command(*arguments), "--port", str(port)], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
                break
            time.sleep(0.02)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _ask(port: int, path: str, body: Any = None, *, method: str | None = None) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{path}: {error.code} {error.read().decode()}") from None


if __name__ == "__main__":
    main()
