"""Tables in, checked interactions out: reading, one declared schema, id tables, splits, histories and batches."""

from twotower.data.column_types import ColumnType
from twotower.data.id_table import Catalogue, IdTable
from twotower.data.interactions import Interactions
from twotower.data.report import DataReport, DroppedRows
from twotower.data.schema import Schema
from twotower.data.split import GivenSplit, LeaveLastOut, RandomSplit, Split, SplitConfig, TimeSplit, split
from twotower.data.table import TableConfig, TableSource, read_table

__all__ = [
    "Catalogue",
    "ColumnType",
    "DataReport",
    "DroppedRows",
    "GivenSplit",
    "IdTable",
    "Interactions",
    "LeaveLastOut",
    "RandomSplit",
    "Schema",
    "Split",
    "SplitConfig",
    "TableConfig",
    "TableSource",
    "TimeSplit",
    "read_table",
    "split",
]
