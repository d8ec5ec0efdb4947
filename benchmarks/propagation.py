"""What a layer of propagation costs: the kernel, torch's weighted bags and its sparse matrices, on a graph of Gowalla's size.

A layer is one product of both sides of the graph: each user's vector from those of the items, and the other way round. All
contestants give the same numbers (the largest difference is printed). Below, what a whole propagation adds to a step: forth,
and back with the gradient of every row. The graph is drawn, items by Zipf's law.

The last line of stdout is one JSON object.

    python benchmarks/propagation.py                                                                (a minute)
    python benchmarks/propagation.py --users 300 --items 400 --edges 5000 --repeats 1               (seconds)
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Callable

import numpy as np
import torch
from alternating import medians
from measured import table
from torch import Tensor

from twotower.nn import InteractionGraph, Propagation, layer_weights, propagate
from twotower.nn.interaction_graph import Neighbours

LAYER = (1.0, 1.0)


def main() -> None:
    """Measure, print two tables and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=29_858)
    parser.add_argument("--items", type=int, default=40_981)
    parser.add_argument("--edges", type=int, default=810_128, help="drawn; repeats are folded")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3, help="up to so many")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    graph = _drawn(options.users, options.items, options.edges)
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(size + 1, options.width, generator=generator) for size in (options.users, options.items))
    found: dict[str, tuple[Tensor, Tensor]] = {}
    contestants = _contestants(graph, users, items, found)
    seconds = medians(contestants, options.repeats)
    apart = max(
        float((part - of_kernel).abs().max())
        for pair in found.values()
        for part, of_kernel in zip(pair, found["kernel"], strict=True)
    )
    steps = medians(
        {str(layers): _step(graph, users, items, layers) for layers in range(1, options.layers + 1)}, options.repeats
    )
    print(f"{graph.num_edges:,} edges, {options.width} wide, {torch.get_num_threads()} threads; largest difference {apart:.1g}")
    print(table(["a layer", "ms"], [[name, f"{1e3 * value:.1f}"] for name, value in seconds.items()]))
    print(table(["layers, forth and back", "ms"], [[name, f"{1e3 * value:.1f}"] for name, value in steps.items()]))
    line = {"edges": graph.num_edges, "width": options.width, "threads": torch.get_num_threads(), "largest_difference": apart}
    print(json.dumps({"benchmark": "propagation", **line, "layer_s": seconds, "step_s": steps}))


def _drawn(users: int, items: int, edges: int) -> InteractionGraph:
    """Items by Zipf's law, users' activity log-normal."""
    rng = np.random.default_rng(0)
    active = rng.lognormal(0, 1, users)
    of_user = rng.choice(users, edges, p=active / active.sum()) + 1
    popular = 1 / np.arange(1, items + 1) ** 0.7
    of_item = rng.permutation(items)[rng.choice(items, edges, p=popular / popular.sum())] + 1
    graph = InteractionGraph.from_pairs(of_user, of_item, num_queries=users + 1, num_candidates=items + 1)
    return graph.to(torch.device("cpu"), torch.float32)


def _contestants(
    graph: InteractionGraph, users: Tensor, items: Tensor, found: dict[str, tuple[Tensor, Tensor]]
) -> dict[str, Callable[[], None]]:
    first, second = _matrix(graph.queries, graph.candidates), _matrix(graph.candidates, graph.queries)

    def ours(name: str, native: str) -> Callable[[], None]:
        def work() -> None:
            os.environ["TWOTOWER_NATIVE"] = native
            found[name] = propagate(graph, users, items, LAYER)

        return work

    def matrices() -> None:
        found["sparse matrices"] = (users + first @ items, items + second @ users)

    return {"kernel": ours("kernel", "1"), "weighted bags": ours("weighted bags", "0"), "sparse matrices": matrices}


def _matrix(own: Neighbours, others: Neighbours) -> Tensor:
    values = own.scale.repeat_interleave(own.offsets.diff()) * others.scale[own.rows.long()]
    with warnings.catch_warnings():  # that they are in beta
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(own.offsets, own.rows.long(), values, size=(len(own), len(others)))


def _step(graph: InteractionGraph, users: Tensor, items: Tensor, layers: int) -> Callable[[], None]:
    propagation = Propagation("user", "item", graph, layer_weights(layers))
    tables = [each.clone().requires_grad_() for each in (users, items)]

    def work() -> None:
        os.environ["TWOTOWER_NATIVE"] = "1"
        for each in tables:
            each.grad = None
        torch.autograd.backward(propagation(*tables), (users, items))

    return work


if __name__ == "__main__":
    main()
