"""``python -m twotower.datasets``: fetch the public data sets into the cache."""

from __future__ import annotations

import sys
from typing import get_args

from twotower.datasets.movielens import MovieLensName, movielens
from twotower.errors import DatasetError


def main() -> int:
    """Fetch MovieLens 100K and 1M; progress and faults on stderr; 0, or 1 when one can't be had."""
    status = 0
    for name in get_args(MovieLensName):
        try:
            data = movielens(name)
        except DatasetError as error:
            sys.stderr.write(f"{error}\n")
            status = 1
        else:
            sys.stderr.write(f"MovieLens {name}: {data.interactions.height:,} ratings in the cache\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
