"""From a trained model to the weights that another one starts from: tables by what their rows stand for, the rest as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from twotower.bundle import JSON
from twotower.errors import ConfigError
from twotower.losses import RetrievalLoss
from twotower.models import TwoTower, state_of
from twotower.preprocessing import Preprocessor
from twotower.runs.carried_tables import CarriedTable, carry_table, match_tables
from twotower.runs.warm_model import WarmModel
from twotower.runs.warm_start_config import WarmStartConfig
from twotower.spec import EncoderSpec, HeadSpec, InputSpec, OrdinalHeadSpec, RegressionHeadSpec, TowerSpec
from twotower.training import TrainedParameters

__all__ = ["Carried", "carried_heads", "carry"]

_TOWERS = ("query", "candidate")
_LOSS = "loss"


@dataclass(frozen=True, eq=False)
class Carried:
    """What a model took over.

    Attributes:
        tables: Those that were carried.
        parts: The other parts that were: towers, encoders, heads, the loss.
        fresh: Parts that start anew, and why.
        rows: By name of the parameter: the source's row for each of its rows, of tables; None for the others that were carried.
    """

    tables: tuple[CarriedTable, ...]
    parts: tuple[str, ...]
    fresh: Mapping[str, str]
    rows: Mapping[str, Tensor | None] = field(repr=False)

    def states(self, trained: TrainedParameters, source: WarmModel) -> dict[str, dict[str, Tensor]]:
        """What the optimisers go on with: of carried parameters, in the form that their optimiser has; new rows start anew.

        A parameter whose optimiser is of another kind than it was starts anew.
        """
        found = {}
        for name, parameter, optimizer, _ in trained.places():
            if name not in self.rows or name not in source.states:
                continue
            start = {key: value for key, value in optimizer.state.get(parameter, {}).items() if isinstance(value, Tensor)}
            if not start and isinstance(optimizer, torch.optim.Adam):
                moments = {key: torch.zeros_like(parameter, device="cpu") for key in ("exp_avg", "exp_avg_sq")}
                start = {"step": torch.zeros(()), **moments}
            state = _going_on(start, source.states[name], self.rows[name])
            if state is not None:
                found[name] = state
        return found

    def to_json(self) -> dict[str, JSON]:
        """``tables`` (``known``, ``new`` and ``dropped`` rows of each), ``carried`` and ``fresh`` parts."""
        counts: dict[str, JSON] = {
            table.name: {"known": table.known, "new": table.new, "dropped": table.dropped} for table in self.tables
        }
        return {"tables": counts, "carried": list(self.parts), "fresh": dict(self.fresh)}


def carry(
    model: TwoTower, preprocessor: Preprocessor, loss: RetrievalLoss, source: WarmModel, config: WarmStartConfig
) -> Carried:
    """Copy weights into a model with fresh ones.

    Args:
        model: Changed in place.
        preprocessor: Its own.
        loss: What it has learned goes on too, where the source's checkpoint has it.
        source: What to go on from.
        config: Where new rows start, and whether parts may start anew.

    Raises:
        ConfigError: If a part can't be carried and ``config.partial`` does not allow it; all such parts at once. Nothing is
            copied then.
    """
    old = source.recommender.model
    tables, table_faults = match_tables(model, preprocessor, old, source.recommender.preprocessor)
    faults = {f"table {name!r}": reason for name, reason in table_faults.items()}
    faults |= _spec_faults(model, preprocessor, source)
    new_state, old_state = state_of(model), state_of(old)
    of_tables = {id(model.embeddings.table(table.name)): table.name for table in model.spec.tables}
    table_names = {name: of_tables[id(p)] for name, p in model.named_parameters() if id(p) in of_tables}
    old_of_tables = {id(old.embeddings.table(table.name)) for table in old.spec.tables}
    old_tables = {name for name, p in old.named_parameters() if id(p) in old_of_tables}
    parts: dict[str, list[str]] = {}
    for name in [*new_state, *(name for name in old_state if name not in new_state)]:
        if name not in table_names and name not in old_tables:
            parts.setdefault(_part(name), []).append(name)
    for part, names in parts.items():
        if part not in faults and any(name in new_state for name in names):
            reason = _state_fault(names, new_state, old_state)
            if reason:
                faults[part] = reason
    learned = {name: parameter.detach() for name, parameter in loss.named_parameters()}
    loss_fault = _state_fault([*learned], learned, source.loss) if source.loss else ""
    if loss_fault:
        faults[_LOSS] = loss_fault
    if faults and not config.partial:
        raise ConfigError(
            [
                *(f"{part} can't be carried: {reason}" for part, reason in faults.items()),
                "train anew without --from; or start these parts anew and carry the rest: --set warm_start.partial=true",
            ],
            source=f"--from {source.source}",
        )
    rows: dict[str, Tensor | None] = {}
    with torch.no_grad():
        for name, table in table_names.items():
            if table in tables:
                rows[f"model.{name}"] = tables[table].rows_V
                carry_table(tables[table], new_state[name], old.embeddings.table(table), config.new_ids)
        for part, names in parts.items():
            for name in names if part not in faults else ():
                if name in new_state:
                    new_state[name].copy_(old_state[name])
                    rows[f"model.{name}"] = None
        for name, value in learned.items() if source.loss and not loss_fault else ():
            rows[f"loss.{name}"] = None
            value.copy_(source.loss[name])
    if learned and not source.loss:
        faults[_LOSS] = "what it had learned is not in the run folder"
    there = [part for part, names in parts.items() if any(name in new_state for name in names)]
    whole = [part for part in (*there, *((_LOSS,) if learned else ())) if part not in faults]
    return Carried(tuple(tables.values()), tuple(whole), faults, rows)


def carried_heads(heads: tuple[HeadSpec, ...], source: WarmModel) -> tuple[HeadSpec, ...]:
    """The heads of a new model: where the source has one that does the same, with its moments or levels.

    So its outputs keep their units; the range that predictions are clipped to grows to that of the new rows.
    """
    old = {head.name: head for head in source.recommender.model.spec.heads}
    return tuple(_kept_head(head, old.get(head.name)) for head in heads)


def _kept_head(head: HeadSpec, old: HeadSpec | None) -> HeadSpec:
    if isinstance(head, RegressionHeadSpec) and isinstance(old, RegressionHeadSpec):
        return head.model_copy(
            update={
                "mean": old.mean,
                "scale": old.scale,
                "low": min(old.low, head.low),
                "high": max(old.high, head.high),
            }
        )
    if isinstance(head, OrdinalHeadSpec) and isinstance(old, OrdinalHeadSpec) and set(head.levels) <= set(old.levels):
        return head.model_copy(update={"levels": old.levels, "shares": old.shares})
    return head


def _part(name: str) -> str:
    """Which part a parameter belongs to, as a message names it."""
    for tower in _TOWERS:
        if name.startswith(f"{tower}.layers."):
            return f"{tower} tower"
        encoder = f"{tower}.encoders.encoder:"
        if name.startswith(encoder):
            column = name.removeprefix(encoder).split(".")[0].replace("%2E", ".").replace("%25", "%")
            return f"encoder of {column!r}"
    if name.startswith("heads.head:"):
        return f"head {name.removeprefix('heads.head:').split('.')[0]!r}"
    return "model's own parameters"


def _state_fault(names: list[str], new: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> str:
    for name in names:
        if name not in old:
            return f"there was no {name}"
        if name not in new:
            return f"there is no {name} any more"
        if new[name].shape != old[name].shape:
            return f"{name} has shape {list(new[name].shape)}, and had {list(old[name].shape)}"
    return ""


def _spec_faults(model: TwoTower, preprocessor: Preprocessor, source: WarmModel) -> dict[str, str]:
    """Parts of the same shapes that would mean something else."""
    old = source.recommender.model.spec
    faults: dict[str, str] = {}
    for name in _TOWERS:
        now, then = getattr(model.spec, name), getattr(old, name)
        faults |= {f"{name} tower": reason for reason in [_tower_fault(now, then)] if reason}
        encoders = {entry.column: entry for entry in then.inputs if entry.encoder is not None}
        for entry in now.inputs:
            before = encoders.get(entry.column)
            if entry.encoder is None or before is None or before.encoder is None:
                continue
            is_now, was = _encoder(entry, entry.encoder), _encoder(before, before.encoder)
            if is_now != was:
                faults[f"encoder of {entry.column!r}"] = _differing(is_now, was)
    if model.spec.share_layers != old.share_layers:
        faults.setdefault("query tower", "share_layers is another")
        faults.setdefault("candidate tower", "share_layers is another")
    faults |= _number_faults(preprocessor, source.recommender.preprocessor, faults)
    heads = {head.name: head for head in old.heads}
    for head in model.spec.heads:
        if head.name in heads and (reason := _head_fault(head, heads[head.name])):
            faults[f"head {head.name!r}"] = reason
    return faults


def _number_faults(new: Preprocessor, old: Preprocessor, found: Mapping[str, str]) -> dict[str, str]:
    """Floats that are made otherwise than they were, which a tower's first layer has learned to read."""
    faults = {}
    groups = (("query", ("user", "context")), ("candidate", ("candidate",)))
    for tower, names in groups:
        before = {f.config.output_name: f.config for name in names for f in getattr(old.spec, name)}
        for feature in (f for name in names for f in getattr(new.spec, name)):
            config = feature.config
            if config.kind in ("number", "timestamp", "vector") and before.get(config.output_name, config) != config:
                was = before[config.output_name].model_dump(mode="json")
                faults[f"{tower} tower"] = f"feature {config.output_name!r}: {_differing(config.model_dump(mode='json'), was)}"
    return {part: reason for part, reason in faults.items() if part not in found}


