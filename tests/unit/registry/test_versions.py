"""What a registry remembers of compiled definitions, and of changes that were forced."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from zipline.clock import SECOND
from zipline.errors import UsageError
from zipline.project import Project
from zipline.registry import Changes, Compiled, open_registry

ROOT = Path(__file__).parents[3]
FIRST, SECOND_FINGERPRINT = "1" * 64, "2" * 64
SPENDING = Compiled("shop.spending", "GroupBy", FIRST, '{"keys":["user"]}', "shop", "configs/shop.py:3")
VISITS = Compiled("shop.visits", "Join", FIRST, "{}", "shop", "configs/shop.py:9", needs=("shop.spending",))
MODEL = Compiled("shop.model", "Model", FIRST, "{}", needs=("shop.visits",))


def test_the_first_compilation_creates_everything(registry):
    assert registry.record([VISITS, SPENDING]) == Changes(created=("shop.spending", "shop.visits"))


def test_a_compilation_says_what_was_created_changed_deleted_and_stayed(registry):
    registry.record([SPENDING, VISITS])
    changed = replace(SPENDING, fingerprint=SECOND_FINGERPRINT)
    fresh = replace(SPENDING, name="shop.fresh")
    assert registry.record([changed, fresh]) == Changes(("shop.fresh",), ("shop.spending",), ("shop.visits",), ())
    assert registry.record([changed, fresh]) == Changes(unchanged=("shop.fresh", "shop.spending"))


def test_a_version_keeps_all_that_was_compiled_and_who_did_it(registry, clock):
    registry.record([SPENDING], by="ann@laptop")
    (version,) = registry.versions.active()
    assert (version.name, version.kind, version.fingerprint) == ("shop.spending", "GroupBy", FIRST)
    assert (version.canonical, version.owner, version.location) == (SPENDING.canonical, "shop", "configs/shop.py:3")
    assert (version.first_seen, version.active_from, version.active_to) == (clock(), clock(), None)
    assert version.compiled_by == "ann@laptop"


def test_who_compiled_is_this_user_unless_told(registry):
    registry.record([SPENDING])
    assert "@" in registry.versions.active()[0].compiled_by


def test_a_change_closes_the_version_before_and_a_change_back_remembers_when_it_was_first_seen(registry, clock):
    began = clock()
    registry.record([SPENDING])
    changed = clock.forward(10)
    registry.record([replace(SPENDING, fingerprint=SECOND_FINGERPRINT)])
    back = clock.forward(10)
    registry.record([SPENDING])
    periods = [
        (v.fingerprint, v.first_seen, v.active_from, v.active_to) for v in registry.versions.history("shop.spending")
    ]
    assert periods == [
        (FIRST, began, back, None),
        (SECOND_FINGERPRINT, changed, changed, back),
        (FIRST, began, began, changed),
    ]


def test_the_definitions_of_an_earlier_instant_are_found(registry, clock):
    began = clock()
    registry.record([SPENDING, VISITS])
    changed = clock.forward(10)
    registry.record([replace(SPENDING, fingerprint=SECOND_FINGERPRINT)])
    assert registry.versions.at(began - 1) == ()
    assert [(v.name, v.fingerprint) for v in registry.versions.at(changed - 1)] == [
        ("shop.spending", FIRST),
        ("shop.visits", FIRST),
    ]
    assert [(v.name, v.fingerprint) for v in registry.versions.at(changed)] == [("shop.spending", SECOND_FINGERPRINT)]


def test_a_new_owner_or_line_is_no_new_version(registry, clock):
    registry.record([SPENDING])
    clock.forward(1)
    registry.record([replace(SPENDING, owner="sales", location="configs/shop.py:4", canonical="{}")])
    (version,) = registry.versions.history("shop.spending")
    assert (version.owner, version.location, version.canonical) == ("sales", "configs/shop.py:4", "{}")
    assert version.active_from == clock() - SECOND


def test_consumers_are_found_directly_and_through_others(registry):
    registry.record([SPENDING, VISITS, MODEL])
    assert registry.versions.consumers("shop.spending") == ("shop.visits",)
    assert registry.versions.consumers("shop.spending", directly=False) == ("shop.model", "shop.visits")
    assert registry.versions.consumers("shop.model") == ()


def test_who_stopped_using_a_definition_is_no_consumer(registry):
    registry.record([SPENDING, VISITS, MODEL])
    registry.record([SPENDING, replace(VISITS, needs=())])
    assert registry.versions.consumers("shop.spending") == ()
    assert registry.versions.consumers("shop.visits") == ()


def test_forced_changes_are_kept_with_their_reason_newest_first(registry, clock):
    registry.override("shop.spending", "the old numbers were wrong", from_fingerprint=FIRST, by="ann@laptop")
    clock.forward(1)
    registry.override("shop.visits", "no consumer left", to_fingerprint=FIRST, by="bob@laptop")
    newest, oldest = registry.overrides.of()
    assert (newest.name, newest.reason, newest.made_by, newest.made) == (
        "shop.visits",
        "no consumer left",
        "bob@laptop",
        clock(),
    )
    assert (oldest.from_fingerprint, oldest.to_fingerprint) == (FIRST, None)
    assert registry.overrides.of("shop.spending") == (oldest,)


def test_a_change_is_not_forced_without_a_reason(registry):
    with pytest.raises(UsageError, match="needs a reason"):
        registry.override("shop.spending", "  ")
    assert registry.overrides.of() == ()


COMPILE = """
import sys
from zipline.registry import Compiled, open_registry
url, writer = sys.argv[1:]
with open_registry(url) as registry:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(15):
        registry.record([Compiled(f"shop.n{n}", "Join", f"{writer}{number:063d}", "{}") for n in range(5)])
"""


def test_of_compilations_at_the_same_time_one_is_the_newest_of_every_name(url):
    command = [sys.executable, "-c", COMPILE, url]
    writers = [
        subprocess.Popen([*command, str(n)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for n in range(3)
    ]
    assert [writer.stdout.readline() for writer in writers] == [b"ready\n"] * 3
    for writer in writers:
        writer.stdin.close()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    for writer in writers:
        writer.stdout.close()
    with open_registry(url) as registry:
        active = registry.versions.active()
        assert [version.name for version in active] == [f"shop.n{n}" for n in range(5)]
        assert len({version.fingerprint for version in active}) == 1
        history = registry.versions.history("shop.n0")
    assert len(history) == 45
    assert [before.active_to for before in history[1:]] == [after.active_from for after in history[:-1]]


def test_projects_and_environments_on_one_registry_do_not_delete_each_others_definitions(url, tmp_path):
    def project(name: str, environment: str) -> Project:
        return Project(tmp_path, name, "warehouse", environment=environment, registry=url)

    with open_registry(project("shop", "dev")) as dev, open_registry(project("shop", "prod")) as prod:
        dev.record([SPENDING])
        assert prod.record([VISITS]) == Changes(created=("shop.visits",))
        assert dev.record([SPENDING]) == Changes(unchanged=("shop.spending",))
        assert [version.name for version in prod.versions.active()] == ["shop.visits"]
