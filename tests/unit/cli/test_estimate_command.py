"""`zipline plan --engine spark --estimate`, and what is said to those who ask for half of it."""

DAYS = ("--start", "2024-05-02", "--end", "2024-05-03")


def test_the_cost_on_spark_is_shown_by_step(zipline):
    ran = zipline("plan", "shop.visits.visits", *DAYS, "--engine", "spark", "--estimate", "--cores", "4")
    assert ran.code == 0, ran.err
    steps = [line.split("  ")[0] for line in ran.out.splitlines()]
    assert steps[0] == "shop.visits.visits: training, 2024-05-02..2024-05-03 in one run on Spark"
    assert {"first and last query time", "1 part by user", "all"} <= set(steps)


def test_facts_are_those_of_one_run_of_the_days(zipline):
    facts = zipline("plan", "shop.visits.visits", *DAYS, "--engine", "spark", "--estimate", "--json").facts
    moved = next(step for step in facts["steps"] if step["shuffles"])
    # Three visits; two purchases are of days that a week before them has, one of the day after.
    assert (moved["title"], moved["rows_shuffled"]) == ("1 part by user", 3 + 2)
    assert facts["total"]["shuffles"] == 1
    assert (facts["start"], facts["end"], facts["unknown"]) == ("2024-05-02", "2024-05-03", [])


def test_rows_can_be_supposed(zipline):
    estimate = ("--engine", "spark", "--estimate", "--json", "--cores", "4")
    facts = zipline("plan", "shop.visits.visits", *DAYS, *estimate, "--rows", "purchases=1e9").facts
    moved = next(step for step in facts["steps"] if step["shuffles"])
    assert moved["rows_shuffled"] == 3 + 1_000_000_000


def test_an_estimate_is_of_spark(zipline):
    ran = zipline("plan", "shop.visits.visits", *DAYS, "--estimate")
    assert ran.code != 0
    assert "add --engine spark" in ran.err


def test_options_that_would_change_nothing_are_refused(zipline):
    for alone in (("--rows", "purchases=5"), ("--cores", "3"), ("--engine", "spark")):
        ran = zipline("plan", "shop.visits.visits", *DAYS, *alone)
        assert ran.code != 0
        assert "--estimate" in ran.err


def test_rows_are_a_table_and_a_number(zipline):
    for wrong in ("purchases", "purchases=many", "=5", "purchases=-1", "purchases=nan"):
        ran = zipline("plan", "shop.visits.visits", *DAYS, "--engine", "spark", "--estimate", "--rows", wrong)
        assert ran.code != 0
        assert "write clicks=2e10" in ran.err


def test_rows_of_a_table_that_is_not_read_are_refused(zipline):
    estimate = ("--engine", "spark", "--estimate", "--rows", "purchase=5")
    ran = zipline("plan", "shop.visits.visits", *DAYS, *estimate)
    assert ran.code != 0
    assert "did you mean" in ran.err
    assert "purchases" in ran.err
