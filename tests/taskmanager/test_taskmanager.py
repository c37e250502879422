"""Every rule of the TaskManager, in memory and on file."""

import json
import os
import random
import stat

import numpy as np
import pytest
from todo_helpers import execute, make_result, make_row, make_rows, query, run_all, statuses

from photometry import STATUS, TaskManager
from photometry.errors import TodoFileError
from photometry.taskmanager import create_todo, store

TASK_KEYS = [
    "priority",
    "starid",
    "method",
    "sector",
    "camera",
    "ccd",
    "cadence",
    "datasource",
    "tmag",
]


def diagnostics(tm, priority):
    row = tm.cursor.execute("SELECT * FROM diagnostics WHERE priority = ?", [priority]).fetchone()
    return dict(row) if row else None


def skipped(tm):
    return {
        tuple(row)
        for row in tm.cursor.execute("SELECT priority, skipped_by FROM photometry_skipped")
    }


class TestHandingOut:
    def test_the_task_with_the_lowest_priority_comes_first(self, tm):
        task = tm.get_task()
        assert list(task) == TASK_KEYS
        assert list(task.values()) == [1, 100, None, 1, 1, 1, 1800, "ffi", 5.0]

    def test_getting_a_task_does_not_mark_it(self, tm):
        first = tm.get_task()
        first["tmag"] = "changed by the caller"
        assert tm.get_task() == first | {"tmag": 5.0}

    def test_a_started_task_is_not_handed_out_again(self, tm):
        tm.start_task(1)
        assert statuses(tm)[1] == STATUS.STARTED
        assert tm.get_task()["priority"] == 2

    def test_all_tasks_come_once_in_order_and_then_none(self, tm):
        assert run_all(tm) == list(range(1, 13))
        assert tm.get_task() is None
        assert tm.get_tasks(5) == []
        assert tm.get_random_task() is None
        assert tm.get_number_tasks() == 0

    def test_constraints_choose_tasks(self, tm):
        assert tm.get_task(camera=3)["priority"] == 3
        assert tm.get_task(camera=[3, 4], tmag_min=7.5)["priority"] == 7
        assert tm.get_task(priority=[9, 5])["priority"] == 5
        assert tm.get_task(starid=110)["priority"] == 11
        assert tm.get_task(camera=1, tmag_max=4) is None
        assert tm.get_number_tasks(camera=2) == 3

    def test_several_tasks_are_the_first_ones(self, tm):
        assert [task["priority"] for task in tm.get_tasks(3, camera=2)] == [2, 6, 10]
        assert [task["priority"] for task in tm.get_tasks(2)] == [1, 2]
        assert len(tm.get_tasks(100)) == 12

    def test_number_of_tasks_follows_what_is_done(self, tm):
        tm.start_tasks([1, 2])
        assert (tm.get_number_tasks(), tm.get_number_tasks(camera=1)) == (10, 2)

    def test_random_tasks_are_all_that_are_to_do_and_no_others(self, tm):
        tm.start_tasks([1, 2, 3])
        seen = {tm.get_random_task()["priority"] for _ in range(400)}
        assert seen == set(range(4, 13))  # one of nine missing after 400 draws: less than 1e-19
        assert {task["priority"] for task in tm.get_random_tasks(100, camera=4)} == {4, 8, 12}

    def test_random_task_knows_what_was_started_and_returned_since(self, tm):
        tm.get_random_task()
        tm.start_tasks(range(1, 12))
        assert tm.get_random_task()["priority"] == 12
        tm.start_task(12)
        tm.release_tasks([5], "test")
        assert tm.get_random_task()["priority"] == 5

    def test_sql_of_the_user_is_honoured_by_the_next_call(self, tm):
        assert tm.get_task()["priority"] == 1
        tm.cursor.execute("UPDATE todolist SET status = 1 WHERE priority <= 4")
        assert tm.get_task()["priority"] == 5  # not committed yet, but this connection sees it
        tm.conn.rollback()
        assert tm.get_task()["priority"] == 1
        tm.cursor.execute("UPDATE todolist SET status = 1 WHERE priority <= 6")
        tm.conn.commit()
        assert tm.get_task()["priority"] == 7
        assert tm.get_task(camera=1)["priority"] == 9
        assert tm.get_number_tasks() == 6
        tm.cursor.execute("UPDATE todolist SET status = NULL WHERE priority = 2")
        assert (tm.get_task()["priority"], tm.get_random_task(camera=2)["priority"]) in {
            (2, 2),
            (2, 10),
        }
        tm.cursor.execute(
            "INSERT INTO todolist (priority, starid, sector, camera) VALUES (0, 1, 1, 1)"
        )
        tm.conn.commit()
        assert tm.get_task()["priority"] == 0

    def test_a_returned_task_comes_in_its_place(self, open_todo, tmp_path):
        create_todo(tmp_path / "todo.sqlite", make_rows(700))
        tm = open_todo(tmp_path)
        tm.get_task(camera=2)
        tm.start_tasks([task["priority"] for task in tm.get_tasks(600)])
        tm.release_tasks([42, 300], "test")
        assert [task["priority"] for task in tm.get_tasks(3)] == [42, 300, 601]
        assert [task["priority"] for task in tm.get_tasks(2, camera=2)] == [42, 602]
        assert tm.get_task(camera=4)["priority"] == 300

    def test_an_unknown_task_is_refused(self, tm):
        with pytest.raises(ValueError, match=r"priority=99: .* no such task"):
            tm.start_task(99)
        for details in ({}, {"skip_targets": [101]}):
            with pytest.raises(ValueError, match=r"priority=99: .* no such task"):
                tm.save_result(make_result({"priority": 99}, **details))

    @pytest.mark.parametrize("taskid", ["x", "1", None, 1.0, [1]])
    def test_what_is_no_priority_is_refused_by_name(self, tm, taskid):
        for call in (
            tm.start_task,
            lambda p: tm.reset_tasks([p]),
            lambda p: tm.fail_attempt(p, "test"),
        ):
            with pytest.raises(
                ValueError, match=r"^taskid=.*: expected a whole number, the priority of a task"
            ):
                call(taskid)

    def test_suspects_come_last_where_that_is_asked_for(self, tm):
        tm.start_tasks([1, 3])
        tm.fail_attempt(1, "signal 9")
        tm.fail_attempt(3, "signal 9")
        assert [task["priority"] for task in tm.get_tasks(3, crashed_last=True)] == [2, 4, 5]
        tm.start_tasks([2, *range(4, 13)])
        assert [task["priority"] for task in tm.get_tasks(3, crashed_last=True)] == [1, 3]


