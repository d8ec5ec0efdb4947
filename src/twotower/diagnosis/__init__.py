"""What people get wrong in retrieval models: each check a function from measured evidence to a finding, or to none."""

from twotower.diagnosis.collapsed_vectors import Vectors, check_vectors, effective_rank, mean_cosine, share_of_equal
from twotower.diagnosis.diagnosis import Diagnosis, NotMade, without_consequences
from twotower.diagnosis.false_negatives import BatchNegatives, check_negatives
from twotower.diagnosis.finding import Finding, Severity
from twotower.diagnosis.head_bias import HeadShares, check_head
from twotower.diagnosis.idle_features import Importance, Importances, check_features, idle
from twotower.diagnosis.leakage import TestKnowledge, check_leakage
from twotower.diagnosis.lift import Lift
from twotower.diagnosis.out_of_vocabulary import UnknownValues, check_vocabulary
from twotower.diagnosis.overfitting import Curve, check_overfitting
from twotower.diagnosis.popularity_only import PopularityLikeness, average_ranks, check_popularity, rank_correlation
from twotower.diagnosis.serving_mismatch import Clipped, Served, check_serving
from twotower.diagnosis.stuck_loss import TrainLoss, check_train_loss
from twotower.diagnosis.temperature import SoftmaxScale, check_temperature
from twotower.diagnosis.too_little_data import IdTableLoad, TrainingData, check_width

__all__ = [
    "BatchNegatives",
    "Clipped",
    "Curve",
    "Diagnosis",
    "Finding",
    "HeadShares",
    "IdTableLoad",
    "Importance",
    "Importances",
    "Lift",
    "NotMade",
    "PopularityLikeness",
    "Served",
    "Severity",
    "SoftmaxScale",
    "TestKnowledge",
    "TrainLoss",
    "TrainingData",
    "UnknownValues",
    "Vectors",
    "average_ranks",
    "check_features",
    "check_head",
    "check_leakage",
    "check_negatives",
    "check_overfitting",
    "check_popularity",
    "check_serving",
    "check_temperature",
    "check_train_loss",
    "check_vectors",
    "check_vocabulary",
    "check_width",
    "effective_rank",
    "idle",
    "mean_cosine",
    "rank_correlation",
    "share_of_equal",
    "without_consequences",
]
