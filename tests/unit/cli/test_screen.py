"""What commands print."""

import json

import pytest

from zipline.cli.screen import print_json

FACTS = {"name": "größe", "empty": [], "none": {}, "nested": [{"a": 1.5, "b": [None, True]}], "path": 'a\\b\n"c"'}


@pytest.mark.parametrize("odd", [1.0, float("nan"), float("inf")])
def test_long_facts_look_as_short_ones_do(odd, capsys):
    facts = [{**FACTS, "odd": odd}] * 2_000
    print_json(facts)
    assert capsys.readouterr().out == json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def test_what_json_has_no_form_for_is_text(capsys):
    print_json({"set": {1}, "long": ["x" * 200_000]})
    assert json.loads(capsys.readouterr().out) == {"set": "{1}", "long": ["x" * 200_000]}
