"""The demo company's definitions: what the README promises of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import zipline
from zipline import Accuracy, EntitySource, EventSource, ExternalSource, JoinSource, Operation
from zipline.plan.definitions import Definitions

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return zipline.load(CONFIGS)


def test_two_teams_own_everything(definitions: Definitions) -> None:
    assert {name: team.owner for name, team in definitions.teams.items()} == {
        "flights": "flight-ops",
        "network": "network-data",
    }
    assert {definitions.owner(name) for name in definitions} == {"flight-ops", "network-data"}


def test_group_bys_and_joins_are_described(definitions: Definitions) -> None:
    assert [each.name for each in (*definitions.group_bys, *definitions.joins) if not each.description] == []


def test_there_are_many_kinds_of_features_over_six_sources(definitions: Definitions) -> None:
    written = [each for each in definitions.group_bys if ".landings." not in str(each.name)]
    assert len(written) >= 12
    assert len(definitions.joins) == 5
    sources = {source for each in definitions.group_bys for source in each.sources}
    assert len(sources) >= 6
    assert {type(source) for source in sources} == {EventSource, EntitySource, JoinSource}
    assert any(isinstance(source, EntitySource) and source.mutations for source in sources)
    assert any(isinstance(source, EventSource) and not isinstance(source.table, str) for source in sources)
    assert any(isinstance(part.source, ExternalSource) for join in definitions.joins for part in join.parts)
    assert any(join.bootstrap for join in definitions.joins)
    assert any(join.contextual for join in definitions.joins)
    operations = {aggregation.operation for each in written for aggregation in each.aggregations}
    assert operations >= {
        Operation.AVERAGE,
        Operation.SUM,
        Operation.COUNT,
        Operation.VARIANCE,
        Operation.MIN,
        Operation.MAX,
        Operation.LAST,
        Operation.LAST_K,
        Operation.TOP_K,
        Operation.UNIQUE_COUNT,
        Operation.HISTOGRAM,
        Operation.APPROX_PERCENTILE,
    }
    assert any(aggregation.buckets for each in written for aggregation in each.aggregations)
    assert any(each.accuracy is Accuracy.SNAPSHOT for each in written)
    assert any(each.is_lookup for each in written)
    assert {len(each.keys) for each in written} >= {0, 1, 2}


def test_three_hundred_features_come_from_a_file_of_under_forty_lines(definitions: Definitions) -> None:
    looped = [each for each in definitions.group_bys if ".landings." in str(each.name)]
    assert sum(len(each.features or ()) for each in looped) == 300
    assert len((CONFIGS / "flights" / "routes.py").read_text().splitlines()) < 40


def test_the_label_of_the_training_set_looks_no_further_than_its_offset(definitions: Definitions) -> None:
    labels = definitions.find("flights.departures.departures").labels
    assert labels.offset == "2d"
    windows = {str(o.window) for part in labels.parts for a in part.source.aggregations for o in a.outputs}
    assert windows == {"2d"}
