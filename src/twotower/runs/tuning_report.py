"""The page of a tuning: its figures gathered, then drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

from twotower.reports import TunedKey, TuningReport, TuningTrial, write_tuning_page
from twotower.runs.recipe import Recipe
from twotower.runs.trial_record import TrialRecord
from twotower.runs.tuning import TuningResult
from twotower.runs.tuning_folder import TuningFolder
from twotower.runs.tuning_outcome import own_text, position, state_words, value_text

__all__ = ["report_tuning", "tuning_content"]


def report_tuning(recipe: Recipe, found: TuningResult) -> Path:
    """Write ``report.html`` into a tuning's folder.

    Args:
        recipe: As it was before.
        found: What the tuning gave.

    Returns:
        The path of the page.

    Raises:
        ConfigError: If matplotlib is not installed.
        BundleError: If the file can't be written.
    """
    return write_tuning_page(tuning_content(recipe, found), TuningFolder(found.folder).page)


def tuning_content(recipe: Recipe, found: TuningResult) -> TuningReport:
    """The figures of the page."""
    summary = found.summary
    metric, best, own = summary["metric"], summary["best"], summary["own"]
    ended = [record for record in found.records if record.counts]
    sentences = [
        f"The best of {state_words(found.records)} reaches {metric} {best['value']:.4f} on {summary['rows']['validation']:,} "
        f"validation rows: trial {best['number']}, epoch {best['epoch']} of {best['epochs_run']}."
    ]
    if own is not None and own["number"] == best["number"]:
        sentences.append("That is the recipe as it was: nothing that was tried is better.")
    elif own is not None and own["value"] is not None:
        sentences.append(f"The recipe as it was reaches {own['value']:.4f} (trial {own['number']}).")
    sentences.append(
        "The best of many is a little too good on the rows that it was chosen by; what it is worth is what twotower train "
        "best.toml finds on test rows."
    )
    importances = summary["importances"]
    keys = tuple(
        TunedKey(
            name=key,
            low=value_text(config.ends[0]),
            high=value_text(config.ends[-1]),
            own=own_text(recipe, key),
            best=value_text(best["settings"][key]),
            importance=importances.get(key),
        )
        for key, config in found.space.items()
    )
    return TuningReport(
        title=f"Tuning of {recipe.name}",
        metric=metric,
        smaller_is_better=summary["smaller_is_better"],
        rows=summary["rows"]["validation"],
        sentences=tuple(sentences),
        notes=tuple(summary["notes"]),
        best=best["number"],
        own=None if own is None else own["number"],
        keys=keys,
        trials=tuple(_trial(record, found) for record in ended),
    )


def _trial(record: TrialRecord, found: TuningResult) -> TuningTrial:
    values = [(found.space[key], record.settings[key]) for key in found.space if key in record.settings]
    epochs = tuple(sorted(record.curve))
    end = record.end
    return TuningTrial(
        number=record.number,
        state=cast(Literal["done", "pruned", "failed"], record.state),
        settings=tuple(value_text(value) for _, value in values),
        places=tuple(position(config, value) for config, value in values),
        value=record.value,
        epoch=0 if end is None else end.epoch,
        epochs=epochs,
        curve=tuple(record.curve[epoch] for epoch in epochs),
        reason="" if end is None else end.reason,
    )
