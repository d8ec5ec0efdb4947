"""Where updates by rows begin to pay: the cost of a table in a step, dense and by rows, as the table grows.

A step looks rows up in a table, sends a gradient back and lets the optimiser move them, with the lookups of a tower and the
optimisers that `build_optimizers` gives. Dense, the gradient, the accumulator and the weights of all N rows pass through
memory; by rows, only those that were looked up, but these are sorted and added up first. Both take turns for every width,
number of looked-up rows and number of rows. What `twotower.optim.rows_pay` holds was read off here, and the last lines say what
it costs beside always taking the better of both. Ids are drawn by Zipf's law, as skewed as logs are.

The last line of stdout is one JSON object.

    python benchmarks/table_updates.py                                                             (minutes)
    python benchmarks/table_updates.py --widths 16 --lookups 256 --rows 64,1024 --repeats 1        (seconds)
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from alternating import medians
from measured import table

from twotower.nn.pooling import look_up_rows, pool_rows
from twotower.optim import OptimizerConfig, build_optimizers, rows_pay
from twotower.types import Ragged

KINDS = ("adagrad", "rowwise_adagrad")
BAGS = (1, 16)


def main() -> None:
    """Measure, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=_numbers, default=[16, 64, 128])
    parser.add_argument("--lookups", type=_numbers, default=[512, 2_048, 16_384, 65_536], help="in a step, repeats among them")
    parser.add_argument("--rows", type=_numbers, default=[64, 1_024, 4_096, 16_384, 65_536, 262_144], help="of the table")
    parser.add_argument("--steps", type=int, default=4, help="of each contestant in a turn")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    cases = [
        _case(kind, bag, width, lookups, rows, options.steps, options.repeats)
        for kind in KINDS
        for bag in BAGS
        for width in options.widths
        for lookups in options.lookups
        for rows in options.rows
    ]
    print(
        table(
            ["dense / by rows (* the rule says rows)", *(f"{rows:,}" for rows in options.rows)],
            [
                [
                    f"{kind}, {lookups:,} looked up{f', {bag} to a bag' if bag > 1 else ''}, {width} wide",
                    *(
                        f"{case['dense_s'] / case['rows_s']:.2f}{'*' if case['rule'] == 'rows' else ' '}"
                        for case in cases
                        if (case["kind"], case["bag"], case["width"], case["lookups"]) == (kind, bag, width, lookups)
                    ),
                ]
                for kind in KINDS
                for bag in BAGS
                for width in options.widths
                for lookups in options.lookups
            ],
        )
    )
    regrets = [case[f"{case['rule']}_s"] / min(case["dense_s"], case["rows_s"]) for case in cases]
    by_rows = [regret for regret, case in zip(regrets, cases, strict=True) if case["rule"] == "rows"]
    costs = {
        "mean": statistics.geometric_mean(regrets),
        "most": max(regrets),
        "most_by_rows": max(by_rows, default=1.0),
    }
    print(
        "the rule, beside the better of both: mean {mean:.3f}, most {most:.2f}, where it says rows {most_by_rows:.2f}".format(
            **costs
        )
    )
    threads = torch.get_num_threads()
    print(json.dumps({"benchmark": "table_updates", "threads": threads, "rule_costs": costs, "cases": cases}))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _case(kind: str, bag: int, width: int, lookups: int, rows: int, steps: int, repeats: int) -> dict[str, Any]:
    """One table: seconds of a step dense and by rows, and what the rule says of it."""
    weights = 1 / np.arange(1, rows + 1)
    drawn = np.random.default_rng(rows).choice(rows, (steps, lookups), p=weights / weights.sum())
    ids = torch.from_numpy(np.random.default_rng(1).permutation(rows)[drawn])
    gradient_BD = torch.randn(lookups // bag, width)
    offsets = torch.arange(0, lookups + 1, bag)

    def contestant(sparse: bool) -> Callable[[], None]:
        weights_VD = torch.nn.Parameter(torch.zeros(rows, width))
        config = OptimizerConfig.model_validate({"kind": kind})
        (optimizer,) = build_optimizers([("table", weights_VD)], config, sparse_parameter_names={"table"} if sparse else set())

        def work() -> None:
            for step in range(steps):
                optimizer.zero_grad(set_to_none=True)
                if bag == 1:
                    found_BD = look_up_rows(weights_VD, ids[step], sparse=sparse)
                else:
                    found_BD = pool_rows(weights_VD, Ragged(ids[step], offsets), "sum", sparse=sparse)
                found_BD.backward(gradient_BD)  # type: ignore[no-untyped-call]
                optimizer.step()

        return work

    seconds = medians({"dense": contestant(False), "rows": contestant(True)}, repeats)
    touched = float(np.mean([len(np.unique(row)) for row in drawn]))
    return {
        "kind": kind,
        "bag": bag,
        "width": width,
        "lookups": lookups,
        "rows": rows,
        "touched": touched,
        "dense_s": seconds["dense"] / steps,
        "rows_s": seconds["rows"] / steps,
        "rule": "rows" if rows_pay(rows, width, touched) else "dense",
    }


if __name__ == "__main__":
    main()
