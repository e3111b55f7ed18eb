"""Messages, and what the platform makes of them: the embedded stream and the streaming engine are held to one table."""

from __future__ import annotations

import base64
import datetime as dt
import json
import random
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

from zipline.errors import EventError
from zipline.orchestration.events.intake import LONGEST_EVENT, Intake
from zipline.types import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    NULL,
    SMALLINT,
    STRING,
    TIMESTAMP,
    TINYINT,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructType,
    array,
    map_of,
    struct,
)

COLUMNS: dict[str, DataType] = {
    "at": TIMESTAMP,
    "tiny": TINYINT,
    "small": SMALLINT,
    "n": INT,
    "big": BIGINT,
    "x": DOUBLE,
    "short": FLOAT,
    "word": STRING,
    "is it": BOOLEAN,
    "day": DATE,
    "blob": BINARY,
    "price": DecimalType(precision=6, scale=2),
    "exact": DecimalType(precision=38, scale=10),
    "ratio": DecimalType(precision=4, scale=4),
    "whole": DecimalType(precision=18, scale=0),
    "nothing": NULL,
    "times": array(TIMESTAMP),
    "prices": array(DecimalType(precision=6, scale=2)),
    "map": map_of(STRING, BIGINT),
    "by n": map_of(INT, DecimalType(precision=6, scale=2)),
    "by time": map_of(TIMESTAMP, STRING),
    "by x": map_of(DOUBLE, INT),
    "by short": map_of(FLOAT, INT),
    "by price": map_of(DecimalType(precision=6, scale=2), INT),
    "by day": map_of(DATE, INT),
    "by blob": map_of(BINARY, INT),
    "both": struct(a=INT, b=array(STRING)),
    "deep": array(struct(of=map_of(STRING, array(struct(price=DecimalType(precision=6, scale=2)))))),
    "größe": INT,
    "gone at": TIMESTAMP,
    "was": BOOLEAN,
}
REQUIRED = frozenset(["at"])
PARTITION = "ds"
ENVELOPE = ("gone at", "was")