class TestSavingResults:
    def test_a_result_becomes_status_and_diagnostics(self, tm):
        task = tm.get_task()
        tm.start_task(1)
        details = {
            "filepath_lightcurve": "c1800/000/tess100.fits.gz",
            "mean_flux": 1234.5,
            "variance": 1e-6,
            "variability": 1.5,
            "rms_hour": 1e-4,
            "ptp": 2e-4,
            "pos_centroid": np.array([10.25, 20.5]),
            "contamination": 0.01,
            "mask_size": np.int64(9),
            "edge_flux": np.float32(0.5),
            "stamp": (100, 115, 200, 217),
            "stamp_resizes": 1,
            "inputs": '[["a.fits", 5760, 1]]',
            "method_hash": "0123456789ab",
            "version": "1.2.0",
        }
        tm.save_result(make_result(task, STATUS.WARNING, ["one", "two"], **details))
        assert statuses(tm)[1] == STATUS.WARNING
        assert diagnostics(tm, 1) == {
            "priority": 1,
            "lightcurve": "c1800/000/tess100.fits.gz",
            "method_used": "aperture",
            "elaptime": 2.0,
            "worker_wait_time": 0.5,
            "mean_flux": 1234.5,
            "variance": 1e-6,
            "variability": 1.5,
            "rms_hour": 1e-4,
            "ptp": 2e-4,
            "pos_row": 20.5,
            "pos_column": 10.25,
            "contamination": 0.01,
            "mask_size": 9,
            "edge_flux": 0.5,
            "stamp_width": 17,
            "stamp_height": 15,
            "stamp_resizes": 1,
            "errors": "one\ntwo",
            "inputs": '[["a.fits", 5760, 1]]',
            "method_hash": "0123456789ab",
            "version": "1.2.0",
        }

    def test_every_detail_may_be_missing(self, tm):
        result = make_result(tm.get_task())
        del result["details"], result["worker_wait_time"]
        tm.save_result(result)
        row = diagnostics(tm, 1)
        assert {name for name, value in row.items() if value is not None} == {
            "priority",
            "method_used",
            "elaptime",
        }

    def test_what_is_not_a_finite_number_is_stored_as_null(self, tm):
        task = tm.get_task()
        details = {
            "mean_flux": np.nan,
            "variance": np.float32("nan"),
            "ptp": np.inf,
            "mask_size": np.nan,
        }
        tm.save_result(make_result(task, pos_centroid=(np.nan, 1.0), **details))
        row = diagnostics(tm, 1)
        assert [row[name] for name in (*details, "pos_column", "pos_row")] == [None] * 5 + [1.0]

    def test_numpy_numbers_are_stored_as_numbers(self, tm):
        result = make_result(
            tm.get_task(), mean_flux=np.float32(1.5), mask_size=np.int32(4), stamp=np.arange(4)
        )
        result |= {"priority": np.int64(1), "time": np.float64(3.0), "status": np.int64(1)}
        tm.save_result(result)
        sql = (
            "SELECT typeof(mean_flux), typeof(mask_size), typeof(stamp_width), typeof(elaptime) "
            "FROM diagnostics"
        )
        assert tuple(tm.cursor.execute(sql).fetchone()) == ("real", "integer", "integer", "real")

    def test_errors_that_are_no_proper_text_are_stored_as_well_as_can_be(self, tm):
        tm.save_result(make_result(tm.get_task(), STATUS.ERROR, ["é \udcff", ValueError("x")]))
        assert diagnostics(tm, 1)["errors"] == "é ?\nx"

    @pytest.mark.parametrize("when", ["before it is written", "after it is written"])
    def test_a_result_that_was_interrupted_can_be_saved_again(self, tm, monkeypatch, when):
        def interrupt(*args):
            if when == "before it is written":
                apply(*args)
            raise KeyboardInterrupt

        task = tm.get_task()
        tm.start_task(1)
        apply = store.apply
        with monkeypatch.context() as patch:
            home, name = (
                (store, "apply") if when == "before it is written" else (tm._cache, "_follow")
            )
            patch.setattr(home, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                tm.save_result(make_result(task))
        assert statuses(tm)[1] == (STATUS.STARTED if when == "before it is written" else STATUS.OK)
        tm.save_result(make_result(task, STATUS.WARNING))
        assert run_all(tm) == list(range(2, 13))
        assert statuses(tm)[1] == STATUS.WARNING

    @pytest.mark.parametrize(
        ("errors", "expected"),
        [
            (np.array(["a", "b"]), "a\nb"),
            (np.array([]), None),
            (("a",), "a"),
            ("a", "a"),
            (["a", None], "a"),
            ("", None),
        ],
    )
    def test_errors_may_come_in_any_collection(self, tm, errors, expected):
        result = make_result(tm.get_task())
        result["details"]["errors"] = errors
        tm.save_result(result)
        assert diagnostics(tm, 1)["errors"] == expected

    def test_errors_that_are_no_collection_are_refused(self, tm):
        with pytest.raises(ValueError, match=r"^errors=5: expected a list of text"):
            tm.save_result(make_result(tm.get_task(), errors=5))

    def test_a_second_result_replaces_the_first(self, tm):
        task = tm.get_task()
        tm.save_result(make_result(task, STATUS.ERROR, ["bad"], filepath_lightcurve="a"))
        tm.save_result(make_result(task, STATUS.OK, filepath_lightcurve="a", mean_flux=7.0))
        row = diagnostics(tm, 1)
        assert (statuses(tm)[1], row["mean_flux"], row["errors"]) == (STATUS.OK, 7.0, None)

    def test_two_tasks_cannot_have_the_same_lightcurve_file(self, tm):
        one, two, three = tm.get_tasks(3)
        tm.save_result(make_result(one, filepath_lightcurve="a"))
        tm.save_results(
            [make_result(two, filepath_lightcurve="a"), make_result(three, filepath_lightcurve="c")]
        )
        assert [statuses(tm)[p] for p in (1, 2, 3)] == [STATUS.OK, STATUS.ERROR, STATUS.OK]
        assert diagnostics(tm, 1)["lightcurve"] == "a"
        assert diagnostics(tm, 2)["errors"] == "light-curve file a belongs to another task already"

    def test_results_saved_together_are_all_saved(self, tm):
        tasks = tm.get_tasks(5)
        tm.start_tasks([task["priority"] for task in tasks])
        tm.save_results([make_result(task, mean_flux=task["tmag"]) for task in tasks])
        assert [diagnostics(tm, p)["mean_flux"] for p in range(1, 6)] == [5.0, 5.5, 6.0, 6.5, 7.0]

    def test_one_bad_result_among_several_saves_none_of_them(self, tm):
        good, bad = (make_result(task) for task in tm.get_tasks(2))
        with pytest.raises(ValueError, match=r"stamp=3: expected"):
            tm.save_results([good, bad | {"details": {"stamp": 3}}])
        assert set(statuses(tm).values()) == {None}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"status": 17}, r"result\['status'\]=17: expected a STATUS .*OK 1"),
            ({"status": None}, r"result\['status'\]=None"),
            ({"time": "long"}, "time='long': expected a number"),
            ({"priority": 1.5}, "priority=1.5: expected a whole number"),
            ({"details": {"mask_size": 2.5}}, "mask_size=2.5: expected a whole number"),
            ({"details": {"pos_centroid": 1.0}}, "pos_centroid=1.0: expected 2 numbers"),
        ],
    )
    def test_a_result_that_is_not_one_is_refused(self, tm, change, message):
        with pytest.raises(ValueError, match=message):
            tm.save_result(make_result(tm.get_task()) | change)

    @pytest.mark.parametrize("key", ["priority", "status", "time"])
    def test_a_result_without_what_it_must_have_is_refused(self, tm, key):
        result = make_result(tm.get_task())
        del result[key]
        with pytest.raises(ValueError, match=f"result lacks '{key}'"):
            tm.save_result(result)


