"""The service under load, beside a plain server: FastAPI, torch, FAISS flat.

Both answer the same bodies: known users of a trained model, 100 items each, what was seen left out. Requests per second are
those of 32 connections that ask as fast as they are answered; latencies are those of requests that come at random moments at
70% of a side's own requests per second, and, of ours, at three times as many as those of the plain server then are; and of one
connection that asks one thing after the other. Sides take turns, and figures are medians of the turns.
How many processes, and of the plain server threads, and whether it answers in threads or in its event loop, is tried first, and
what is quickest is kept. The load comes from wrk where that is installed, else from ``http_load.py``; both share the machine.

    python benchmarks/serving.py                       (makes its model first: ten minutes)
    python benchmarks/serving.py --run runs/livestream --approximate

The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from measured import table

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "serving"
EXACT, GRAPH, PLAIN = "twotower, exact", "twotower, HNSW", "FastAPI + torch + FAISS flat"
PLAIN_WAYS = [("def", 1, 1), ("async", 1, 1), ("def", 2, 1), ("async", 1, 2)]
"""Where it answers, threads, processes."""
OUR_PROCESSES = (1, 2)
TIMES = 3


def main() -> None:
    """Measure, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run folder; without it, one of 100,000 items and 64 dimensions is made")
    parser.add_argument("--approximate", action="store_true", help="an HNSW index, too")
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise SystemExit("the plain server is not installed: pip install 'twotower[bench]'")
    run = options.run or _made()
    bodies, facts = _bodies(run, options.k)
    with contextlib.ExitStack() as stack:
        workers, port = stack.enter_context(_best_ours(run, bodies, options))
        ports = {EXACT: port}
        if options.approximate:
            ports[GRAPH] = stack.enter_context(_ours(run, workers, approximate=True))
        way, ports[PLAIN] = stack.enter_context(_best_plain(run, bodies, options))
        rates: dict[str, list[float]] = {side: [] for side in ports}
        for _ in range(options.repeats):
            for side, port in ports.items():
                rates[side].append(_rate(port, bodies, options))
        median = {side: statistics.median(found) for side, found in rates.items()}
        wanted = {side: 0.7 * median[side] for side in ports}
        thrice = {side: TIMES * wanted[PLAIN] for side in ports if side != PLAIN}
        at_rate = _in_turns(ports, options.repeats, lambda side, port: _load(port, bodies, options.seconds, rate=wanted[side]))
        ours = {side: port for side, port in ports.items() if side != PLAIN}
        at_thrice = _in_turns(ours, options.repeats, lambda side, port: _load(port, bodies, options.seconds, rate=thrice[side]))
        alone = _in_turns(ports, options.repeats, lambda _, port: _load(port, bodies, options.seconds, connections=1))
    ratios = {
        side: statistics.median(ours / plain for ours, plain in zip(found, rates[PLAIN], strict=True))
        for side, found in rates.items()
        if side != PLAIN
    }
    rows = [
        [
            side,
            f"{median[side]:,.0f}",
            f"{ratios[side]:.1f} x" if side in ratios else "",
            f"{at_rate[side]['p50_ms']:.1f}",
            f"{at_rate[side]['p99_ms']:.1f}",
            f"{at_thrice[side]['p99_ms']:.1f}" if side in at_thrice else "",
            f"{alone[side]['p50_ms']:.1f}",
            f"{alone[side]['p99_ms']:.1f}",
        ]
        for side in ports
    ]
    header = [f"{facts['items']:,} items, k = {options.k}", "requests/s", "ratio", "p50 at 70%", "p99"]
    header += [f"p99 at {TIMES} x plain's", "p50 alone", "p99, ms"]
    print(table(header, rows))
    line = {
        "benchmark": "serving",
        **facts,
        "k": options.k,
        "connections": options.connections,
        "load": "wrk" if shutil.which("wrk") else "http_load.py",
        "processes": workers,
        "plain": dict(zip(("answers_in", "threads", "processes"), way, strict=True)),
        "requests_per_s": median,
        "turns": rates,
        "ratios": ratios,
        "at_70_percent": at_rate,
        "times": TIMES,
        "at_times_plain": at_thrice,
        "alone": alone,
    }
    print(json.dumps(line))


def _made() -> Path:
    """A run over 100,000 planted broadcasters with towers of 64 dimensions, made once."""
    run, log = BUILD / "run", BUILD / "log"
    if not (run / "bundle" / "manifest.json").is_file():
        BUILD.mkdir(parents=True, exist_ok=True)
        twotower = [sys.executable, "-m", "twotower"]
        if not log.exists():
            _say("making a log of 1,600,000 rows")
            subprocess.run(
                [*twotower, "synth", "livestream", "--rows", "1600000", "--seed", "0", "--out", str(log)], check=True
            )
        recipe = (HERE.parent / "recipes" / "livestream.toml").read_text(encoding="utf-8")
        recipe = recipe.replace("dim = 128", "dim = 64").replace("layer_sizes = [128, 128]", "layer_sizes = [128, 64]")
        recipe = recipe.replace("epochs = 2", "epochs = 1").replace('path = "livestream.csv"', f'path = "{log}"')
        recipe = re.sub(r"(?m)^train = .*$", "train = []", recipe)
        recipe = re.sub(r"(?m)^segments = .*$", "", recipe)
        (BUILD / "recipe.toml").write_text(recipe, encoding="utf-8")
        _say("training for one epoch")
        subprocess.run([*twotower, "train", str(BUILD / "recipe.toml"), "--run-dir", str(run)], check=True, stdout=sys.stderr)
    return run


