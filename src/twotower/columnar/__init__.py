"""Tables too large to be read at every start: converted once, streaming, to columns that are mapped into memory."""

from twotower.columnar.open_table import ColumnarTable, open_table
from twotower.columnar.parts import Divide, PartDone, PartJob
from twotower.columnar.progress import Converting
from twotower.columnar.stored_column import release_pages

__all__ = ["ColumnarTable", "Converting", "Divide", "PartDone", "PartJob", "open_table", "release_pages"]