_TEXT = '"2024-05-05T10:00:00{}"'
GOOD: dict[str, list[str]] = {
    "at": [
        *("0", "-0", "-62135596800000000", "253402300799999999", "1714903200000000"),
        *(_TEXT.format(rest) for rest in ("", "Z", "z", "+00:00", "-00:00", "+02:00", "+0200", "-23:59", "+23:59")),
        *(_TEXT.format(rest) for rest in (".1", ".12Z", ".123", ".1234", ".12345", ".123456Z", ".000001-05:30")),
        *(_TEXT.format(rest) for rest in (".1234564Z", ".1234565Z", ".12345699999999999", ".9999999+01:00")),
        *(_TEXT.format(rest) for rest in (r"\u0000", r"\u0000 and more", r".5\u0000Z")),
        *('"2024-05-05t10:00:00Z"', '"2024-05-05 10:00:00Z"', r'"2024\u002d05-05T10:00:00\u005a"'),
        *('"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"', '"9999-12-31T23:59:59.9999999"'),
        *('"0001-01-01T02:00:00+02:00"', '"9999-12-31T22:59:59-01:00"', '"1969-12-31T23:59:59.999999"'),
        *('"2024-02-29T23:59:59.9999999Z"', '"2023-12-31T23:59:59.9999999Z"', '"2000-02-29T00:00:00"'),
    ],
    "tiny": ["null", "0", "-0", "127", "-128"],
    "small": ["32767", "-32768"],
    "n": ["2147483647", "-2147483648", " 7\t"],
    "big": ["9223372036854775807", "-9223372036854775808", "999999999999999999", "1000000000000000000"],
    "x": [
        *("0", "-0", "-0.0", "1", "1.5", "-1.5e-3", "1E5", "1e+5", "0.1", "1e308", "1.7976931348623157e308"),
        "5e-324",
        *("1e-400", "-1e-400", "0e400", "0.0e-99999", "2.2250738585072011e-308", "9007199254740993", "1e22", "1e23"),
        *("123456789012345678901234567890", "18446744073709551615", "18446744073709551616", "10000000000000000000"),
        *("0.1234567890123456789012345", "1234567890.0987654321", "1e0000000000000000000001", "8.41e21", "1" * 309),
        *("0." + "0" * 400 + "1", "0." + "0" * 300 + "1e301", "1" + "0" * 400 + "e-400"),
        "1" + "0" * 10_005 + "e-10005",
        *("4.35", "0.000001", "123456.789e-7", "179769313486231570000000000000000e276", "9" * 19, "9" * 20, "1.0e1"),
    ],
    "short": [
        *("0.1", "16777217", "3.4028234663852886e38", "-3.4028234663852886e38", "1e-50", "1.17549435e-38"),
        "-0.0",
    ],
    "word": [
        *('""', '"a"', r'"\"\\\/\b\f\n\r\t"', r'"\u0000"', r'"\u00e9\ud83d\ude00"', '"é\U0001f600\x7f"'),
        '"x\u2028\ufeff"',
        *(r'"\uD83D\uDE00"', r'"a\u0041é"', f'"{"long " * 1000}"', f'"{"é" * 500}\\n{"x" * 99}"', '"\U0010ffff"'),
    ],
    "is it": ["true", "false", "null"],
    "day": ['"1970-01-01"', '"0001-01-01"', '"9999-12-31"', '"2024-02-29"', '"2000-02-29"', r'"2024-0\u0035-05"'],
    "blob": ['""', '"AAE="', '"AA=="', '"AB=="', '"AAB="', '"+/+/"', r'"\u0041AE="', '"\\/w=="'],
    "price": [
        *("0", "-0", "-0.0", "0.00", "1", "12.5", "9999.99", "-9999.99", "1e2", "100e-2", "12.50000", "99.99e2"),
        *('"12.5"', '" 12.5 "', '"1_2.5_0"', '"+1"', '".5"', '"5."', '"1E+3"', '"0e999999"', '"000001.10"', '"-.0"'),
        *('"\u0661\u0662.\uff15"', r'"\u00a01\u2003"', '"\t1"'.replace("\t", "\\t"), "0e99999", "0.0e-99999"),
        "0" + ".0" * 1,
        *("1" + "0" * 5000 + "e-5000", "0." + "0" * 3000 + "1e3001", f'"{"0" * 5000}1"', '"0e-999999999999"'),
    ],
    "exact": [
        *("1234567890123456789012345678.0123456789", "-9999999999999999999999999999.9999999999", "1e-10"),
        "0.0000000001",
        *("1e27", "9223372036854775808", "18446744073709551616", "123456789012345678901234567", "0E-10", "-0e5"),
    ],
    "ratio": ["0.1234", "0", "-0.9999", "1e-4", '"0.0001"'],
    "whole": ["999999999999999999", "-999999999999999999", "1e17", "1.0", "10e-1"],
    "nothing": ["null"],
    "times": ["[]", "[ ]", "[null, 1, " + _TEXT.format("Z") + "]", "null", "[\n1 , 2\r]"],
    "prices": ['[1, "2.5", null]'],
    "map": ["{}", "{ }", '{"a": 1, "": null}', '{"a": 1, "b": 2, "a": 3}', r'{"\u0061": 1, "a": 2}', '{"é": 1}'],
    "by n": ['{"1": 1, "-2": "0.5"}', '{"0": 1, "-0": 2}', r'{"\u0031": 1}', '{"1": 123456, "1": 1}'],
    "by time": [
        '{"0": "a", "1": "b"}',
        '{"1970-01-01T00:00:00": "a", "0": "b", "1970-01-01T01:00:00+01:00": "c", "1970-01-01T00:00:00Z": null}',
    ],
    "by x": ['{"1": 1, "1.0": 2, "1e0": 3}', '{"0": 1, "-0.0": 2}', '{"-0.0": 1, "0": 2}', '{"1e-400": 1}'],
    "by short": [
        *('{"0.1": 1, "0.10000000149011612": 2}', '{"16777217": 1, "16777216": 2}'),
        '{"1e-50": 1, "-1e-50": 2}',
    ],
    "by price": ['{"1": 1, "1.00": 2, "1e0": 3}', '{"-0": 1, "0.0": 2}'],
    "by day": ['{"2024-05-05": 1, "2024-05-05": null}'],
    "by blob": ['{"AAE=": 1, "AAE=": 2, "AA==": 3}', '{"AA==": 1, "AB==": 2}', '{"": 1}'],
    "both": ["{}", '{"a": 1, "b": ["x", null]}', '{"b": null, "a": null}', '{"a": 1, "a": 2}', r'{"\u0061": 1}'],
    "deep": [
        "[]",
        '[null, {"of": {"k": [{"price": "1.5"}, null], "l": null}}]',
        '[{"of": {"k": [{"price": 123456, "price": 1}]}}]',
        '[{"of": {"k": [{"price": 123456}], "k": []}}]',
        '[{"of": {"k": [{"price": 123456}]}, "of": null}]',
    ],
    "größe": ["1"],
}
"""JSON that fits a column."""

