"""Tables in, checked interactions out: reading, one declared schema, id tables, splits, histories and batches."""

from twotower.data.bad_rows import BadRow, BadRowsPolicy, SkippedRows
from twotower.data.batches import Batch, Batches
from twotower.data.column_types import ColumnType
from twotower.data.examples import Examples, HistoryInput
from twotower.data.histories import Histories, build_histories
from twotower.data.id_table import Catalogue, IdTable
from twotower.data.interactions import Interactions
from twotower.data.report import DataReport, DroppedRows
from twotower.data.schema import Schema
from twotower.data.split import GivenSplit, LeaveLastOut, RandomSplit, Split, SplitConfig, TimeSplit, split
from twotower.data.table import ReadTable, TableConfig, TableSource, read_table, read_table_with_report
from twotower.data.table_report import TableReport

__all__ = [
    "BadRow",
    "BadRowsPolicy",
    "Batch",
    "Batches",
    "Catalogue",
    "ColumnType",
    "DataReport",
    "DroppedRows",
    "Examples",
    "GivenSplit",
    "Histories",
    "HistoryInput",
    "IdTable",
    "Interactions",
    "LeaveLastOut",
    "RandomSplit",
    "ReadTable",
    "Schema",
    "SkippedRows",
    "Split",
    "SplitConfig",
    "TableConfig",
    "TableReport",
    "TableSource",
    "TimeSplit",
    "build_histories",
    "read_table",
    "read_table_with_report",
    "split",
]
