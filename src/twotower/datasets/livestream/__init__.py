"""A planted log of live streams, of any size, of which the truth is known."""

from twotower.datasets.livestream.columns import LIVESTREAM_COLUMNS
from twotower.datasets.livestream.synthesize import LivestreamFormat, Synthesizing, synthesize_livestream

__all__ = ["LIVESTREAM_COLUMNS", "LivestreamFormat", "Synthesizing", "synthesize_livestream"]
