"""What containers make, without a database; and what a task finds in the database that it refers
to."""

import json

import numpy as np
import pytest
from chain_runs import run_here, settings_for

from photometry.chains import jobs, lookups
from photometry.chains.expansion import Scope, child_seed, children, loop_values
from photometry.errors import WrongUseError

LIST = [{"task": "null", "name": "a"}, {"task": "null", "requires_metadata_from": ["a"]}]


def test_values_of_loops_are_those_of_numpy():
    for key, expected in (
        ("linear_range", np.linspace(-2.0, 7.0, 10)),
        ("log_range", np.geomspace(0.05, 0.5, 7)),
    ):
        limits = [expected[0], expected[-1], len(expected)]
        assert loop_values({key: limits}) == pytest.approx(list(expected), rel=1e-12)
    assert loop_values({"values": ["x", 1, None]}) == ["x", 1, None]
    for wrong in (
        {"linear_range": [0, 1]},
        {"log_range": [-1, 1, 3]},
        {"linear_range": [0, 1, 2.5]},
    ):
        with pytest.raises(WrongUseError):
            loop_values(wrong)


def test_a_loop_makes_a_chain_for_each_value_with_its_variables():
    loop = {"parameter": "x", "values": [0.5, "b"], "task_list": LIST}
    made = children("execution_for_loop", loop, Scope(job_name="j", directory="d", seed=3))
    assert [child.type for child in made] == ["execution_chain"] * 2
    assert [child.metadata for child in made] == [
        {"x": 0.5, "x_index": 0},
        {"x": "b", "x_index": 1},
    ]
    assert {(child.job_name, child.directory) for child in made} == {("j", "d")}
    assert all(child.description["task_list"] is LIST for child in made)


def test_a_chain_refers_to_the_latest_earlier_task_of_a_name():
    tasks = [LIST[0], LIST[0], LIST[1]]
    made = children("execution_chain", {"task_list": tasks}, Scope())
    assert [child.requires for child in made] == [[], [], [1]]


def test_a_condition_chooses_a_list_and_a_loop_counts_its_rounds():
    both = {"task_list": LIST, "else_task_list": []}
    chosen = children("execution_conditional", {"criterion": True, **both}, Scope())
    assert chosen[0].description["task_list"] is LIST
    assert children("execution_conditional", {"criterion": 0, "task_list": LIST}, Scope()) == []
    loop = {
        "iteration_name": "n",
        "repeat_criterion": "(requested_metadata['a']['more'])",
        "requires_metadata_from_child": ["a"],
        "task_list": LIST,
    }
    (first,) = children("execution_do_while_loop", loop, Scope())  # the first round needs no answer
    assert first.metadata == {"n_index": 1}
    *body, check = first.description["task_list"]
    assert body == LIST
    assert (check["task"], check["requires_metadata_from"]) == ("execution_do_while_loop", ["a"])
    after = Scope(metadata={"n_index": 1})
    (second,) = children("execution_do_while_loop", check, after, {"a": {"more": True}})
    assert second.metadata == {"n_index": 2}
    assert children("execution_do_while_loop", check, after, {"a": {"more": False}}) == []


def test_seeds_of_children_are_theirs_and_stay():
    seeds = {child_seed(seed, position) for seed in range(30) for position in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert child_seed(1, 2) == child_seed(1, 2)


def test_a_task_finds_files_and_the_newest_results_that_passed(tmp_path):
    chain = {
        "job_name": "j",
        "working_directory": "d",
        "task_list": [
            {"task": "synthesis_batman", "outputs": {"lightcurve": "a.lc"},
             "specs": {"duration": 1, "sampling_cadence": 1800}},
            {"task": "null", "name": "x", "results": {"value": 3}},
            {"task": "null", "name": "y", "requires_metadata_from": ["x"],
             "outputs": {"other": "b.lc"}},
        ],
    }  # fmt: skip
    settings = settings_for(tmp_path)
    code, found = run_here(settings, json.loads(json.dumps(chain)))
    assert code == 0
    database = jobs.existing_database(settings)
    with database.reading() as db:
        products = lookups.find_products(db, {"d": {"a.lc", "b.lc", "none.lc"}, "e": {"a.lc"}})
        assert {name: passed for name, (_, passed) in products.items()} == {
            ("d", "a.lc"): True,
            ("d", "b.lc"): False,
        }
        y, x = (found["by_name"][name]["id"] for name in "yx")
        assert lookups.requested_metadata(db, [y, x]) == {y: {"x": {"value": 3}}}
    database.close()