class TestSkipping:
    @pytest.fixture
    def stars(self, open_todo, tmp_path):
        """One blend in FFIs, in the same and in other images, and one target pixel file with
        secondaries.
        """
        tpf = {"cadence": 120}
        rows = [
            make_row(1, tmag=6.0),
            make_row(2, tmag=7.0),
            make_row(3, tmag=8.0),
            make_row(2, tmag=7.0, ccd=2),
            make_row(2, tmag=7.0, datasource="tpf", **tpf),
            make_row(9, tmag=5.0, datasource="tpf:2", **tpf),
            make_row(8, tmag=11.0, datasource="tpf:2", **tpf),
            make_row(7, tmag=11.0, datasource="tpf:55", **tpf),
            make_row(4, tmag=8.0),
        ]
        create_todo(tmp_path / "todo.sqlite", rows)
        return open_todo(tmp_path)

    def save(self, tm, priority, *skip_targets, status=STATUS.OK):
        (task,) = tm.get_tasks(1, priority=priority) or [{"priority": priority}]
        tm.start_task(priority)
        tm.save_result(make_result(task, status, skip_targets=list(skip_targets)))

    def test_the_brightest_star_of_a_mask_makes_the_others_skipped(self, stars):
        self.save(stars, 1, 2, 3)
        assert {p for p, s in statuses(stars).items() if s == STATUS.SKIPPED} == {2, 3}
        assert statuses(stars)[1] == STATUS.OK
        assert skipped(stars) == {(2, 1), (3, 1)}
        assert stars.get_task()["priority"] == 4

    def test_only_stars_in_the_same_images_are_skipped(self, stars):
        self.save(stars, 1, 2)
        assert [statuses(stars)[p] for p in (2, 4, 5)] == [STATUS.SKIPPED, None, None]

    def test_a_fainter_star_becomes_skipped_by_the_brightest_and_the_others_keep_their_status(
        self, stars
    ):
        self.save(stars, 3, 1, 2)
        assert [statuses(stars)[p] for p in (1, 2, 3)] == [None, None, STATUS.SKIPPED]
        assert skipped(stars) == {(3, 1)}
        assert diagnostics(stars, 3)["errors"] is None

    def test_of_equally_bright_stars_the_one_with_the_lower_priority_wins(self, stars):
        self.save(stars, 3, 4)
        self.save(stars, 9, 3)
        assert [statuses(stars)[p] for p in (3, 9)] == [STATUS.OK, STATUS.SKIPPED]

    def test_older_skips_of_the_target_are_dropped(self, stars):
        self.save(stars, 1, 2, 3)
        self.save(stars, 1, 3)
        assert skipped(stars) == {(3, 1)}
        self.save(stars, 3, 1)
        self.save(stars, 3, 1)
        assert skipped(stars) == {(3, 1)}

    def test_stars_that_are_not_in_the_list_skip_nobody(self, stars):
        self.save(stars, 1, 12345)
        assert statuses(stars)[1] == STATUS.OK
        assert skipped(stars) == set()

    def test_a_target_does_not_skip_itself(self, stars):
        self.save(stars, 1, 1)
        assert statuses(stars)[1] == STATUS.OK

    def test_a_secondary_with_the_primary_in_its_mask_is_skipped_however_bright_it_is(self, stars):
        self.save(stars, 6, 2)
        assert [statuses(stars)[p] for p in (5, 6)] == [None, STATUS.SKIPPED]
        assert skipped(stars) == {(6, 5)}

    def test_a_secondary_whose_primary_is_missing_is_skipped_and_says_so(self, stars):
        self.save(stars, 8, 55)
        assert statuses(stars)[8] == STATUS.SKIPPED
        assert skipped(stars) == set()
        assert (
            diagnostics(stars, 8)["errors"]
            == "TargetNotFoundError: Could not find primary TPF target (TIC 55)"
        )

    def test_a_primary_skips_its_fainter_secondaries(self, stars):
        self.save(stars, 5, 8)
        assert skipped(stars) == {(7, 5)}

    def test_secondaries_of_the_same_file_are_weighed_against_each_other(self, stars):
        self.save(stars, 7, 9)
        assert skipped(stars) == {(7, 6)}

    def test_results_saved_together_skip_as_if_saved_one_after_the_other(self, stars):
        tasks = stars.get_tasks(3)
        stars.start_tasks([1, 2, 3])
        others = {1: [2, 3], 2: [], 3: []}
        stars.save_results(
            [make_result(task, skip_targets=others[task["priority"]]) for task in tasks]
        )
        assert [statuses(stars)[p] for p in (1, 2, 3)] == [
            STATUS.OK,
            STATUS.SKIPPED,
            STATUS.SKIPPED,
        ]

    def test_a_result_that_comes_after_the_target_was_skipped_changes_nothing(self, stars):
        tasks = stars.get_tasks(2)
        stars.start_tasks([1, 2])
        stars.save_result(make_result(tasks[0], skip_targets=[2]))
        stars.save_result(make_result(tasks[1], skip_targets=[3]))
        assert [statuses(stars)[p] for p in (1, 2, 3)] == [STATUS.OK, STATUS.SKIPPED, None]
        assert diagnostics(stars, 2) is None
        assert skipped(stars) == {(2, 1)}

    def test_a_target_skipped_after_it_was_measured_loses_its_result_and_frees_whom_it_skipped(
        self, stars
    ):
        self.save(stars, 2, 3)
        assert statuses(stars)[3] == STATUS.SKIPPED
        self.save(stars, 1, 2)
        assert [statuses(stars)[p] for p in (1, 2, 3)] == [STATUS.OK, STATUS.SKIPPED, None]
        assert diagnostics(stars, 2) is None
        assert skipped(stars) == {(2, 1)}

    @pytest.mark.parametrize("seed", range(15))
    def test_the_outcome_is_that_of_going_from_bright_to_faint_whatever_the_order(
        self, open_todo, tmp_path, seed
    ):
        rng = random.Random(seed)
        n = 12
        masks = {
            i: rng.sample([j for j in range(1, n + 1) if j != i], rng.choice([0, 0, 1, 2, 3]))
            for i in range(1, n + 1)
        }
        create_todo(tmp_path / "todo.sqlite", [make_row(i, tmag=5.0 + i) for i in range(1, n + 1)])
        tm = open_todo(tmp_path)
        running = []
        while (tasks := tm.get_random_tasks(rng.randint(1, 4))) or running:
            tm.start_tasks([task["priority"] for task in tasks])
            running += tasks
            rng.shuffle(running)
            done, running = running[:2], running[2:]
            tm.save_results(
                [make_result(task, skip_targets=masks[task["priority"]]) for task in done]
            )
        measured, losers = set(), set()
        for i in range(1, n + 1):  # from bright to faint, one at a time
            if i in losers:
                continue
            if any(j < i for j in masks[i]):
                losers.add(i)
            else:
                measured.add(i)
                losers.update(masks[i])
        assert {p for p, status in statuses(tm).items() if status == STATUS.OK} == measured
        assert {p for p, status in statuses(tm).items() if status == STATUS.SKIPPED} == losers


