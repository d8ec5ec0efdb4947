from __future__ import annotations

import polars as pl
import pytest

from twotower import errors
from twotower.errors import ConfigError, TwotowerError, nearest, type_name


def test_one_root_catches_every_error() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(kinds) == 19
    assert all(issubclass(kind, TwotowerError) for kind in kinds)


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        ("TableReadError", "DataError"),
        ("UnknownIdError", "DataError"),
        ("CorruptBundleError", "BundleError"),
        ("IncompatibleBundleError", "BundleError"),
        ("CorruptStoreError", "StoreError"),
        ("IncompatibleStoreError", "StoreError"),
        ("StoreBusyError", "StoreError"),
    ],
)
def test_special_errors_are_caught_by_the_general_one(child: str, parent: str) -> None:
    assert issubclass(getattr(errors, child), getattr(errors, parent))


def test_a_config_error_carries_its_faults() -> None:
    one = ConfigError("seed: is required")
    assert (one.faults, one.source, str(one)) == (("seed: is required",), None, "seed: is required")
    two = ConfigError(["a: x", "b: y"], source="r.toml")
    assert (two.faults, two.source) == (("a: x", "b: y"), "r.toml")
    assert str(two) == "r.toml: 2 faults\n  - a: x\n  - b: y"


def test_the_nearest_name_is_offered() -> None:
    assert nearest("recal@10", ["recall@10", "mrr"]) == "; did you mean 'recall@10'?"
    assert nearest("q", ["b", "a"]) == "; valid: a, b"
    assert nearest("q", []) == ""


def test_a_type_is_shown_without_the_categories_that_it_has() -> None:
    assert type_name(pl.Enum([f"v{n}" for n in range(9)])) == type_name(pl.Categorical()) == type_name(pl.String()) == "String"
    assert type_name(pl.List(pl.Int64)) == "List(Int64)"
