"""``twotower train``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from twotower.cli.going_on import folder_of, how_to_go_on
from twotower.cli.output import print_json, print_lines
from twotower.cli.progress import RunProgress
from twotower.cli.ranks import ranks_for
from twotower.cli.verdict import print_verdict
from twotower.cli.warm_start import warm_start_line
from twotower.columnar import Converting
from twotower.runs import Recipe, RunListener, RunResult, read_recipe, run
from twotower.training import TrainingEvent

__all__ = ["train_command"]


def train_command(
    recipe_path: Path,
    run_dir: Path | None,
    overrides: Sequence[str],
    *,
    resume: bool,
    overwrite: bool,
    tensorboard: bool,
    as_json: bool,
    from_run: Path | None = None,
) -> None:
    """Run a recipe and print the verdict."""
    recipe = read_recipe(recipe_path, overrides=overrides)
    folder = folder_of(recipe, run_dir)
    with ranks_for(recipe) as ranks:
        if not ranks.first:
            run(recipe, folder, resume=resume, overwrite=overwrite, from_run=from_run, ranks=ranks)
            return
        heard: set[str] = set()
        with _listeners(recipe, folder if tensorboard else None, heard) as tell:
            try:
                result = run(recipe, folder, resume=resume, overwrite=overwrite, listener=tell, from_run=from_run, ranks=ranks)
            except KeyboardInterrupt:
                begun = resume or bool(heard - {"data"})
                raise KeyboardInterrupt(how_to_go_on(recipe_path, folder, overrides, begun=begun, ranks=ranks.size)) from None
    _print(result, as_json=as_json)


@contextmanager
def _listeners(recipe: Recipe, tensorboard: Path | None, heard: set[str]) -> Iterator[RunListener]:
    """Everything that is told what happens, as one listener; ``heard`` gets the phases."""
    stopping = recipe.training.early_stopping
    listeners: list[RunListener] = []
    if tensorboard is not None:
        from twotower.cli.tensorboard import TensorBoardLog

        listeners.append(TensorBoardLog(tensorboard / "tensorboard"))
    with RunProgress(stopping.metric if stopping else f"recall@{recipe.evaluation.ks[-1]}") as progress:
        listeners.append(progress)

        def tell(phase: str, event: TrainingEvent | Converting | str) -> None:
            heard.add(phase)
            for listener in listeners:
                listener(phase, event)

        yield tell


def _print(result: RunResult, *, as_json: bool) -> None:
    summary = result.summary
    if as_json:
        print_json({key: value for key, value in summary.items() if key != "details"})
        return
    print_verdict(summary)
    if "warm_start" in summary:
        print_lines(warm_start_line(summary["warm_start"]))
    training, selection = summary["training"], summary["selection"]
    chosen = f"epoch {selection['epoch']} of {selection['epochs_run']}, chosen in {selection['seconds']:.1f} s"
    print_lines(
        f"trained on {summary['device']} in {training['seconds']:.1f} s ({training['rows_per_s']:,.0f} rows/s), kept {chosen}; "
        f"evaluated in {summary['evaluation']['seconds']:.1f} s; peak memory {summary['peak_memory_bytes'] / 2**20:,.0f} MiB",
        f"bundle: {result.folder / 'bundle'}",
        f"next:   twotower recommend {quote(str(result.folder))} --user ID",
    )
