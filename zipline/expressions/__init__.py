"""The portable SQL subset: an expression is parsed once, typed, and means the same on every engine and in Python.

    text --syntax--> sqlglot tree --grammar, checker--> typed nodes --printer--> DuckDB, Spark, Flink
                                                                    --compiler--> one Python function

`FUNCTIONS` declares every function and operator: argument types, result type, printers, Python. Where an engine would
do something else than the rules below, its printer corrects it; the session settings in `SESSIONS` are assumed.
`tests/conformance/expression_cases.py` holds the rules as values.

**Numbers**

| about | rule |
|---|---|
| literals | a whole number is INT, or BIGINT beyond 32 bits; one with a point or exponent is DOUBLE |
| `+ - *`, negation, `abs` of integers | in 64 bits whatever the widths, result BIGINT; beyond 64 bits is an error |
| `/` | always DOUBLE |
| `DIV` | of integers, towards zero |
| `%`, `mod` | of integers, sign of the dividend |
| division by zero | null: `/`, `DIV`, `%`, and zero to a negative power |
| doubles | IEEE 754; overflow gives infinity, which is a value; -0.0 equals 0.0 |
| NaN | null, in columns, list elements and fields as in results: `inf - inf`, `sqrt(-1)` |
| `ln` | null for zero and below |
| FLOAT, DECIMAL | are stored and compared; arithmetic and number functions take them as DOUBLE |
| `round`, `round(x, n)` | half away from zero, `n` a literal from 0 to 15: of `x * 10^n` as a double |
| `round`, `floor`, `ceil` | DOUBLE of a DOUBLE, an integer as it is |
| `greatest`, `least` | pass nulls over; null only if all are |
| `exp`, `ln`, `power` | to the last places only: the engines' libraries differ there |

**Logic**

| about | rule |
|---|---|
| null | any function of null is null, except those of this table and `greatest`, `least` |
| AND, OR | three-valued; BETWEEN and IN are the AND and OR they stand for |
| CASE, IF, COALESCE | compute only the branch they take, so they can guard a CAST; AND and OR cannot |
| failures | show where the result depends on them; an engine need not compute the rest |
| comparison | numbers by their common type, a DATE as its midnight; text with text only |
| alternatives | of CASE, IF, COALESCE, NULLIF: the common type of all |

**Text**

| about | rule |
|---|---|
| comparison, order | by code point: case, accents and trailing spaces count |
| places and lengths | in code points, from 1; `substring` takes the places that exist, wherever it starts |
| `concat`, `\\|\\|` | null if any part is |
| `trim` and its kin | spaces (U+0020) only |
| `lower` | code point by code point; `upper` with Unicode's longer forms: STRASSE |
| `replace` of the empty text | changes nothing |
| LIKE | literal patterns; `_` is one code point, newlines too; no escape but by ESCAPE |
| regular expressions | literal patterns, searched anywhere; `.` is all but newline, `\\d \\w \\s` are ASCII |
| | `$` is the very end; no look-around, back references, flags or `\\b` |
| `regexp_extract` | null without a match; empty where the group took no part |
| `json_get` | strings, integers and booleans as text, objects and lists as compact JSON; CAST fractions |
| | null for null, for a path that leads nowhere, and for text that is not JSON |

**CAST** fails with an error that names the value; TRY_CAST gives null.

| from | to | rule |
|---|---|---|
| text | integer | sign and digits, nothing else; spaces around |
| text | DOUBLE, FLOAT | digits with point and exponent; spaces around; no `NaN` or `inf` |
| text | DECIMAL | digits with a point; half away from zero; spaces around |
| text | BOOLEAN | true t yes y 1, false f no n 0, in any case; spaces around |
| text | DATE | YYYY-MM-DD |
| text | TIMESTAMP | ISO 8601: a date, or a date, `T` or a space, and HH:MM[:SS[.decimals, cut at six]] |
| | | then Z, +05:30, +0530, +05 or, for UTC, nothing |
| DOUBLE, DECIMAL | integer | towards zero |
| number | narrower number | error beyond the range |
| integer | BOOLEAN | zero is false |
| BOOLEAN | number, text | 0 and 1, false and true |
| DOUBLE, DECIMAL | text | outside the subset, as is DOUBLE to DECIMAL: engines write and round differently |
| TIMESTAMP | text | 2013-07-01T06:30:00Z, with six decimals if any is not zero |
| TIMESTAMP | DATE | its UTC day; DATE to TIMESTAMP is midnight |

**Time.** A TIMESTAMP is an instant in UTC, in whole microseconds, of the years 1 to 9999.

| about | rule |
|---|---|
| parts | of UTC; `dayofweek` 1 is Sunday, weeks are those of ISO 8601 and start on Monday |
| `date_diff`, `timestampdiff` | whole units elapsed, towards zero, of units up to the week |
| `+ INTERVAL`, `timestampadd` | months keep the day of the month or take its last |
| `unix_seconds` and kin | downwards |
| `x AT TIME ZONE z` | the instant when clocks in the IANA zone `z` show `x`, a text or TIMESTAMP |
| | shown twice it is the first, skipped it moves on by the gap; `from_utc_timestamp` goes back |
| `to_timestamp(text, format)` | %Y %m %d %H %M %S %f %z, digits in full |

**Nested.** Places in lists count from 1, what is not there is null; `array_contains` passes nulls over.

Not here, on purpose: aggregates, windows, queries, parameters, and everything that is not determined by the row.
"""

from zipline.expressions.dialects import DIALECTS, SESSIONS, Dialect
from zipline.expressions.expression import Expression, parse, parse_time, referenced_columns
from zipline.expressions.functions import FUNCTIONS

__all__ = ["DIALECTS", "FUNCTIONS", "SESSIONS", "Dialect", "Expression", "parse", "parse_time", "referenced_columns"]
