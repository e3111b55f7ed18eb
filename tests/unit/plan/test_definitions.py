"""What load() gives: names, owners, order, features, and nothing stale."""

import sys
import time
from pathlib import Path

import pytest

from tests.unit.plan.conftest import CARRIERS, SOURCES, TEAM, Write
from zipline import GroupBy, Join, load
from zipline.errors import DefinitionError


def test_an_object_is_named_by_its_module_and_variable(company: Path) -> None:
    group_by = load(company)["flights.carriers.carrier_arrivals"]
    assert isinstance(group_by, GroupBy)
    assert (group_by.name, group_by.short_name) == ("flights.carriers.carrier_arrivals", "carrier_arrivals")


def test_definitions_are_a_mapping_in_the_order_of_names(company: Path) -> None:
    definitions = load(company)
    assert list(definitions) == [
        "flights.carriers.carrier_arrivals",
        "flights.sources.flights",
        "flights.training.departures",
    ]
    assert len(definitions) == 3
    assert "flights.sources.flights" in definitions
    assert "flights.sources.nothing" not in definitions
    assert definitions.get("flights.sources.nothing") is None
    assert [join.name for join in definitions.joins] == ["flights.training.departures"]
    assert [group_by.name for group_by in definitions.group_bys] == ["flights.carriers.carrier_arrivals"]
    assert definitions.models == ()


def test_definitions_are_frozen(company: Path) -> None:
    definitions = load(company)
    with pytest.raises(AttributeError):
        definitions.root = company  # type: ignore[misc]
    with pytest.raises(TypeError):
        definitions._named["x"] = None  # type: ignore[index]


def test_an_imported_object_keeps_the_name_of_the_module_that_made_it(company: Path) -> None:
    definitions = load(company)
    join = definitions["flights.training.departures"]
    assert isinstance(join, Join)
    assert join.parts[0].source is definitions["flights.carriers.carrier_arrivals"]
    assert "flights.training.carrier_arrivals" not in definitions


def test_a_module_that_sorts_first_does_not_take_the_name_of_what_it_imports(write: Write) -> None:
    configs = write(
        {
            "flights/team.py": TEAM,
            "flights/zebra.py": SOURCES,
            "flights/aardvark.py": "from configs.flights.zebra import flights\n",
        }
    )
    assert list(load(configs)) == ["flights.zebra.flights"]


@pytest.mark.parametrize(
    "statement",
    [
        "from configs.flights.sources import flights",
        "from .sources import flights",
        "from . import sources; flights = sources.flights",
        "from ..flights.sources import flights",
        "import configs.flights.sources as s; flights = s.flights",
    ],
)
def test_files_import_each_other(write: Write, statement: str) -> None:
    carriers = CARRIERS.replace("from configs.flights.sources import flights", statement)
    configs = write({"flights/team.py": TEAM, "flights/sources.py": SOURCES, "flights/carriers.py": carriers})
    definitions = load(configs)
    assert list(definitions) == ["flights.carriers.carrier_arrivals", "flights.sources.flights"]
    group_by = definitions.group_bys[0]
    assert group_by.sources[0] is definitions["flights.sources.flights"]


def test_a_folder_of_another_name_is_imported_by_that_name(write: Write, tmp_path: Path) -> None:
    carriers = CARRIERS.replace("configs.", "features.")
    write({"flights/team.py": TEAM, "flights/sources.py": SOURCES, "flights/carriers.py": carriers})
    (tmp_path / "configs").rename(tmp_path / "features")
    assert "flights.carriers.carrier_arrivals" in load(tmp_path / "features")


def test_objects_in_a_dict_or_list_are_named_by_key_or_place(write: Write) -> None:
    configs = write(
        {
            "team.py": TEAM,
            "loop.py": """
                from zipline import Aggregation, EventSource, GroupBy, Operation, Query

                by_carrier = {}
                for carrier in ("UA", "AA"):
                    source = EventSource(table="flights", query=Query(where=[f"carrier = '{carrier}'"], time="t"))
                    group_by = GroupBy(keys=["dest"], sources=[source],
                                       aggregations=[Aggregation("delay", Operation.SUM)])
                    by_carrier[carrier] = group_by

                several = [GroupBy(keys=["dest"], sources=[source], aggregations=[Aggregation(c, "SUM")])
                           for c in ("delay", "distance")]
                deep = {"long": {7: GroupBy(keys=[], sources=[source], aggregations=[Aggregation("delay", "MAX")])}}
            """,
        }
    )
    definitions = load(configs)
    assert [(g.name, g.short_name) for g in definitions.group_bys] == [
        ("loop.by_carrier.AA", "by_carrier_AA"),
        ("loop.by_carrier.UA", "by_carrier_UA"),
        ("loop.deep.long.7", "deep_long_7"),
        ("loop.several.0", "several_0"),
        ("loop.several.1", "several_1"),
    ]