BAD: dict[str, list[str]] = {
    "at": [
        *("null", "1.0", "1e15", "-1e3", "true", "[]", "{}", '""', '"x"', '"0"', "-62135596800000001"),
        "253402300800000000",
        *("9223372036854775807", "9" * 30, "-" + "9" * 30, "9" * 5000, "NaN"),
        *('"2024-05-05"', '"2024-05-05T"', '"2024-05-05T10"', '"2024-05-05T10:00"', '"20240505T100000Z"', '"now"'),
        *('"2024-5-05T10:00:00Z"', '"2024-05-05x10:00:00Z"', '"2024-05-05T1:00:00Z "', '"2024/05/05T10:00:00Z"'),
        *('"2024-05-05T24:00:00Z"', '"2024-05-05T10:60:00Z"', '"2024-05-05T10:00:60Z"', '"2016-12-31T23:59:60Z"'),
        *('"0000-01-01T00:00:00Z"', '"2024-00-05T10:00:00Z"', '"2024-13-05T10:00:00Z"', '"2024-05-00T10:00:00Z"'),
        *('"2023-02-29T10:00:00Z"', '"1900-02-29T10:00:00Z"', '"2024-04-31T10:00:00Z"', '"2024-05-32T10:00:00Z"'),
        *(_TEXT.format(rest) for rest in (" ", " Z", "ZZ", "Z ", ".", ".Z", ",5", ".5,", "+")),
        *(_TEXT.format(rest) for rest in ("+1", "+01", "+01:", "+1:00")),
        *(_TEXT.format(rest) for rest in ("+24:00", "+01:60", "+01:000", "01:00", "+ab:cd", "UTC", "[UTC]")),
        *(_TEXT.format(rest) for rest in (r"Z\u0000", "\u0660", ".\u0661", "−01:00", "é")),
        *('"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-00:01"'),
        *('" 2024-05-05T10:00:00Z"', '"+2024-05-05T10:00:00Z"'),
        '"-024-05-05T10:00:00Z"',
    ],
    "tiny": [
        *("128", "-129", "1.0", '"1"', "1e0", "true", "[1]", "99999999999999999999", "01", "+1", "0x1"),
        *("1_0", "--1"),
    ],
    "small": ["32768", "-32769"],
    "n": [
        *("2147483648", "-2147483649", "1.", ".5", "1e", "1e+", "-", "- 1", "00", "-01", "1 2", "1a"),
        *("Infinity", "\u0661"),
    ],
    "big": ["9223372036854775808", "-9223372036854775809", "1" * 4301, "-" + "1" * 10_000, "1.5", "0.0"],
    "x": [
        *('"1"', "true", "NaN", "nan", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400),
        *("1e99999999999", "{}", "1.e5"),
    ],
    "short": ["3.402823466385289e38", "3.5e38", "-1e39", "1e400"],
    "word": [
        *("1", "true", "[]", "{}", "'a'", '"', '"a', '"\t"', '"\n"', '"\x00"', '"\x1f"', r'"\x"', r'"\u"'),
        *(r'"\u12"', r'"\u00g0"'),
        *(r'"\ud800"', r'"\udc00"', r'"\ud800a"', r'"\ud800\n"', r'"\ud800\ud800"', r'"\ud800\u0041"'),
        r'"\ude00\ud83d"',
        *(r'"\U0041"', '"\\', '"\\"', r'"\ud83d\u"', r'"\'"', r'"\a"'),
    ],
    "is it": ["0", "1", '"true"', "True", "tru", "truee", "t", "falsy", "[]", "TRUE"],
    "day": [
        *('"2024-02-30"', '"2024-5-5"', '"20240505"', '"2024-05-05T00:00:00"', "0", '"0000-01-01"'),
        *('"2100-02-29"', '" 2024-05-0"'),
    ],
    "blob": [
        *('"!"', '"AAE"', '"AA=A"', '"A==="', '"===="', '"AAE=\\n"', '"AA-_"', '"AA=="'[:-1] + 'AAAA"', "1"),
        *("[0]", '"éAA"'),
    ],
    "price": [
        *("1.234", "12345.5", "10000", "9999.995", "-10000", "1e4", "1e-3", "1e400", "1e99999", "-1e-99999"),
        *("0.001", "true"),
        *('"NaN"', '"sNaN"', '"-nan12"', '"Infinity"', '"-inf"', '"x"', '""', '" "', '"1 2"', '"0x1"'),
        *('"1,5"', '"."', '"e5"'),
        *('"1e"', '"--1"', '"1.2.3"', '"1e5.0"', '"1e9999999999"', '"1e9999999999999999999999"'),
        '"0e9999999999999999999999"',
        *("[]", "{}", '"1\u0000"'.replace("\u0000", "\\u0000"), '"½"', '"Ⅷ"', '"一"', "NaN", "1" + "0" * 5000, '"_"'),
        *("0." + "0" * 5000 + "1", "1" * 50, "1." + "1" * 50, '"1e-99999999999999999999"'),
    ],
    "exact": ["1e28", "1e-11", "12345678901234567890123456789", "1.23456789012"],
    "ratio": ["1", "1.0", "0.12345", "-1", "1e-5"],
    "whole": ["1000000000000000000", "1e18", "0.5"],
    "nothing": ["0", '""', "[]", "false", "{}", "nul", "nulll", "NULL", "none"],
    "times": [
        *("[,]", "[1,]", "[1 2]", "[1", "[", "{}", '["x"]', "[1.5]", "[[1]]", "1", _TEXT.format("Z")),
        *("[1]]", "[,1]"),
    ],
    "prices": ["[1, 1.234]", '["NaN"]', "[[]]", "[12345]"],
    "map": [
        *("[]", '{"a"}', '{"a":}', '{"a" 1}', "{1: 1}", "{a: 1}", '{"a": 1,}', '{,"a": 1}', '{"a": "1"}'),
        *('{"a": 1', "{", '{"a": 1.0}'),
    ],
    "by n": [
        *('{"": 1}', '{"a": 1}', '{"1.0": 1}', '{" 1": 1}', '{"01": 1}', '{"2147483648": 1}'),
        *('{"1": 12345}', '{"1e0": 1}', '{"é": 1}'),
    ],
    "by time": [
        *('{"x": "a"}', '{"1.5": "a"}', '{"0001-01-01T00:00:00+14:00": "a"}'),
        *('{"99999999999999999999": "a"}', '{"": ""}'),
    ],
    "by x": ['{"NaN": 1}', '{"inf": 1}', '{"-Infinity": 1}', '{"x": 1}', '{"": 1}', '{"1e400": 1}', '{"1 ": 1}'],
    "by short": ['{"1e39": 1}', '{"nan": 1}'],
    "by price": [
        *('{"1.234": 1}', '{"nan": 1}', '{"-inf": 1}', '{" 1": 1}', '{"1_0": 1}', '{".5": 1}', '{"x": 1}'),
        '{"": 1}',
    ],
    "by day": ['{"2024-05-5": 1}', '{"": 1}', '{"5": 1}'],
    "by blob": ['{"A": 1}', '{"AA=A": 1}'],
    "both": [
        *('{"c": 1}', '{"a": 1, "c": null}', '{"a": "x"}', '{"b": [1]}', "[]", '"x"', '{"A": 1}'),
        *('{"a ": 1}', '{"": 1}'),
    ],
    "deep": [
        '[{"of": {"k": [{"price": 123456}]}}]',
        '[{"of": {"k": [{"prices": 1}]}}]',
        '[{"of": {"k": [{"price": 1, "price": 123456}]}}]',
        "[" * 1000,
        "[[[[]]]]",
    ],
    "größe": ['"1"', "1.5"],
}
"""JSON that does not."""

