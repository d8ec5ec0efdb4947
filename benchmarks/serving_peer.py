"""The server that a good engineer writes in an afternoon: FastAPI, the model's modules as torch runs them, FAISS flat.

It is given everything beforehand: users' encoded columns and histories in dicts, ids as a list, vectors in an
``IndexFlatIP``. A request is answered in FastAPI's thread pool (a plain ``def``), or in the event loop (``--kind async``).
What was seen is left out by asking for as many more. Threads of torch and FAISS, and processes, are given, since which numbers
are best is tried.

    python benchmarks/serving_peer.py RUN --port 8001 --kind def --threads 1 --workers 1
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--kind", choices=["def", "async"], default="def")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    os.environ["SERVING_PEER"] = json.dumps(vars(parser.parse_args()))
options = argparse.Namespace(**json.loads(os.environ["SERVING_PEER"]))
os.environ["TWOTOWER_NATIVE"] = "0"  # torch's own operations
os.environ["OMP_NUM_THREADS"] = str(options.threads)

import faiss  # noqa: E402
import torch  # noqa: E402
import uvicorn  # noqa: E402
from fastapi import FastAPI, HTTPException  # noqa: E402
from pydantic import BaseModel, Field  # noqa: E402

from twotower.recommender import load  # noqa: E402
from twotower.recommender.events import history_columns  # noqa: E402
from twotower.types import take_column  # noqa: E402

torch.set_num_threads(options.threads)
faiss.omp_set_num_threads(options.threads)
recommender = load(options.run)
ids = recommender.catalogue.ids.to_list()
index = faiss.IndexFlatIP(recommender.model.embedding_dim)
index.add(recommender.item_vectors_ND.numpy())
row_of = {user: row for row, user in enumerate(recommender.users.table.ids.to_list())}
columns = recommender.requests._query_rows._known[0]
inputs = recommender.requests._history_inputs
app = FastAPI()


class Query(BaseModel):
    """Who asks."""

    user: str


class Call(BaseModel):
    """A request: the same body that the service under test takes."""

    queries: list[Query]
    k: int = Field(default=10, ge=1, le=1000)


class Item(BaseModel):
    """An item."""

    id: str
    score: float


class Result(BaseModel):
    """A query's items."""

    items: list[Item]


class Reply(BaseModel):
    """All of them."""

    results: list[Result]


def answer(call: Call) -> dict[str, Any]:
    """Encode, search, leave out what was seen."""
    rows = [row_of.get(query.user, -1) for query in call.queries]
    if min(rows) < 0:
        raise HTTPException(404, "unknown user")
    with torch.inference_mode():
        places = torch.tensor(rows)
        stored = recommender.users.histories_at(places)
        given = {name: take_column(column, places) for name, column in columns.items()}
        queries_BD = recommender.model.encode_queries({**given, **history_columns(inputs, stored)})
    longest = int(stored.lengths.max())
    scores_BK, rows_BK = index.search(queries_BD.numpy(), call.k + longest)
    results = []
    for place in range(len(rows)):
        seen = set(stored.values[stored.offsets[place] : stored.offsets[place + 1]].tolist())
        found = [
            {"id": ids[row], "score": score}
            for row, score in zip(rows_BK[place].tolist(), scores_BK[place].tolist(), strict=True)
            if row not in seen
        ]
        results.append({"items": found[: call.k]})
    return {"results": results}


if options.kind == "def":

    @app.post("/v1/recommend", response_model=Reply)
    def recommend(call: Call) -> Any:
        """In the thread pool."""
        return answer(call)
else:

    @app.post("/v1/recommend", response_model=Reply)
    async def recommend_in_loop(call: Call) -> Any:
        """In the event loop."""
        return answer(call)


@app.get("/readyz")
def ready() -> dict[str, str]:
    """It is up."""
    return {"status": "ready"}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    target: Any = app if options.workers == 1 else "serving_peer:app"
    uvicorn.run(
        target,
        host="127.0.0.1",
        port=options.port,
        workers=options.workers,
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
