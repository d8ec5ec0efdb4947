"""Optimisers, the learning rate over time, and gradient clipping, with sparse gradients of embedding tables in mind."""

from twotower.optim.build import OptimizerConfig, build_optimizers, rowwise_adagrad_numbers
from twotower.optim.clip import clip_gradients, clip_recorded
from twotower.optim.exact_adagrad import ExactAdagrad
from twotower.optim.lazy_adam import LazyAdam
from twotower.optim.recorded import let_steps_be_recorded
from twotower.optim.rows_pay import rows_pay
from twotower.optim.rowwise_adagrad import RowwiseAdagrad
from twotower.optim.schedule import ScheduleConfig, apply_learning_rate_factor, learning_rate_factor

__all__ = [
    "ExactAdagrad",
    "LazyAdam",
    "OptimizerConfig",
    "RowwiseAdagrad",
    "ScheduleConfig",
    "apply_learning_rate_factor",
    "build_optimizers",
    "clip_gradients",
    "clip_recorded",
    "learning_rate_factor",
    "let_steps_be_recorded",
    "rows_pay",
    "rowwise_adagrad_numbers",
]