_AT = b'{"at": 1714903200000000'
WHOLE_GOOD: list[bytes] = [
    _AT + b"}",
    b" \t\r\n" + _AT + b"} \n",
    b'{"at":"2024-05-05T10:00:00Z","n":1}',
    b'{"n" : 1 , "at" : 1}',
    b'{"n": 1, "at": 1, "n": 2, "at": 2}',
    b'{"at": "0001-01-01T00:00:00+14:00", "at": 1}',
    b'{"at": 1, "price": 12345.678, "price": 1}',
    b'{"at": 1, "prices": [12345.678, 1], "prices": null}',
    b'{"at": 1, "by price": {"nan": 1}, "by price": {}}',
    b'{"\\u0061\\u0074": 1, "\\u006e": 2, "is\\u0020it": true}',
    b'{"at": 1, "gr\\u00f6\\u00dfe": 2}',
    _AT + b', "word": "' + b"x" * (LONGEST_EVENT - 60) + b'"}',
    _AT + b"}" + b" " * (LONGEST_EVENT - 100),
    b'{"was": true, "gone at": 0, "at": 1}',
]
WHOLE_BAD: list[bytes] = [
    *(b"", b" ", b"\n", b"{", b"{}", b"}", b"[]", b"null", b"1", b'"x"', b"true", b"x", b"[{}]", b"nul", b"-", b'"'),
    *(b"\xef\xbb\xbf" + _AT + b"}", _AT + b"}".replace(b"}", b""), _AT + b",}", _AT + b"}}", _AT + b"} x"),
    _AT + b"}{}",
    *(_AT + b"}\x00", b"\x00" + _AT + b"}", _AT + b"}\xa0", _AT + b"}\x0b", (_AT + b"}").decode().encode("utf-16")),
    *(_AT + b"}//", _AT + b"/**/}", b"{'at': 1}", b"{at: 1}", b'{"at" 1}', b'{"at": 1 "n": 2}', b'{"at"; 1}'),
    b'{"at": }',
    *(b'{"at"}', b'{"at', b'{"at":', b'{"at": 1', b'{"at": 1,', b'{"at": 1, "n', b"{,}", b'{"at": 1,, "n": 2}'),
    *(_AT + b', "ds": "2024-05-05"}', _AT + b', "nn": 1}', _AT + b', "N": 1}', _AT + b', "": 1}'),
    _AT + b', "n ": 1}',
    *(_AT + b', "\xff": 1}', _AT + b', "n\\u0000": 1}', _AT + b', "gr\xc3": 1}', _AT + b', "\\ud800": 1}'),
    _AT + b', "wrod": [}',
    *(b'{"n": 1}', b'{"at": null}', b'{"at": 1, "at": null}', b'{"at": 1, "at": "0001-01-01T00:00:00+14:00"}'),
    b'{"n": null}',
    *(b'{"at": 1, "price": 1, "price": 12345.678}', b'{"at": 1, "price": 12345.678, "n": "x"}'),
    b'{"n": "x", "n": 1, "at": 1}',
    *(b'{"at": 1, "by price": {"nan": 1, "nan": 2}}', b'{"at": 1, "price": 12345.678, "nn": 1}'),
    *(b"[" * 100_000, b'{"a":' * 100_000, b'{"deep":' + b"[" * 100_000, b"\xff\xfe", bytes(range(256))),
    _AT + b', "word": "' + b"x" * LONGEST_EVENT + b'"}',
    _AT + b"}" + b" " * LONGEST_EVENT,
    *(
        _AT + b', "word": "' + text + b'"}'
        for text in (
            *(b"\xff", b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xc3(", b"\xe0\x80\x80", b"\xe0\x9f\xbf"),
            b"\xe2\x82",
            *(b"\xe2(\xa1", b"\xe2\x82(", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf"),
            *(b"\xf0\x9f\x98", b"\xf0(\x8c\xbc", b"\xf0\x90(\xbc", b"\xf0\x90\x8c(", b"\xf4\x90\x80\x80"),
            b"\xf5\x80\x80\x80",
            *(b"\xf8\x88\x80\x80\x80", b"ok\xc3\xa9\xff", b"\xc3\xa9\\n\xff", b"\\u00e9\xc3", b"\xc3\\u00e9"),
        )
    ),
    *(_AT + b', "map": {"' + text + b'": 1}}' for text in (b"\xff", b"\xed\xa0\x80", b"a\\ud800")),
    *(_AT + b', "price": "' + text + b'"}' for text in (b"1\xff", b"\xc0\xb1")),
    *(_AT + b', "blob": "' + text + b'"}' for text in (b"AA\xff=", b"\xc3\xa9AA")),
]


def good() -> list[bytes]:
    """Messages that are events: a value of each kind, and all of them together in any order."""
    found = [with_column(name, value) for name, values in GOOD.items() for value in values]
    for turn in range(12):
        pairs = [(name, values[turn % len(values)]) for name, values in GOOD.items()]
        random.Random(turn).shuffle(pairs)
        found.append(message(pairs))
    return [*found, *WHOLE_GOOD]


def bad() -> list[bytes]:
    """Messages that are none."""
    return [*(with_column(name, value) for name, values in BAD.items() for value in values), *WHOLE_BAD]


def with_column(name: str, value: str) -> bytes:
    return message([(name, value)] if name == "at" else [("at", "1714903200000000"), (name, value)])


def message(pairs: list[tuple[str, str]]) -> bytes:
    return ("{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {value}" for name, value in pairs) + "}").encode()


def generated(seed: int, count: int) -> Iterator[bytes]:
    """Events and what is nearly one: values of other columns, bytes changed, left out, doubled, cut."""
    chance = random.Random(seed)
    values = [(name, value) for table in (GOOD, GOOD, GOOD, BAD) for name, each in table.items() for value in each]
    values = [(name, value) for name, value in values if len(value) < 200]
    for _ in range(count):
        pairs = [("at", chance.choice(GOOD["at"])), *chance.sample(values, chance.randint(0, 5))]
        if chance.random() < 0.3:
            place = chance.randrange(len(pairs))
            pairs[place] = (pairs[place][0], _number(chance) if chance.random() < 0.7 else chance.choice(values)[1])
        chance.shuffle(pairs)
        text = bytearray(message(pairs))
        for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 5))):
            _change(chance, text)
        yield bytes(text)


