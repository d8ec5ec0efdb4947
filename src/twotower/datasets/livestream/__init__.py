"""A planted log of live streams, of any size, of which the truth is known."""

from twotower.datasets.livestream.columns import LIVESTREAM_COLUMNS
from twotower.datasets.livestream.oracle import OracleScorer
from twotower.datasets.livestream.synthesize import LivestreamFormat, Synthesizing, synthesize_livestream
from twotower.datasets.livestream.truth import LivestreamTruth

__all__ = ["LIVESTREAM_COLUMNS", "LivestreamFormat", "LivestreamTruth", "OracleScorer", "Synthesizing", "synthesize_livestream"]
