"""The portable SQL subset."""

from zipline.expressions.dialects import DIALECTS, SESSIONS, Dialect
from zipline.expressions.expression import Expression, parse, parse_time, referenced_columns
from zipline.expressions.functions import FUNCTIONS

__all__ = ["DIALECTS", "FUNCTIONS", "SESSIONS", "Dialect", "Expression", "parse", "parse_time", "referenced_columns"]
