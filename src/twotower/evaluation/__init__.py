"""Exact evaluation over the whole catalogue, the same for models and baselines."""

from twotower.evaluation.comparison import Compared, RankerMean, compare_rankers, ranker_means
from twotower.evaluation.counting import CountingScorer, ScoreCounter
from twotower.evaluation.evaluate import evaluate, evaluate_per_user
from twotower.evaluation.judged_rows import JudgedRows
from twotower.evaluation.list_figures import list_figures
from twotower.evaluation.model_scorer import ModelScorer, encode_catalogue
from twotower.evaluation.outcomes import predict_outcomes
from twotower.evaluation.rank import PositiveRanks, rank_positives
from twotower.evaluation.result import Evaluation, Figures
from twotower.evaluation.scorer import Scorer
from twotower.evaluation.sharded_index import ShardedIndex
from twotower.evaluation.sharded_scorer import ShardedScorer
from twotower.evaluation.top_items import top_items

__all__ = [
    "Compared",
    "CountingScorer",
    "Evaluation",
    "Figures",
    "JudgedRows",
    "ModelScorer",
    "PositiveRanks",
    "RankerMean",
    "ScoreCounter",
    "Scorer",
    "ShardedIndex",
    "ShardedScorer",
    "compare_rankers",
    "encode_catalogue",
    "evaluate",
    "evaluate_per_user",
    "list_figures",
    "predict_outcomes",
    "rank_positives",
    "ranker_means",
    "top_items",
]