def test_a_list_of_objects_that_have_variables_names_nothing_anew(write: Write) -> None:
    lists = "from .sources import flights\nused = [flights]\nalso = {'f': flights}\n"
    configs = write({"flights/team.py": TEAM, "flights/sources.py": SOURCES, "flights/lists.py": lists})
    assert list(load(configs)) == ["flights.sources.flights"]


def test_objects_of_a_factory_are_named_where_they_are_kept(write: Write) -> None:
    factory = """
        from zipline import Aggregation, EventSource, GroupBy, Query

        def sums(table):
            source = EventSource(table=table, query=Query(time="t"))
            return GroupBy(keys=["k"], sources=[source], aggregations=[Aggregation("v", "SUM")])
    """
    use = "from configs.factory import sums\n\nbookings = sums('bookings')\nviews = sums('views')\n"
    configs = write({"team.py": TEAM, "factory.py": factory, "use.py": use})
    assert list(load(configs)) == ["use.bookings", "use.views"]


def test_underscore_variables_are_skipped(write: Write) -> None:
    configs = write({"flights/team.py": TEAM, "flights/sources.py": SOURCES + "\n_private = EventSource(table='x')\n"})
    assert list(load(configs)) == ["flights.sources.flights"]


def test_what_a_package_file_makes_is_named_by_the_folder(write: Write) -> None:
    configs = write({"flights/team.py": TEAM, "flights/__init__.py": SOURCES})
    assert list(load(configs)) == ["flights.flights"]


def test_owners_are_their_own_or_the_nearest_teams(write: Write) -> None:
    named = SOURCES.replace('table="flights",', 'table="flights", owner="someone",')
    configs = write(
        {
            "flights/team.py": TEAM,
            "flights/sources.py": SOURCES,
            "flights/own.py": named,
            "flights/deep/er/sources.py": SOURCES,
            "flights/other/team.py": TEAM.replace("flight-ops", "other-ops"),
            "flights/other/sources.py": SOURCES,
        }
    )
    definitions = load(configs)
    assert {name: definitions.owner(name) for name in definitions} == {
        "flights.deep.er.sources.flights": "flight-ops",
        "flights.other.sources.flights": "other-ops",
        "flights.own.flights": "someone",
        "flights.sources.flights": "flight-ops",
    }
    assert definitions.owner(definitions["flights.sources.flights"]) == "flight-ops"
    assert {folder: team.owner for folder, team in definitions.teams.items()} == {
        "flights": "flight-ops",
        "flights.other": "other-ops",
    }


def test_a_feature_is_found_by_its_full_name(company: Path) -> None:
    definitions = load(company)
    group_by, feature = definitions.feature("flights.carriers.carrier_arrivals.delay_average_7d")
    assert group_by is definitions["flights.carriers.carrier_arrivals"]
    assert feature == "delay_average_7d"


def test_a_feature_that_is_not_there_says_which_one_was_meant(company: Path) -> None:
    definitions = load(company)
    with pytest.raises(DefinitionError) as caught:
        definitions.feature("flights.carriers.carrier_arrivals.delay_averge_7d")
    assert caught.value.suggestion == "delay_average_7d"
    with pytest.raises(DefinitionError) as caught:
        definitions.feature("flights.carriers.carrier_arrival.delay_average_7d")
    assert caught.value.suggestion == "flights.carriers.carrier_arrivals"


