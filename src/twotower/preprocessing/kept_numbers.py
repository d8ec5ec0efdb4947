"""Numbers that keep the meaning that an earlier fit gave them: its moments and edges, on whatever rows come later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twotower.errors import ConfigError
from twotower.preprocessing.buckets import FittedBuckets
from twotower.preprocessing.features import FittedFeature
from twotower.preprocessing.number import FittedNumber
from twotower.preprocessing.preprocessor import Preprocessor
from twotower.preprocessing.preprocessor_spec import PreprocessorSpec
from twotower.preprocessing.timestamp import FittedTimestamp

__all__ = ["FittedNumbers", "keep_numbers", "numbers_of"]

FittedNumbers = Mapping[str, Mapping[str, FittedFeature]]
"""By tower (``query``, ``candidate``) and name: features that were fitted to moments or edges."""

_GROUPS = {"user": "query", "context": "query", "candidate": "candidate"}


def numbers_of(spec: PreprocessorSpec) -> dict[str, dict[str, FittedFeature]]:
    """The features of a preprocessor that have moments or edges: numbers, buckets and timestamps."""
    found: dict[str, dict[str, FittedFeature]] = {"query": {}, "candidate": {}}
    for group, tower in _GROUPS.items():
        for feature in getattr(spec, group):
            if isinstance(feature, FittedNumber | FittedBuckets | FittedTimestamp):
                found[tower][feature.config.output_name] = feature
    return found


def keep_numbers(preprocessor: Preprocessor, earlier: FittedNumbers) -> Preprocessor:
    """Put the moments and edges of an earlier fit in the place of a preprocessor's own, so that what was learned of them holds.

    A value that the earlier rows had is encoded to the same bits. The range that values are clipped to grows to that of the
    later rows too, but for buckets, whose first and last one go on without an end.

    Args:
        preprocessor: Fitted on later rows.
        earlier: From `numbers_of`; features of other names are passed over. Buckets that are declared otherwise keep their own
            edges.

    Raises:
        ConfigError: If a number or a time is declared otherwise than in the earlier fit; all of them at once.
    """
    faults: list[str] = []
    groups: dict[str, tuple[FittedFeature, ...]] = {}
    for group, tower in _GROUPS.items():
        features: Sequence[FittedFeature] = getattr(preprocessor.spec, group)
        kept = []
        for feature in features:
            before = earlier.get(tower, {}).get(feature.config.output_name)
            try:
                kept.append(feature if before is None else _kept(feature, before))
            except ConfigError as error:
                faults.append(f"{tower} feature {feature.config.output_name!r}: {error}")
        groups[group] = tuple(kept)
    if faults:
        raise ConfigError(faults)
    return Preprocessor(preprocessor.spec.model_copy(update=groups))


def _kept(later: FittedFeature, earlier: FittedFeature) -> FittedFeature:
    match later:
        case FittedNumber():
            if not isinstance(earlier, FittedNumber) or later.config != earlier.config:
                raise ConfigError(_declared(later, earlier))
            return earlier.model_copy(update=_range(later, earlier))
        case FittedTimestamp():
            if not isinstance(earlier, FittedTimestamp) or later.config != earlier.config:
                raise ConfigError(_declared(later, earlier))
            # edges lie between the first and the last time, so that these stay where there are edges
            return earlier if earlier.config.num_edges else earlier.model_copy(update=_range(later, earlier))
        case FittedBuckets():
            return earlier if isinstance(earlier, FittedBuckets) and earlier.config == later.config else later
    return later


def _range(later: FittedNumber | FittedTimestamp, earlier: FittedNumber | FittedTimestamp) -> dict[str, float]:
    return {"minimum": min(later.minimum, earlier.minimum), "maximum": max(later.maximum, earlier.maximum)}


def _declared(later: FittedFeature, earlier: FittedFeature) -> str:
    now, then = later.config.model_dump(mode="json"), earlier.config.model_dump(mode="json")
    differing = [key for key in sorted(now.keys() | then.keys()) if now.get(key) != then.get(key)]
    return ", ".join(f"{key} is {now.get(key)!r}, and was {then.get(key)!r}" for key in differing)