def _bodies(run: Path, k: int) -> tuple[Path, dict[str, int]]:
    """Requests of 5,000 users, and how large all is; asked for by a process of its own, which ends."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / "bodies.jsonl"
    program = (
        "import json, random, sys\n"
        "from twotower.recommender import load\n"
        "found = load(sys.argv[1], index='exact')\n"
        "ids = random.Random(7).choices(found.users.table.ids.to_list(), k=5000)\n"
        "lines = [json.dumps({'queries': [{'user': user}], 'k': int(sys.argv[3])}) for user in ids]\n"
        "open(sys.argv[2], 'w').write('\\n'.join(lines))\n"
        "facts = {'items': len(found.catalogue), 'embedding_dim': found.model.embedding_dim, 'users': len(found.users.table)}\n"
        "print(json.dumps(facts))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(run), str(path), str(k)], capture_output=True, text=True, check=True
    )
    facts: dict[str, int] = json.loads(done.stdout)
    return path, facts


@contextlib.contextmanager
def _best_ours(run: Path, bodies: Path, options: argparse.Namespace) -> Iterator[tuple[int, int]]:
    """Ours with as many processes as it is quickest with."""
    found = {}
    for workers in OUR_PROCESSES:
        with _ours(run, workers, approximate=False) as port:
            found[workers] = _rate(port, bodies, options)
            _say(f"twotower, {workers} processes: {found[workers]:,.0f} requests/s")
    best = max(found, key=lambda workers: found[workers])
    with _ours(run, best, approximate=False) as port:
        yield best, port


@contextlib.contextmanager
def _ours(run: Path, workers: int, *, approximate: bool) -> Iterator[int]:
    """``twotower serve``, over the bundle alone, or with the index beside it."""
    if approximate and not (run / "index" / "manifest.json").is_file():
        _say("building an index")
        subprocess.run([sys.executable, "-m", "twotower", "index", str(run)], check=True, stdout=sys.stderr)
    model = run if approximate else run / "bundle"
    store = BUILD / f"{'approximate' if approximate else 'exact'}.sqlite"
    for left in BUILD.glob(f"{store.name}*"):
        left.unlink()  # of an earlier measurement
    settings = ["--log-level", "warning", "--store", str(store), "--workers", str(workers)]
    with _server("-m", "twotower", "serve", str(model), *settings) as port:
        yield port


@contextlib.contextmanager
def _best_plain(run: Path, bodies: Path, options: argparse.Namespace) -> Iterator[tuple[tuple[str, int, int], int]]:
    """The plain server as it is quickest."""
    found = {}
    for way in PLAIN_WAYS:
        with _plain(run, *way) as port:
            found[way] = _rate(port, bodies, options)
            _say(f"plain server, {way[0]}, {way[1]} threads, {way[2]} processes: {found[way]:,.0f} requests/s")
    best = max(found, key=lambda way: found[way])
    with _plain(run, *best) as port:
        yield best, port


@contextlib.contextmanager
def _plain(run: Path, kind: str, threads: int, workers: int) -> Iterator[int]:
    arguments = [str(HERE / "serving_peer.py"), str(run), "--kind", kind, "--threads", str(threads), "--workers", str(workers)]
    with _server(*arguments) as port:
        yield port


@contextlib.contextmanager
def _server(*arguments: str) -> Iterator[int]:
    """A server in a process of its own, once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, *arguments, "--port", str(port)], start_new_session=True)
    try:
        for _ in range(1200):
            if process.poll() is not None:
                raise SystemExit(f"{Path(arguments[0]).name} ended with {process.returncode}")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
                break
            time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def _rate(port: int, bodies: Path, options: argparse.Namespace) -> float:
    """Requests per second of many connections."""
    if shutil.which("wrk") is None:
        return float(_load(port, bodies, options.seconds, connections=options.connections)["requests_per_s"])
    script = BUILD / "wrk.lua"
    script.write_text(
        f'local bodies = {{}}\nfor line in io.lines("{bodies}") do bodies[#bodies + 1] = line end\n'
        'request = function()\n  return wrk.format("POST", "/v1/recommend", {["Content-Type"] = "application/json"}, '
        "bodies[math.random(#bodies)])\nend\n",
        encoding="utf-8",
    )
    command = [
        "wrk",
        "--timeout",
        "20s",
        "-t1",
        f"-c{options.connections}",
        f"-d{options.seconds:g}s",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout
    if done.returncode or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"requests failed:\n{said}{done.stderr}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found is not None
    return float(found.group(1))


def _in_turns(
    ports: Mapping[str, int], repeats: int, measure: Callable[[str, int], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What is measured of each side, medians of turns."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in ports}
    for _ in range(repeats):
        for side, port in ports.items():
            found[side].append(measure(side, port))
    return {side: {key: statistics.median(turn[key] for turn in turns) for key in turns[0]} for side, turns in found.items()}


def _load(port: int, bodies: Path, seconds: float, *, connections: int = 32, rate: float | None = None) -> dict[str, Any]:
    command = [
        sys.executable,
        str(HERE / "http_load.py"),
        "--port",
        str(port),
        "--bodies",
        str(bodies),
        "--seconds",
        str(seconds),
    ]
    command += ["--connections", str(connections)] if rate is None else ["--connections", "200", "--rate", str(rate)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    if found["failed"]:
        raise SystemExit(f"{found['failed']} requests failed")
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