class TestOpening:
    @pytest.fixture
    def used_file(self, todo_file, open_todo):
        """Tasks 1 to 6 in each status, task 7 skipped by 6."""
        with open_todo(todo_file) as tm:
            for task in tm.get_tasks(6):
                tm.start_task(task["priority"])
                status = STATUS(task["priority"]) if task["priority"] < 6 else STATUS.OK
                if status != STATUS.SKIPPED:
                    tm.save_result(make_result(task, status, ["x"] * (status == STATUS.ERROR)))
            tm.cursor.execute("UPDATE todolist SET status = 5 WHERE priority = 7")
            tm.cursor.execute("INSERT INTO photometry_skipped VALUES (7, 6)")
            tm.conn.commit()
        return todo_file

    def test_closing_keeps_what_was_done(self, used_file):
        rows = dict(
            query(used_file, "SELECT priority, status FROM todolist WHERE status IS NOT NULL")
        )
        assert rows == {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 1, 7: 5}

    def test_started_aborted_and_failed_tasks_are_to_do_again(self, open_todo, used_file):
        tm = open_todo(used_file)
        assert {p: s for p, s in statuses(tm).items() if s} == {
            1: STATUS.OK,
            3: STATUS.WARNING,
            6: STATUS.OK,
            7: 5,
        }
        assert diagnostics(tm, 1) is not None
        assert diagnostics(tm, 5) is None
        # what is known of the failures stays until a new result takes its place
        assert [diagnostics(tm, p)["errors"] for p in (2, 4)] == ["x", None]
        tm.save_result(make_result({"priority": 2}))
        assert diagnostics(tm, 2)["errors"] is None
        assert skipped(tm) == {(7, 6)}

    @pytest.mark.parametrize(
        "constraints", [{"camera": 2}, ["camera = 2"], ["camera = 2", "tmag < 6"]]
    )
    def test_cleanup_constraints_choose_what_is_to_do_again(
        self, open_todo, used_file, constraints
    ):
        tm = open_todo(used_file, cleanup_constraints=constraints)
        assert [statuses(tm)[p] for p in (2, 4, 5)] == [None, STATUS.ABORT, STATUS.STARTED]

    @pytest.mark.parametrize("constraints", ["camera = 2", 3, ("camera = 2",), [1]])
    def test_cleanup_constraints_of_another_kind_are_refused(
        self, todo_file, in_memory, constraints
    ):
        with pytest.raises(
            ValueError, match=r"cleanup_constraints=.*expected a dict of constraints or a list"
        ):
            TaskManager(todo_file, load_into_memory=in_memory, cleanup_constraints=constraints)

    @pytest.mark.parametrize(
        "constraints", [{"kamera": 2}, {"camera": "x"}, ["kamera = 2"], ["1; DROP TABLE todolist"]]
    )
    def test_cleanup_constraints_that_say_nothing_sensible_are_refused(
        self, todo_file, in_memory, constraints
    ):
        with pytest.raises(ValueError, match=r"camera|kamera|statement|DROP"):
            TaskManager(todo_file, load_into_memory=in_memory, cleanup_constraints=constraints)
        assert query(todo_file, "SELECT COUNT(*) FROM todolist") == [(12,)]

    def test_overwrite_starts_from_the_beginning(self, open_todo, used_file):
        tm = open_todo(used_file, overwrite=True)
        assert set(statuses(tm).values()) == {None}
        assert tm.get_number_tasks() == 12
        assert tm.cursor.execute("SELECT COUNT(*) FROM diagnostics").fetchone()[0] == 0
        assert skipped(tm) == set()

    def test_cleanup_makes_the_file_smaller(self, open_todo, tmp_path):
        create_todo(tmp_path / "todo.sqlite", make_rows(5000))
        execute(tmp_path / "todo.sqlite", "DELETE FROM todolist WHERE priority > 100")
        size = os.path.getsize(tmp_path / "todo.sqlite")
        with open_todo(tmp_path, cleanup=True) as tm:
            assert tm.get_number_tasks() == 100
        assert os.path.getsize(tmp_path / "todo.sqlite") < size / 2

    def test_a_folder_means_the_todo_file_in_it(self, open_todo, todo_file):
        assert open_todo(str(todo_file.parent)).get_number_tasks() == 12

    @pytest.mark.parametrize("name", ["other.sqlite", "folder", "folder/todo.sqlite"])
    def test_a_missing_file_is_told(self, tmp_path, in_memory, name):
        (tmp_path / "folder").mkdir()
        with pytest.raises(FileNotFoundError, match=r"no such TODO-file"):
            TaskManager(tmp_path / name, load_into_memory=in_memory)

    @pytest.mark.parametrize("interval", [0, -1, 2.5, "10", True, float("nan"), float("inf")])
    def test_backup_interval_must_be_a_whole_number(self, todo_file, in_memory, interval):
        with pytest.raises(
            ValueError, match=r"backup_interval=.*: expected a whole number, at least 1"
        ):
            TaskManager(todo_file, load_into_memory=in_memory, backup_interval=interval)

    @pytest.mark.parametrize("interval", [None, 1.0])
    def test_backup_interval_may_be_none_or_whole(self, open_todo, todo_file, interval):
        assert run_all(open_todo(todo_file, backup_interval=interval)) == list(range(1, 13))

    def test_closing_twice_does_no_harm_and_leaves_one_plain_file(self, open_todo, todo_file):
        tm = open_todo(todo_file)
        run_all(tm)
        tm.close()
        tm.close()
        assert [path.name for path in todo_file.parent.iterdir()] == ["todo.sqlite"]
        assert (
            todo_file.read_bytes()[18:20] == b"\1\1"
        )  # no write-ahead log, https://www.sqlite.org/fileformat.html

    @pytest.mark.parametrize(
        "call",
        [
            lambda tm: tm.get_task(),
            lambda tm: tm.get_random_task(),
            lambda tm: tm.get_number_tasks(camera=1),
            lambda tm: tm.start_task(1),
            lambda tm: tm.save_result(make_result({"priority": 1})),
            lambda tm: tm.reset_tasks([1]),
            lambda tm: tm.crashes(1),
            lambda tm: tm.overrides(1),
            lambda tm: tm.begin_run(),
            lambda tm: tm.write_summary(),
            lambda tm: tm.backup(),
            lambda tm: tm.discard(),
        ],
    )
    def test_a_closed_one_says_that_it_is_closed(self, tm, todo_file, call):
        tm.close()
        before = todo_file.read_bytes()
        with pytest.raises(
            TodoFileError, match=r"todo.sqlite: this TaskManager is closed; open the file again"
        ):
            call(tm)
        assert todo_file.read_bytes() == before

    def test_mode_of_the_file_is_kept(self, open_todo, todo_file):
        todo_file.chmod(0o660)
        with open_todo(todo_file) as tm:
            run_all(tm)
            tm.backup()
        assert stat.S_IMODE(todo_file.stat().st_mode) == 0o660


