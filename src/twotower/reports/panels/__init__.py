"""One file for each part of the page: figures in, a panel out, None where there is nothing to show."""

from twotower.reports.panels.facts import facts_panel, recipe_panel
from twotower.reports.panels.findings import findings_panel
from twotower.reports.panels.groups import groups_panel
from twotower.reports.panels.item_map import map_panel
from twotower.reports.panels.outcomes import outcomes_panel
from twotower.reports.panels.popularity import popularity_panel
from twotower.reports.panels.ranking import ranking_panel
from twotower.reports.panels.recall import recall_panel
from twotower.reports.panels.training import training_panel
from twotower.reports.panels.users import users_panel
from twotower.reports.panels.vectors import vectors_panel
from twotower.reports.panels.verdict import verdict_panel, verdict_sentences

__all__ = [
    "facts_panel",
    "findings_panel",
    "groups_panel",
    "map_panel",
    "outcomes_panel",
    "popularity_panel",
    "ranking_panel",
    "recall_panel",
    "recipe_panel",
    "training_panel",
    "users_panel",
    "vectors_panel",
    "verdict_panel",
    "verdict_sentences",
]