@pytest.mark.parametrize("asked", ["flights.training.departure", "departures", "training.departures", "departure"])
def test_a_name_that_is_not_there_says_which_one_was_meant(company: Path, asked: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        load(company)[asked]
    assert caught.value.suggestion == "flights.training.departures"
    assert caught.value.exit_code == 2


def test_a_name_of_another_kind_is_refused(company: Path) -> None:
    with pytest.raises(DefinitionError, match="it is a GroupBy") as caught:
        load(company).find("flights.carriers.carrier_arrivals", Join)
    assert caught.value.valid == ("flights.training.departures",)


def test_the_site_of_a_definition_names_no_machine(company: Path) -> None:
    assert load(company).site("flights.sources.flights") == "configs/flights/sources.py:4"


def test_needs_are_the_definitions_directly_upstream(company: Path) -> None:
    definitions = load(company)
    assert definitions.needs("flights.training.departures") == ("flights.carriers.carrier_arrivals",)
    assert definitions.needs("flights.carriers.carrier_arrivals") == ("flights.sources.flights",)


def test_loading_twice_gives_fresh_objects_that_follow_the_files(company: Path) -> None:
    first = load(company)
    carriers = company / "flights/carriers.py"
    carriers.write_text(carriers.read_text().replace("7d", "3d"))
    second = load(company)
    assert first.group_bys[0].features == ("delay_average_1d", "delay_average_7d")
    assert second.group_bys[0].features == ("delay_average_1d", "delay_average_3d")


def test_two_folders_of_one_name_do_not_mix(company: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "configs"
    (other / "flights").mkdir(parents=True)
    (other / "flights/team.py").write_text(TEAM)
    (other / "flights/sources.py").write_text(SOURCES.replace('"flights"', '"rides"'))
    load(company)
    definitions = load(other)
    assert list(definitions) == ["flights.sources.flights"]
    assert definitions["flights.sources.flights"].table == "rides"  # type: ignore[union-attr]


def test_afterwards_an_import_gives_the_loaded_objects(company: Path) -> None:
    definitions = load(company)
    from configs.flights.carriers import carrier_arrivals

    assert carrier_arrivals is definitions["flights.carriers.carrier_arrivals"]


def test_a_package_that_only_shares_the_folders_name_is_left_alone(company: Path) -> None:
    import json

    folder = company.rename(company.parent / "json")
    for file in folder.rglob("*.py"):
        file.write_text(file.read_text().replace("from configs.", "from json."))
    assert len(load(folder)) == 3
    assert sys.modules["json"] is json


def test_a_failed_load_leaves_the_modules_of_the_one_before(company: Path) -> None:
    load(company)
    before = sys.modules["configs.flights.sources"]
    (company / "flights/broken.py").write_text("1 / 0\n")
    with pytest.raises(DefinitionError):
        load(company)
    assert sys.modules["configs.flights.sources"] is before
    assert "configs.flights.broken" not in sys.modules
    assert all(type(finder).__name__ != "_Finder" for finder in sys.meta_path)


def test_no_byte_code_is_written_among_the_definitions(company: Path) -> None:
    load(company)
    assert list(company.rglob("__pycache__")) == []


def test_an_empty_folder_holds_no_definitions(write: Write, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    assert len(load(tmp_path / "configs")) == 0


def test_hidden_folders_are_not_definitions(write: Write) -> None:
    configs = write({"flights/team.py": TEAM, "flights/sources.py": SOURCES, ".copies/x-1.py": "1 / 0"})
    assert list(load(configs)) == ["flights.sources.flights"]


def test_a_thousand_group_bys_and_two_hundred_joins_load_in_seconds(write: Write) -> None:
    files = {"team.py": TEAM}
    for n in range(100):
        files[f"groups{n}.py"] = """
            from zipline import Aggregation, EventSource, GroupBy, Query
            source = EventSource(table="t", query=Query(select=["k", "v", "w"], time="t"))
            groups = {f"g{n}": GroupBy(keys=["k"], sources=[source], aggregations=[
                Aggregation("v", "SUM", windows=["1h", f"{n + 1}d"]), Aggregation("w", "AVERAGE", windows=["7d"])])
                for n in range(10)}
        """
        files[f"joins{n}.py"] = f"""
            from configs.groups{n} import groups
            from zipline import EventSource, Join, JoinPart, Query
            left = EventSource(table="l", query=Query(select=["k"], time="t"))
            first = Join(left=left, parts=[JoinPart(g) for g in groups.values()])
            second = Join(left=left, parts=[JoinPart(g) for g in groups.values()])
        """
    configs = write(files)
    start = time.process_time()
    definitions = load(configs)
    assert time.process_time() - start < 5
    assert (len(definitions.group_bys), len(definitions.joins)) == (1000, 200)