def _number(chance: random.Random) -> str:
    """A number of any length, or nearly one."""
    length = chance.choice((1, 2, 5, 9, 10, 17, 18, 19, 20, 21, 38, 40))
    digits = "".join(chance.choice("0123456789") for _ in range(length))
    fraction = chance.choice(("", "", ".0", "." + str(chance.getrandbits(chance.choice((4, 30, 60, 90))))))
    exponent = chance.choice(("", "", "", f"e{chance.randint(-330, 330)}", f"E+{chance.randint(0, 30)}", "e-2", "e00"))
    text = chance.choice(("", "", "-")) + (digits.lstrip("0") or "0") + fraction + exponent
    return chance.choice((text, text, text, f'"{text}"'))


def _change(chance: random.Random, text: bytearray) -> None:
    place = chance.randrange(len(text) + 1)
    match chance.randrange(5):
        case 0:
            text[place:place] = bytes([chance.choice(b'0123456789eE+-.,:{}[]"\\u nt\x00\x7f\x80\xc3\xa9\xff')])
        case 1:
            del text[place : place + chance.randint(1, 4)]
        case 2:
            text[place:place] = text[place : place + chance.randint(1, 12)]
        case 3 if place < len(text):
            text[place] = chance.randrange(256)
        case _:
            del text[place + chance.randint(0, 60) :]