def _tower_fault(now: TowerSpec, then: TowerSpec) -> str:
    inputs = [[(entry.column, entry.width, entry.pooling, entry.items) for entry in tower.inputs] for tower in (now, then)]
    if inputs[0] != inputs[1]:
        names = [[entry.column for entry in tower.inputs] for tower in (now, then)]
        if names[0] != names[1]:
            return f"its inputs are {', '.join(names[0])}, and were {', '.join(names[1])}"
        one, other = next((one, other) for one, other in zip(*inputs, strict=True) if one != other)
        if one[:3] == other[:3]:
            return f"input {one[0]!r} reads items of a {one[3] or 'table'}, and read those of a {other[3] or 'table'}"
        return f"input {one[0]!r} is {one[1]} wide ({one[2] or 'not pooled'}), and was {other[1]} ({other[2] or 'not pooled'})"
    keys = {"layer_sizes", "activation", "layer_norm", "l2_normalise", "skip"}
    return _differing(now.model_dump(include=keys), then.model_dump(include=keys))


def _encoder(entry: InputSpec, spec: EncoderSpec) -> dict[str, Any]:
    """All that decides what its weights mean."""
    read = {"width": entry.width, "max_length": entry.max_length, "items": entry.items, "request_time": entry.request_time}
    return {**spec.model_dump(exclude={"dropout"}), **read}