class TestSummary:
    def read(self, path):
        return json.loads(
            path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the summary")
        )

    def test_it_is_written_on_opening_at_intervals_and_on_closing(
        self, open_todo, todo_file, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("SLURM_JOB_ID", "4711")
        path = tmp_path / "summary.json"
        tm = open_todo(todo_file, summary=path, summary_interval=2)
        assert self.read(path) == {
            "slurm_jobid": "4711",
            "numtasks": 12,
            "tasks_run": 0,
            "last_error": None,
            "mean_elaptime": None,
            "mean_worker_waittime": None,
            **dict.fromkeys([status.name for status in STATUS], 0),
        }
        tasks = tm.get_tasks(5)
        tm.save_result(make_result(tasks[0]))
        assert (self.read(path)["tasks_run"], tm.summary_counter) == (0, 1)
        tm.save_result(
            make_result(tasks[1], STATUS.ERROR, ["reason"])
            | {"time": 4.0, "worker_wait_time": np.nan}
        )
        assert tm.summary_counter == 0
        summary = self.read(path)
        assert (summary["tasks_run"], summary["OK"], summary["ERROR"]) == (2, 1, 1)
        assert summary["last_error"] == "reason"
        assert summary["mean_elaptime"] == pytest.approx(2.0 + 0.1 * (4.0 - 2.0))
        assert summary["mean_worker_waittime"] == 0.5
        tm.start_task(tasks[2]["priority"])
        tm.save_result(make_result(tasks[3]))
        tm.close()
        assert (self.read(path)["tasks_run"], self.read(path)["STARTED"]) == (3, 1)

    def test_counts_follow_sql_of_the_user_and_every_call(self, open_todo, todo_file, tmp_path):
        path = tmp_path / "summary.json"
        tm = open_todo(todo_file, summary=path)
        tm.start_tasks([1, 2, 3, 4])
        tm.cursor.execute("UPDATE todolist SET status = 3 WHERE priority > 10")
        tm.cursor.execute("UPDATE todolist SET status = NULL WHERE priority = 2")
        tm.conn.commit()
        tm.release_tasks([1], "test")
        tm.save_result(make_result({"priority": 2}, STATUS.OK))
        tm.write_summary()
        summary = self.read(path)
        assert {name: summary[name] for name in ("OK", "WARNING", "STARTED")} == {
            "OK": 1,
            "WARNING": 2,
            "STARTED": 2,
        }

    def test_it_is_for_this_run_what_the_scheduler_adds(self, open_todo, todo_file, tmp_path):
        tm = open_todo(todo_file, summary=tmp_path / "summary.json")
        tm.run_info |= {"workers": 4, "rate": float("nan")}
        tm.write_summary()
        summary = self.read(tmp_path / "summary.json")
        assert (summary["workers"], summary["rate"]) == (4, None)

    def test_without_a_path_nothing_is_written(self, tm, todo_file):
        run_all(tm)
        tm.write_summary()
        assert not list(todo_file.parent.glob("*.json"))

    def test_a_folder_that_is_not_there_is_made(self, open_todo, todo_file, tmp_path):
        open_todo(todo_file, summary=tmp_path / "new" / "sub" / "summary.json")
        assert self.read(tmp_path / "new" / "sub" / "summary.json")["numtasks"] == 12

    def test_a_folder_that_cannot_be_made_is_refused(self, todo_file, in_memory, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ValueError, match=r"summary=.*file.* cannot be made"):
            TaskManager(
                todo_file, load_into_memory=in_memory, summary=tmp_path / "file" / "summary.json"
            )


SELECTS = [
    "SELECT * FROM todolist ORDER BY priority",
    "SELECT COUNT(*) FROM todolist",
    "SELECT starid FROM todolist WHERE starid = 100",
]


class TestHalfReadSelect:
    """The user has looked at the first row and then lost interest."""

    @pytest.fixture(params=["tm.cursor", "tm.cursor.execute", "tm.conn.cursor", "tm.conn.execute"])
    def look(self, request):
        def look(tm, sql):
            if request.param.startswith("tm.cursor"):
                cursor = tm.cursor.execute(sql)
            else:
                cursor = (
                    tm.conn.execute(sql)
                    if request.param == "tm.conn.execute"
                    else tm.conn.cursor().execute(sql)
                )
            if request.param != "tm.cursor.execute":
                cursor.fetchone()
            return cursor

        return look

    @pytest.mark.parametrize("sql", SELECTS)
    def test_closing_leaves_one_plain_file(self, open_todo, todo_file, look, sql):
        with open_todo(todo_file) as tm:
            tm.save_result(make_result(tm.get_task()))
            kept = look(tm, sql)  # that it lives on is the point
        assert [path.name for path in todo_file.parent.iterdir()] == ["todo.sqlite"]
        assert query(todo_file, "SELECT COUNT(*) FROM todolist WHERE status = 1") == [(1,)]
        execute(todo_file, "UPDATE todolist SET status = NULL")  # no process holds a lock
        del kept

    @pytest.mark.parametrize("sql", SELECTS)
    def test_work_goes_on(self, tm, todo_file, look, sql):
        cursors = []
        for call in (
            tm.backup,
            tm.write_summary,
            tm.get_random_task,
            lambda: tm.start_task(1),
            lambda: run_all(tm),
        ):
            cursors.append(look(tm, sql))
            call()
        tm.backup()
        tm.close()
        assert query(todo_file, "SELECT COUNT(*) FROM todolist WHERE status = 1") == [
            (11,)
        ]  # 1 is STARTED


class TestMemoryMode:
    def open(self, path, **options):
        return TaskManager(path, load_into_memory=True, **options)

    def test_the_file_stays_as_it_was_until_backup(self, todo_file):
        before = todo_file.read_bytes()
        with self.open(todo_file) as tm:
            run_all(tm)
            tm.cursor.execute("UPDATE todolist SET tmag = 1 WHERE priority = 3")
            tm.conn.commit()
            assert todo_file.read_bytes() == before
            tm.backup()
            assert query(todo_file, "SELECT COUNT(*) FROM todolist WHERE status = 1") == [(12,)]
            assert query(todo_file, "SELECT tmag FROM todolist WHERE priority = 3") == [(1.0,)]

    def test_backup_runs_by_itself(self, todo_file):
        with self.open(todo_file, backup_interval=4) as tm:
            tasks = tm.get_tasks(12)
            for n, task in enumerate(tasks, 1):
                tm.save_result(make_result(task))
                on_disk = query(todo_file, "SELECT COUNT(*) FROM diagnostics")[0][0]
                assert on_disk == n - n % 4

    def test_backup_by_itself_saves_sql_of_the_user_as_well(self, todo_file):
        with self.open(todo_file, backup_interval=1) as tm:
            tm.cursor.execute("UPDATE todolist SET tmag = 1 WHERE priority = 3")
            tm.save_result(make_result(tm.get_task()))
            assert query(todo_file, "SELECT tmag FROM todolist WHERE priority = 3") == [(1.0,)]

    def test_backup_in_file_mode_does_nothing(self, todo_file):
        with TaskManager(todo_file) as tm:
            inode = todo_file.stat().st_ino
            tm.backup()
            assert todo_file.stat().st_ino == inode