_OLD, _NEW = b'{"at": 1, "n": 1}', b'{"at": 2, "n": 2, "price": 1.5}'
_AT_US = b'"source": {"ts_us": 1714903200000001, "ts_ms": 5, "table": "t", "more": {"\xff": [1e999]}}'
CHANGES: list[tuple[bytes | None, int]] = [
    (None, 0),
    (b'{"op": "c", "before": null, "after": ' + _NEW + b", " + _AT_US + b', "ts_ms": 9, "transaction": null}', 1),
    (b'{"op": "r", "after": ' + _NEW + b", " + _AT_US + b"}", 1),
    (b'{"after": ' + _NEW + b', "before": ' + _OLD + b", " + _AT_US + b', "op": "u"}', 2),
    (b'{"op": "d", "before": ' + _OLD + b', "after": null, ' + _AT_US + b"}", 1),
    (b'{"op": "d", "before": ' + _OLD + b', "ts_ms": 1714903200123}', 1),
    (b'{"op": "d", "before": ' + _OLD + b', "source": {"ts_ms": 1714903200123}, "ts_ms": 1}', 1),
    (b'{"op": "d", "before": ' + _OLD + b', "source": {"ts_us": null, "ts_ms": -62135596800000}, "ts_ms": 1}', 1),
    (b'{"op": "d", "before": ' + _OLD + b', "source": null, "ts_ms": 253402300799999}', 1),
    (b'{"schema": {"type": "struct", "fields": [{}]}, "payload": {"op": "c", "after": ' + _NEW + b', "ts_ms": 1}}', 1),
    (b'{"payload": null, "op": "c", "after": ' + _NEW + b', "ts_ms": 1}', 1),
    (b'{"op": "d", "op": "c", "after": 5, "after": ' + _NEW + b', "ts_ms": 1}', 1),
    (b'{"op": "c", "before": 5, "after": ' + _NEW + b', "ts_ms": 1}', 1),
    (b' {"op" : "\\u0063" , "after" : ' + _NEW + b' , "ts_ms" : 1} ', 1),
    (b'{"op": "c", "after": ' + _NEW + b', "ts_ms": 1, "deep": ' + b"[" * 100 + b"]" * 100 + b"}", 1),
    (b'{"op": "c", "after": {"at": 1, "price": 12345.678, "price": 1}, "ts_ms": 1}', 1),
    *(
        (text, -1)
        for text in (
            *(b"", b"{}", b"[]", b"null", b"x", b'{"op": "c"', b'{"op": "u", "before": null, "after": null}'),
            *(b'{"op": "c", "after": ' + _NEW + b"}", b'{"op": "c", "after": ' + _NEW + b', "source": {}}'),
            *(b'{"op": "c", "after": null, "ts_ms": 1}', b'{"op": "c", "ts_ms": 1}', b'{"op": "d", "ts_ms": 1}'),
            b'{"op": "u", "after": ' + _NEW + b', "ts_ms": 1}',
            b'{"op": "d", "before": null, "after": {}, "ts_ms": 1}',
            b'{"op": "u", "before": ' + _OLD + b', "ts_ms": 1}',
            b'{"op": "u", "before": null, "after": {}, "ts_ms": 1}',
            *(b'{"op": "t", "ts_ms": 1}', b'{"op": "m", "ts_ms": 1}', b'{"op": "C", "ts_ms": 1}'),
            b'{"op": "", "ts_ms": 1}',
            *(b'{"op": 1, "ts_ms": 1}', b'{"op": null, "after": {"at": 1}, "ts_ms": 1}'),
            b'{"op": "c", "ts_ms": "1"}',
            *(b'{"op": "c", "after": {"at": 1}, "ts_ms": 1.0}', b'{"op": "c", "after": {"at": 1}, "source": 1}'),
            b'{"op": "c", "after": {"at": 1}, "source": {"ts_us": "1"}}',
            b'{"op": "c", "after": {"at": 1}, "ts_ms": 99999999999999999999}',
            b'{"op": "c", "after": {"at": 1}, "ts_ms": 253402300800000}',
            b'{"op": "c", "after": {"at": 1}, "ts_ms": -62135596800001}',
            b'{"op": "c", "after": {"at": 1}, "source": {"ts_us": 253402300800000000}, "ts_ms": 1}',
            b'{"payload": {}}',
            *(b'{"payload": 1}', b'{"payload": {"op": "c", "after": {"nn": 1}, "ts_ms": 1}}'),
            b'{"payload": {"op": 1}}',
            *(b'{"op": "c", "after": {}, "ts_ms": 1}', b'{"op": "c", "after": [], "ts_ms": 1}'),
            b'{"op": "c", "after": "x", "ts_ms": 1}',
            b'{"op": "c", "after": {"at": 1, "gone at": 1}, "ts_ms": 1}',
            b'{"op": "c", "after": {"at": 1, "was": null}, "ts_ms": 1}',
            b'{"op": "c", "after": {"at": 1, "ds": "x"}, "ts_ms": 1}',
            b'{"op": "c", "after": {"at": 1, "n": "x"}, "ts_ms": 1}',
            b'{"op": "u", "before": {"at": "x"}, "after": {"at": 1}, "ts_ms": 1}',
            b'{"op": "c", "after": {"at": 1, "word": "\xff"}, "ts_ms": 1}',
            b'{"op": "u", "before": {"at": 1}, "after": {"at": 1, "price": 12345.678}, "ts_ms": 1}',
            b'{"op": "c", "ts_ms": 1, "x": [}',
            b'{"op": "c", "after": {"at": 1}, "ts_ms": 1, "x": "\\ud800"}',
            b'{"op": "c", "after": {"at": 1}, "ts_ms": 1, "x": 01}',
            b'{"op": "c", "after": {"at": 1}, "ts_ms": 1, "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            *(_OLD, _OLD + b"}"),
        )
    ),
]
"""Messages of Debezium, and how many rows they give: -1 where they are refused. None is a tombstone."""