def _head_fault(head: HeadSpec, old: HeadSpec) -> str:
    keys = {"kind", "inputs", "layer_sizes", "activation", "levels"}
    return _differing(head.model_dump(include=keys), old.model_dump(include=keys))


def _differing(now: Mapping[str, Any], then: Mapping[str, Any]) -> str:
    keys = [key for key in sorted(now.keys() | then.keys()) if now.get(key) != then.get(key)]
    return ", ".join(f"{key} is {_shown(now.get(key))}, and was {_shown(then.get(key))}" for key in keys)


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def _going_on(start: Mapping[str, Tensor], old: Mapping[str, Tensor], rows_V: Tensor | None) -> dict[str, Tensor] | None:
    """A parameter's state as its optimiser has it, filled with what another one kept; None where that kept something else."""
    kept = _by_meaning(old)
    state = {}
    for key, value in start.items():
        meaning = "squares" if key in ("sum", "accumulator") else key
        if meaning == "step" and "exp_avg" not in start:
            state[key] = value  # of Adagrad without decay, nothing depends on it
            continue
        if meaning not in kept or kept[meaning].dim() != value.dim() or kept[meaning].shape[1:] != value.shape[1:]:
            return None
        if rows_V is None or value.dim() == 0:
            if kept[meaning].shape != value.shape:
                return None
            state[key] = kept[meaning].clone()
        else:
            state[key] = value.cpu().clone()
            known = rows_V >= 0
            state[key][known] = kept[meaning][rows_V[known]].to(state[key])
    return state or None


def _by_meaning(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"squares" if key in ("sum", "accumulator") else key: value for key, value in entries.items()}
