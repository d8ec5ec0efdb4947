"""``twotower train --explain``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twotower.cli.output import print_json, print_lines, print_table
from twotower.cli.progress import RunProgress
from twotower.cli.warm_start import print_warm_start
from twotower.runs import explain, read_recipe

__all__ = ["explain_command"]

_REFIT = {
    "none": "",
    "train": "; then anew on train and validation rows, for the best number of epochs",
    "all": "; then anew on train and validation rows, and on all rows, for the best number of epochs",
}


def explain_command(recipe_path: Path, overrides: Sequence[str], *, as_json: bool, from_run: Path | None = None) -> None:
    """Print what a training would do."""
    recipe = read_recipe(recipe_path, overrides=overrides)
    with RunProgress("") as progress:
        facts: dict[str, Any] = explain(recipe, listener=lambda event: progress("data", event), from_run=from_run)
    if as_json:
        print_json(facts)
        return
    rows, training = facts["rows"], facts["training"]
    print_lines(
        f"{facts['recipe']}: {rows['train']:,} rows train, {rows['validation']:,} validate, {rows['test']:,} test; "
        f"{facts['users']:,} users, {facts['items']:,} items",
        f"training: on {facts['device']}, {_threads(facts)}; at most {training['epochs']:,} epochs of "
        f"{training['steps_per_epoch']:,} steps, {training['batch_size']:,} rows each{_REFIT[training['refit']]}",
        "",
    )
    print_table(
        "",
        ["table", "rows", "width", "a batch touches", "update", "optimiser", "rate", "why"],
        [
            [
                table["name"],
                f"{table['rows']:,}",
                str(table["width"]),
                f"{table['touched']:,}",
                table["update"],
                table["optimizer"],
                f"{table['learning_rate']:g}",
                table["why"],
            ]
            for table in facts["tables"]
        ],
        left=["table", "update", "optimiser", "why"],
    )
    others = (f"{other['numbers']:,} by {other['optimizer']} at {other['learning_rate']:g}" for other in facts["others"])
    print_lines(
        f"other parameters: {', '.join(others) or 'none'}",
        *_propagation(facts["propagation"]),
        "",
        f"loss: {_loss(facts['loss'])}",
        f"negatives: {_negatives(facts['loss']['negatives'])}",
        f"feed: {_feed(facts)}",
        *_accelerator(facts.get("accelerator")),
        f"evaluation: {_evaluation(facts['evaluation'])}",
        f"memory: {_memory(facts['bytes'])}",
    )
    dense = [] if facts["propagation"] is None else facts["propagation"]["tables"]  # which nothing can make otherwise
    if "warm_start" in facts:
        print_warm_start(facts["warm_start"])
    slow = [table["name"] for table in facts["tables"] if table["update"] == "dense" and table["rows_would_pay"]]
    slow = [name for name in slow if name not in dense]
    if slow:
        print_lines(
            "",
            f'hint: updates by rows would be quicker for {", ".join(slow)}: embedding = {{ update = "rows" }}; '
            "beside AdamW they are row-wise Adagrad's, which learns otherwise",
        )


def _threads(facts: dict[str, Any]) -> str:
    return f"{facts['threads']} of {facts['cores']} cores' threads"


def _propagation(found: dict[str, Any] | None) -> list[str]:
    """Example:
    >>> _propagation({"tables": ["query/user", "item"], "layers": 2, "edges": 810_128})
    ['propagation: query/user and item, 2 layers over 810,128 edges, forth and back at every step']
    """
    if found is None:
        return []
    tables, layers = " and ".join(found["tables"]), f"{found['layers']} layer{'' if found['layers'] == 1 else 's'}"
    return [f"propagation: {tables}, {layers} over {found['edges']:,} edges, forth and back at every step"]


def _loss(loss: dict[str, Any]) -> str:
    said = f"{loss['kind']} over {loss['candidates']:,} items" + (_correction(loss["counts"]) if loss["corrected"] else "")
    if "precision" not in loss:
        return said
    logits = f"all logits in memory ({_size(loss['bytes'])})" if loss["path"] == "matrix" else "never all logits in memory"
    return f"{said}; {loss['path']}, {logits}; products in {loss['precision']}"


def _correction(counts: dict[str, Any]) -> str:
    """Example:
    >>> _correction({"kind": "sketch", "width": 65536, "depth": 4, "bytes": 1048576})
    ', corrected for sampling by a count-min sketch of the batches so far (4 rows of 65,536 counters, 1 MiB)'
    """
    if counts["kind"] == "held":
        return ", corrected for sampling"
    rows = f"{counts['depth']} rows of {counts['width']:,} counters, {_size(counts['bytes'])}"
    return f", corrected for sampling by a count-min sketch of the batches so far ({rows})"


def _negatives(negatives: dict[str, float]) -> str:
    """Example:
    >>> _negatives({"drawn": 1999.4, "distinct": 812.25, "effective": 96.04})
    '1,999 draws of 812 other items for each query, worth 96 of equal weight'
    """
    drawn, distinct, effective = (f"{negatives[name]:,.{0 if negatives[name] >= 10 else 1}f}" for name in negatives)
    return f"{drawn} draws of {distinct} other items for each query, worth {effective} of equal weight"


def _feed(facts: dict[str, Any]) -> str:
    feed = facts["feed"]
    apart = len(feed["in_files"]) + len(feed["computed"])
    said = [f"{feed['columns'] - apart} columns in memory, {len(feed['in_files'])} in mapped files"]
    if feed["computed"]:
        said.append(f"computed for each batch: {', '.join(feed['computed'])}")
    if feed["histories"]:
        said.append(f"sliced for each batch: {', '.join(feed['histories'])}")
    said += [f"of each event of {name}: {', '.join(read)}" for name, read in feed.get("events", {}).items()]
    if "request_time" in feed:
        said.append(
            f"{', '.join(feed['request_time'])} knows when each item is asked for (request_time): figures are of a recommender "
            "that is asked at the moment of each row"
        )
    return "; ".join([*said, f"order of the rows: {feed['order']}"])


def _accelerator(found: dict[str, Any] | None) -> list[str]:
    """Example:
    >>> asked = {"resident_data": "auto", "bytes": 3 << 20, "cuda_graph": False}
    >>> for line in _accelerator(asked | {"not_captured": None}):
    ...     print(line)
    data: 3 MiB, on the device where they take at most half of what is free there
    steps: one operation after the other; they could be captured (training.cuda_graph = true)
    >>> _accelerator(asked | {"not_captured": "the sketch of log-Q counts on the host"})[1]
    "steps: one operation after the other; they can't be captured: the sketch of log-Q counts on the host"
    """
    if found is None:
        return []
    where = {
        "auto": "on the device where they take at most half of what is free there",
        "always": "on the device",
        "never": "sent batch by batch",
    }[found["resident_data"]]
    if found["not_captured"] is not None:
        steps = f"one operation after the other; they can't be captured: {found['not_captured']}"
    elif found["cuda_graph"]:
        steps = "captured once as a CUDA graph, and replayed"
    else:
        steps = "one operation after the other; they could be captured (training.cuda_graph = true)"
    return [f"data: {_size(found['bytes'])}, {where}", f"steps: {steps}"]


def _evaluation(evaluation: dict[str, Any]) -> str:
    every = evaluation["every_epochs"]
    when = "epoch" if every == 1 else f"{every} epochs"
    stops = f", which choose the best epoch by {evaluation['stops_on']}" if evaluation["stops_on"] else ""
    validated = (
        f"{evaluation['validation_rows']:,} {evaluation['validates_on']} rows every {when}{stops}"
        if every
        else "none while training"
    )
    return (
        f"on {evaluation['device']}: {validated}; {evaluation['test_rows']:,} test rows at the end, their histories "
        f"{evaluation['histories']}"
    )


def _memory(sizes: dict[str, int]) -> str:
    return (
        f"parameters {_size(sizes['parameters'])}, states of optimisers {_size(sizes['optimizer_states'])}, gradients "
        f"{_size(sizes['gradients'])}; data {_size(sizes['data_in_memory'])}, and {_size(sizes['data_in_files'])} in mapped "
        f"files; this process has used {_size(sizes['process_so_far'])} at most so far"
    )


def _size(size: int) -> str:
    """Binary units, three digits.

    Example:
        >>> _size(2_805_780), _size(512)
        ('2.68 MiB', '512 B')
    """
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024 or unit == "GiB":
            break
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"