def intake() -> Intake:
    """Of the table of these cases."""
    schema = COLUMNS | {PARTITION: STRING}
    return Intake("t", schema, REQUIRED, PARTITION)


def intake_of_changes() -> Intake:
    return Intake("t", COLUMNS | {PARTITION: STRING}, REQUIRED | set(ENVELOPE), PARTITION, envelope=ENVELOPE)


def made_of(checks: Intake, message: bytes | None, *, is_change: bool = False) -> list[dict[str, Any]]:
    """What becomes of a message: `{"row": [...]}` for each row, in plain values, or `{"refused": "path: reason"}`."""
    if message is None and is_change:
        return []
    try:
        events = checks.changes(message) if is_change else [checks.event(message)]
        if is_change:
            checks.check_changes(events)
        table = checks.arrow(events)
    except EventError as wrong:
        return [{"refused": str(wrong.args[0])}]
    columns = [[plain(dtype, value) for value in _values(table.column(name))] for name, dtype in COLUMNS.items()]
    return [{"row": list(row)} for row in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    return list(column.combine_chunks().to_pylist())


def plain(dtype: DataType, value: Any) -> Any:
    """A value as JSON: instants as microseconds, dates as days, bytes as base64, decimals and floats as text."""
    if value is None:
        return None
    if isinstance(dtype, ArrayType):
        return [plain(dtype.element, each) for each in value]
    if isinstance(dtype, MapType):
        return [[plain(dtype.key, key), plain(dtype.value, item)] for key, item in value]
    if isinstance(dtype, StructType):
        return [plain(kind, value[name]) for name, kind in dtype.fields]
    if isinstance(dtype, DecimalType):
        return f"{Decimal(value):f}".replace("-0." + "0" * dtype.scale, "0." + "0" * dtype.scale)
    if dtype in (FLOAT, DOUBLE):
        return repr(float(value))
    if dtype == TIMESTAMP:
        return (value - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)) // dt.timedelta(microseconds=1)
    if dtype == DATE:
        return (value - dt.date(1970, 1, 1)).days
    return base64.b64encode(value).decode() if dtype == BINARY else value


def options(*, is_change: bool = False) -> Mapping[str, str]:
    """The options of the streaming engine's format for the table of these cases."""
    found = {
        "columns": json.dumps({name: str(dtype) for name, dtype in COLUMNS.items()}),
        "required": json.dumps(sorted(REQUIRED | set(ENVELOPE) if is_change else REQUIRED)),
        "partition": PARTITION,
    }
    if is_change:
        found |= {"envelope": "debezium", "time-column": ENVELOPE[0], "before-column": ENVELOPE[1]}
    return found
