"""The loop, pipelines and hooks: sections 1, 4, 5 and 10 of the specification, and the weaknesses
of its section 11."""

import errno
import logging
import signal
import sys
import threading
import time

import pytest

from photometry.errors import NothingToDoError, SettingsError, TryAgainError, WrongUseError
from photometry.events import (
    Arguments,
    BasePipeline,
    BasePrimitive,
    ConfigClass,
    Framework,
    ProcessingContext,
    find_pipeline,
    fits2png_pipeline,
    getLogger,
)
from photometry.events.fits2png_pipeline import Fits2pngPipeline
from photometry.events.pipeline import camel_case

PACKAGE = "photometry.events"


class NotesPipeline(BasePipeline):
    """Notes what it does."""

    event_table = {  # noqa: RUF012
        "next_file": ("first", "begun", "second"),
        "second": ("second", "ended", None),
        "planner": ("planner", None, None),
        "guarded": ("guarded", None, "second"),
        "checked": ("checked", None, "second"),
        "silent": ("silent", None, "second"),
        "primitive": ("Doubling", None, "second"),
        "boom": ("boom", None, "second"),
        "skip": ("skip", None, "second"),
        "later": ("later", None, "second"),
        "tick": ("tick", None, None),
        "circle": ("noop", None, "circle"),
        "end": ("echo", "stop", None),
    }

    def __init__(self, context=None):
        super().__init__(context)
        self.notes = []
        self.failures_left = 2

    def first(self, action, context):
        self.notes.append(("first", action.args.name, context.state))
        return Arguments(name=action.args.name, value=1)

    def second(self, action, context):
        self.notes.append(("second", action.args.name, context.state))
        return action.args

    def planner(self, action, context):
        context.push_hi_event("next_file", Arguments(name="1"))
        context.push_hi_event("second", Arguments(name="2"))

    def silent(self, action, context):
        return None

    def later(self, action, context):
        self.failures_left -= 1
        if self.failures_left >= 0:
            raise TryAgainError("the disk is full")
        return action.args

    def tick(self, action, context):
        self.notes.append(("tick", action.args.name, context.state))
        if sum(note[1] == action.args.name for note in self.notes) == action.args.last:
            action.event._recurrent = False
        return action.args


def guarded(action, context):
    context.guarded_ran = True
    return action.args


def pre_guarded(action, context):
    return action.args.allowed


def checked(action, context):
    return Arguments(name="checked", good=action.args.good)


def post_checked(action, context):
    return action.output.good


def boom(action, context):
    raise ValueError("no such star")


def skip(action, context):
    context.push_hi_event("second", Arguments(name="never"))
    raise NothingToDoError("done already")


class Doubling(BasePrimitive):
    def _pre_condition(self):
        return self.action.args.value >= 0

    def _perform(self):
        return Arguments(name="doubled", value=2 * self.action.args.value)

    def _post_condition(self):
        return self.output.value < 100


@pytest.fixture
def framework(config):
    return Framework(NotesPipeline, config)


def names(framework):
    return [(what, name) for what, name, _ in framework.pipeline.notes]


def outcomes(framework):
    return {str(outcome): number for outcome, number in framework.tally.counts.items() if number}


class TestBuilding:
    @pytest.mark.parametrize(
        "given",
        [
            f"{PACKAGE}.fits2png_pipeline.Fits2pngPipeline",
            f"{PACKAGE}.fits2png_pipeline",
            fits2png_pipeline,
            Fits2pngPipeline,
        ],
    )
    def test_a_pipeline_is_found_by_class_module_and_their_dotted_names(self, given):
        assert type(Framework(given, None).pipeline) is Fits2pngPipeline

    def test_a_bare_name_is_looked_for_in_the_pipeline_path(self):
        config = ConfigClass(pipeline_path=("", PACKAGE))
        assert type(Framework("fits2png_pipeline", config).pipeline) is Fits2pngPipeline
        config = ConfigClass(pipeline_path=PACKAGE)
        assert type(Framework("fits2png_pipeline", config).pipeline) is Fits2pngPipeline

    def test_an_instance_is_used_as_it_is_and_bound_if_it_has_no_context(self, tmp_path):
        path = tmp_path / "config.cfg"
        path.write_text("[DEFAULT]\nname = mine\n")
        pipeline = NotesPipeline()
        framework = Framework(pipeline, str(path))
        assert framework.pipeline is pipeline
        assert pipeline.context is framework.context
        assert framework.config.name == "mine"
        other = ProcessingContext(None, None, getLogger(None, "DRPF"), ConfigClass())
        assert Framework(NotesPipeline(other), None).pipeline.context is other

    def test_a_file_of_plain_functions_is_a_pipeline(self, pipeline_file, config, notes):
        framework = Framework(pipeline_file, config)
        framework.append_event("next_file", Arguments(name="a"))
        assert framework.main_loop() == 0
        assert [note[:2] for note in notes()] == [("first", "a"), ("second", "a")]

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("fits2png_pipeline", "Fits2pngPipeline"),
            ("hist_equal2d", "HistEqual2d"),
            ("aBC", "ABC"),
            ("a_b", "AB"),
        ],
    )
    def test_camel_case(self, name, expected):
        assert camel_case(name) == expected

    @pytest.mark.parametrize(
        "name",
        ["nowhere", "nowhere.at_all", f"{PACKAGE}.nowhere", "nowhere.py", logging, 3, Arguments],
    )
    def test_a_pipeline_that_is_not_there_is_an_error_that_names_it(self, name):
        with pytest.raises(WrongUseError, match=getattr(name, "__name__", str(name))):
            find_pipeline(
                name, context=ProcessingContext(None, None, logging.getLogger(), ConfigClass())
            )

    def test_a_table_that_is_no_dict_is_reported(self, config):
        class Wrong(BasePipeline):
            event_table = [("next_file", "noop", None)]  # noqa: RUF012

        with pytest.raises(WrongUseError, match="is not a dict"):
            Framework(Wrong, config)

    def test_a_file_named_like_another_module_is_refused(self, tmp_path):
        path = tmp_path / "json.py"
        path.write_text("event_table = {}")
        with pytest.raises(WrongUseError, match=r"json\.py: another module is called json"):
            find_pipeline(str(path))

    def test_an_error_within_the_module_is_reported(self, tmp_path, monkeypatch):
        (tmp_path / "broken_pipeline.py").write_text("import nothing_of_this_name\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(WrongUseError, match="nothing_of_this_name"):
            find_pipeline("broken_pipeline")

    def test_all_that_is_wrong_with_a_table_is_reported_at_once(self, config):
        class Wrong(BasePipeline):
            event_table = {  # noqa: RUF012
                "short": ("noop", None),
                "missing": ("no_such_primitive", None, None),
                "dangling": ("noop", None, "no_such_event"),
                "listed": ("noop", None, ["a", "b"]),
                "fine": ("noop", "state", "missing"),
            }

        with pytest.raises(WrongUseError) as caught:
            Framework(Wrong, config)
        for word in ("'short'", "'no_such_primitive'", "'no_such_event'", "['a', 'b']"):
            assert word in str(caught.value)
        assert "'fine'" not in str(caught.value)

    def test_an_import_error_within_a_primitive_is_reported(self, config, tmp_path, monkeypatch):
        (tmp_path / "broken_primitive.py").write_text("from math import no_such_function\n")
        monkeypatch.syspath_prepend(str(tmp_path))

        class Wrong(BasePipeline):
            event_table = {"next_file": ("broken_primitive", None, None)}  # noqa: RUF012

        with pytest.raises(WrongUseError, match="no_such_function"):
            Framework(Wrong, config)

    def test_primitives_are_imported_from_the_primitive_path(self, config, tmp_path, monkeypatch):
        package = tmp_path / "prims_of_test"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "shift_image.py").write_text(
            "class ShiftImage:\n"
            "    def __init__(self, action, context):\n        self.args = action.args\n"
            "    def apply(self):\n        self.args.shifted = True\n        return self.args\n"
            "Other = ShiftImage\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        config.primitive_path = ("", "prims_of_test")

        class Importing(BasePipeline):
            event_table = {  # noqa: RUF012
                "a": ("shift_image", None, None),
                "b": ("shift_image.Other", None, None),
                "c": ("prims_of_test.shift_image", None, None),
            }

        framework = Framework(Importing, config)
        for event in "abc":
            framework.append_event(event, Arguments(name=event))
            framework.store_arguments = None
        assert framework.main_loop() == 0
        assert outcomes(framework) == {"done": 3}
        assert framework.store_arguments.shifted

    def test_rows_of_the_configuration_overrule_those_of_the_class(self, config):
        config.event_table = {"next_file": ("first", None, None)}
        framework = Framework(NotesPipeline, config)
        framework.append_event("next_file", Arguments(name="a"))
        framework.main_loop()
        assert names(framework) == [("first", "a")]
        assert NotesPipeline.event_table["next_file"][2] == "second"

    def test_rows_of_a_file_keep_the_capitals_of_events(self, tmp_path):
        path = tmp_path / "my.cfg"
        path.write_text(
            "[DEFAULT]\nlogger_config_file = None\n[event_table]\nNext_File = 'noop', None, "
            "'second'\n"
        )
        assert Framework(NotesPipeline, str(path)).pipeline.event_table["Next_File"] == (
            "noop",
            None,
            "second",
        )

    def test_a_framework_can_be_built_and_run_in_any_thread(self, config):
        found = []

        def work():
            framework = Framework(NotesPipeline, config)
            framework.append_event("next_file", Arguments(name="a"))
            found.append((framework.main_loop(), names(framework)))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found == [(0, [("first", "a"), ("second", "a")])]

    def test_a_wrong_configuration_is_refused(self):
        with pytest.raises(SettingsError, match="max_attempts=0"):
            Framework(NotesPipeline, ConfigClass(max_attempts=0))

    def test_the_core_loads_no_heavy_library(self, tmp_path):
        import subprocess

        code = (
            "import sys, photometry.events as e\n"
            "class P(e.BasePipeline): pass\n"
            "f = e.Framework(P, None); f.append_event('noop', e.Arguments()); "
            "f.config.event_timeout = 0; f.main_loop()\n"
            "print([m for m in ('numpy', 'pandas', 'matplotlib', 'astropy', 'scipy', "
            "'watchdog') if m in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
        )
        assert done.stdout.strip() == "[]"


class TestLoop:
    def test_all_steps_of_an_item_come_before_the_next_item(self, framework):
        for name in "abc":
            framework.append_event("next_file", Arguments(name=name))
        assert framework.main_loop() == 0
        assert names(framework) == [(what, name) for name in "abc" for what in ("first", "second")]
        assert framework.context.state == "ended"
        assert framework.get_pending_events() == ([], [])
        assert (
            framework.event_queue.get_in_progress()
            == framework.event_queue_hi.get_in_progress()
            == {}
        )

    def test_the_loop_can_run_again_when_there_is_more_to_do(self, framework):
        for name in "ab":
            framework.append_event("second", Arguments(name=name))
            assert framework.main_loop() == 0
        assert names(framework) == [("second", "a"), ("second", "b")]
        framework.stop()
        framework.append_event("second", Arguments(name="left"))
        assert framework.main_loop() == 3

    def test_pushed_events_are_first_in_first_out(self, framework):
        framework.append_event("planner", Arguments())
        framework.main_loop()
        assert names(framework) == [("first", "1"), ("second", "2"), ("second", "1")]

    def test_the_last_output_is_the_default_of_append_event(self, framework):
        framework.append_event("next_file", Arguments(name="a"))
        framework.main_loop()
        framework.append_event("second")
        assert framework.event_queue.get().args.value == 1

    def test_what_is_pushed_from_outside_comes_first(self, framework):
        framework.append_event("second", Arguments(name="low"))
        framework.push_event("second", Arguments(name="high"))
        assert framework.main_loop() == 0
        assert names(framework) == [("second", "high"), ("second", "low")]

    def test_a_function_without_output_hands_its_input_on_and_is_done(self, framework):
        framework.append_event("silent", Arguments(name="a"))
        assert framework.main_loop() == 0
        assert names(framework) == [("second", "a")]
        assert outcomes(framework) == {"done": 1}

    @pytest.mark.parametrize(("allowed", "expected"), [(True, "done"), (False, "skipped")])
    def test_a_pre_condition_decides_whether_a_function_runs(self, framework, allowed, expected):
        framework.append_event("guarded", Arguments(name="a", allowed=allowed))
        assert framework.main_loop() == 0
        assert hasattr(framework.context, "guarded_ran") is allowed
        assert (names(framework) == [("second", "a")]) is allowed
        assert outcomes(framework) == {expected: 1}

    def test_pre_condition_failed_stop_stops(self, config):
        config.pre_condition_failed_stop = True
        framework = Framework(NotesPipeline, config)
        framework.append_event("guarded", Arguments(allowed=False))
        framework.append_event("second", Arguments(name="left"))
        assert framework.main_loop() == 1
        assert framework.context.state == "stop"
        assert [event.args.name for event in framework.event_queue.get_pending()] == ["left"]
        assert framework.event_queue.get_in_progress() == {}

    @pytest.mark.parametrize(("good", "expected"), [(True, {"done": 1}), (False, {"failed": 1})])
    def test_a_post_condition_decides_whether_the_next_event_comes(self, framework, good, expected):
        framework.append_event("checked", Arguments(good=good))
        assert framework.main_loop() == (0 if good else 1)
        assert bool(names(framework)) is good
        assert outcomes(framework) == expected

    @pytest.mark.parametrize(
        ("value", "expected", "following"),
        [(3, "done", ["doubled"]), (-1, "done", ["undef"]), (70, "failed", [])],
    )
    def test_a_primitive_class_checks_for_itself(self, framework, value, expected, following):
        """As in the original, a class whose pre-condition is not met leaves out its step, and the
        chain goes on."""
        framework.append_event("primitive", Arguments(value=value))
        framework.main_loop()
        assert outcomes(framework) == {expected: 1}
        assert names(framework) == [("second", name) for name in following]
        assert framework.tally.skipped_steps == (value == -1)
        assert ("1 steps skipped" in framework.tally.report()[0]) is (value == -1)

    def test_a_skipped_step_may_skip_the_item(self, config):
        config.pre_condition_skips = "item"
        framework = Framework(NotesPipeline, config)
        framework.append_event("primitive", Arguments(value=-1))
        assert framework.main_loop() == 0
        assert outcomes(framework) == {"skipped": 1}
        assert names(framework) == []

    def test_a_skipped_step_may_end_the_chain_itself(self, framework):
        class Ending(Doubling):
            def _pre_condition(self):
                self.action.new_event = None
                return False

        framework.pipeline.Doubling = lambda action, context: Ending(action, context).apply()
        framework.append_event("primitive", Arguments(value=3))
        assert framework.main_loop() == 0
        assert names(framework) == []

    def test_a_pipeline_knows_its_configuration(self, framework):
        assert framework.pipeline.config is framework.config

    def test_a_base_primitive_must_be_filled_in(self, framework):
        from photometry.events import Action, Event

        action = Action(Event("x", Arguments()), ("x", None, None), Arguments())
        with pytest.raises(NotImplementedError, match="_perform"):
            BasePrimitive(action, framework.context)()

    def test_recurrent_events_end_themselves(self, framework):
        framework.append_event("tick", Arguments(name="four", last=4), recurrent=True)
        framework.append_event("tick", Arguments(name="seven", last=7), recurrent=True)
        assert framework.main_loop() == 0
        ticks = [name for _, name in names(framework)]
        assert (ticks.count("four"), ticks.count("seven")) == (4, 7)
        assert framework.event_queue.get_in_progress() == {}

    @pytest.mark.parametrize("shared", [False, True])
    def test_a_recurrent_event_that_fails_recurs_no_more(self, config, tmp_path, shared):
        if shared:
            config.queue_file = str(tmp_path / "q.sqlite")
        framework = Framework(NotesPipeline, config)
        framework.append_event("boom", Arguments(name="x"), recurrent=True)
        assert framework.main_loop() == 1
        assert outcomes(framework) == {"failed": 1}
        assert framework.event_queue.qsize() == 0

    def test_a_recurrent_event_that_does_not_end_by_itself_has_failed_at_its_limit(self, config):
        config.max_repeats = 5
        framework = Framework(NotesPipeline, config)
        framework.append_event("second", Arguments(name="x"), recurrent=True)
        assert framework.main_loop() == 1
        assert len(framework.pipeline.notes) == 5
        assert "second, x: it has come max_repeats=5 times" in framework.tally.reasons[0]

    def test_an_item_that_is_tried_again_is_counted_once(self, config):
        config.max_attempts = 5
        framework = Framework(NotesPipeline, config)
        framework.append_event("later", Arguments(name="x"))
        assert framework.main_loop() == 0
        assert framework.tally.report() == [
            "1 items: 1 done, 0 skipped, 0 failed; 2 attempts were put back to be tried again"
        ]

    def test_a_chain_without_end_fails_at_its_limit(self, config):
        config.max_chain_length = 50
        framework = Framework(NotesPipeline, config)
        framework.append_event("circle", Arguments(name="a"))
        assert framework.main_loop() == 1
        assert "max_chain_length=50 steps, the next one circle" in framework.tally.reasons[0]

    def test_an_unknown_event_fails_and_is_named(self, framework):
        framework.append_event("no_such_event", Arguments(name="a"))
        framework.append_event("next_file", Arguments(name="b"))
        assert framework.main_loop() == 1
        assert "NotesPipeline has no event 'no_such_event'" in framework.tally.reasons[0]
        assert outcomes(framework) == {"done": 1, "failed": 1}


class TestOutcomes:
    def test_an_exception_fails_its_item_and_the_run_goes_on(self, framework, caplog):
        caplog.set_level(logging.INFO, "DRPF")
        framework.append_event("boom", Arguments(name="a"))
        framework.append_event("next_file", Arguments(name="b"))
        assert framework.main_loop() == 1
        assert names(framework) == [("first", "b"), ("second", "b")]
        assert framework.tally.reasons == ["failed: boom, a: ValueError: no such star"]
        assert "2 items: 1 done, 0 skipped, 1 failed" in caplog.text
        assert "failed: boom, a: ValueError: no such star" in caplog.text

    def test_a_primitive_that_calls_exit_fails_its_item_and_the_run_goes_on(self, framework):
        framework.pipeline.boom = lambda action, context: sys.exit(2)
        framework.append_event("boom", Arguments(name="a"))
        framework.append_event("second", Arguments(name="b"))
        assert framework.main_loop() == 1
        assert names(framework) == [("second", "b")]
        assert framework.tally.reasons == ["failed: boom, a: SystemExit: 2"]

    def test_an_item_can_be_skipped_with_the_rest_of_its_steps(self, framework):
        framework.append_event("skip", Arguments(name="a"))
        assert framework.main_loop() == 0
        assert names(framework) == []
        assert framework.tally.reasons == ["skipped: skip, a: done already"]

    def test_an_item_is_tried_again_when_the_cause_may_pass(self, framework):
        framework.append_event("later", Arguments(name="a"))
        assert framework.main_loop() == 0
        assert names(framework) == [("second", "a")]
        assert outcomes(framework) == {"retry": 2, "done": 1}

    def test_an_item_is_given_up_after_max_attempts(self, framework):
        framework.pipeline.failures_left = 99
        framework.append_event("later", Arguments(name="a"))
        assert framework.main_loop() == 1
        assert outcomes(framework) == {"retry": 2, "failed": 1}
        assert framework.tally.reasons[-1].endswith("the disk is full; given up after 3 attempts")

    def test_a_hook_may_put_an_item_back(self, framework):
        tried = []

        def on_error(action, context, exception):
            tried.append(str(exception))
            if len(tried) < 3:
                context.event_queue.re_append(context.item.id)

        framework.on_error = on_error
        framework.append_event("boom", Arguments(name="a"))
        framework.main_loop()
        assert tried == ["no such star"] * 3
        assert framework.event_queue.qsize() == 0

    def test_testing_raises_the_exception_of_an_action_again(self, config):
        framework = Framework(NotesPipeline, config, testing=True)
        framework.append_event("boom", Arguments(name="a"))
        with pytest.raises(ValueError, match="no such star"):
            framework.main_loop()
        assert framework.event_queue.get_in_progress() == {}

    def test_an_exception_of_on_error_leaves_the_loop(self, framework):
        def on_state(action, context):
            raise RuntimeError("Simulated exception")

        def on_error(action, context, exception):
            raise RuntimeError(f"Caught exception {exception}")

        framework.on_state, framework.on_error = on_state, on_error
        framework.append_event("next_file", Arguments(name="a"))
        with pytest.raises(RuntimeError, match="Caught exception Simulated exception"):
            framework.main_loop()
        assert framework.event_queue.get_in_progress() == {}
        assert outcomes(framework) == {"failed": 1}

    def test_a_state_stop_that_is_let_through_ends_the_loop_and_leaves_nothing_in_progress(
        self, framework
    ):
        framework.on_state = lambda action, context: None
        framework.append_event("end", Arguments(name="a"))
        framework.append_event("next_file", Arguments(name="left"))
        assert framework.main_loop() == 3
        assert framework.event_queue.get_in_progress() == {}
        assert framework.event_queue.qsize() == 1
        assert outcomes(framework) == {"done": 1}


class TestStarting:
    def test_start_returns_and_code_after_it_runs(self, framework):
        framework.append_event("next_file", Arguments(name="a"))
        assert framework.start() == 0

    def test_start_ends_the_program_with_the_true_status_after_a_failure(self, framework):
        framework.append_event("boom", Arguments(name="a"))
        with pytest.raises(SystemExit) as caught:
            framework.start()
        assert caught.value.code == 1

    def test_on_exit_gets_the_status(self, framework):
        statuses = []
        framework.on_exit = statuses.append
        framework.append_event("boom", Arguments(name="a"))
        assert framework.start() == 1
        assert statuses == [1]

    def test_ingest_data_only_leaves_the_events_to_others(self, config, tmp_path, make_fits):
        config.queue_file = str(tmp_path / "q.sqlite")
        framework = Framework(NotesPipeline, config)
        framework.ingest_data(files=make_fits("a.fits"))
        assert framework.start(ingest_data_only=True) == 0
        other = Framework(NotesPipeline, config)
        assert other.main_loop() == 0
        assert names(other) == [
            ("first", str(tmp_path / "a.fits")),
            ("second", str(tmp_path / "a.fits")),
        ]

    @pytest.mark.parametrize("spelling", ["wait_for_event", "wait_for_events"])
    def test_wait_for_event_waits_for_the_first_one_and_then_ends(self, framework, spelling):
        threading.Timer(0.3, framework.append_event, ["next_file", Arguments(name="late")]).start()
        assert framework.start(**{spelling: True}) == 0
        assert names(framework) == [("first", "late"), ("second", "late")]

    def test_continuous_goes_on_until_it_is_stopped_and_wakes_up_at_once(self, framework):
        taken = threading.Event()
        framework.config.no_event_wait_time = 30
        framework.on_state = lambda action, context: (
            taken.set() if action.name == "second" else None
        )
        thread = threading.Thread(target=framework.start, kwargs={"continuous": True})
        thread.start()
        time.sleep(0.2)
        framework.append_event("second", Arguments(name="a"))
        assert taken.wait(25), "an event waited for the end of no_event_wait_time, which is 30 s"
        framework.stop()
        thread.join()
        assert names(framework) == [("second", "a")]

    def test_the_event_for_no_event_can_be_named_in_a_file(self, tmp_path):
        path = tmp_path / "my.cfg"
        path.write_text(
            "[DEFAULT]\nevent_timeout = 0.02\nlogger_config_file = None\nno_event_event = second\n"
        )
        framework = Framework(NotesPipeline, str(path))
        framework.on_state = lambda action, context: framework.stop()
        assert framework.main_loop() == 0
        assert names(framework) == [("second", "second")]
        path.write_text("[DEFAULT]\nno_event_event = nothing_of_ours\n")
        with pytest.raises(SettingsError, match="no_event_event='nothing_of_ours'"):
            Framework(NotesPipeline, str(path))

    def test_the_loop_can_run_in_a_thread_of_its_own(self, framework):
        statuses = []
        framework.on_exit = statuses.append
        framework.append_event("next_file", Arguments(name="a"))
        assert framework.start_action_loop().name == "action_loop"
        framework.wait_for_ever()
        assert statuses == [0]

    def test_qm_only_processes_nothing(self, framework):
        framework.append_event("next_file", Arguments(name="a"))
        threading.Timer(0.2, framework.stop).start()
        assert framework.start(qm_only=True) == 0
        assert framework.event_queue.qsize() == 1

    def test_a_signal_lets_the_item_finish(self, framework):
        framework.pipeline.first = lambda action, context: (
            signal.raise_signal(signal.SIGTERM) or action.args
        )
        for name in "ab":
            framework.append_event("next_file", Arguments(name=name))
        before = signal.getsignal(signal.SIGTERM)
        assert framework.main_loop() == 3
        assert names(framework) == [("second", "a")]
        assert [event.args.name for event in framework.event_queue.get_pending()] == ["b"]
        assert signal.getsignal(signal.SIGTERM) is before

    def test_a_signal_lets_a_long_chain_go_on_for_its_grace_only(self, framework):
        framework.config.stop_grace = 0
        framework.pipeline.first = lambda action, context: (
            signal.raise_signal(signal.SIGTERM) or action.args
        )
        framework.append_event("next_file", Arguments(name="a"))
        assert framework.main_loop() == 3
        assert names(framework) == []
        assert [event.args.name for event in framework.event_queue.get_pending()] == ["a"]
        assert framework.event_queue.get_in_progress() == {}

    def test_a_full_disk_is_no_fault_of_the_item(self, framework):
        full = [OSError(errno.ENOSPC, "No space left on device")]

        def first(action, context):
            if full:
                raise full.pop()
            return action.args

        framework.pipeline.first = first
        framework.append_event("next_file", Arguments(name="a"))
        assert framework.main_loop() == 0
        assert outcomes(framework) == {"done": 1, "retry": 1}

    def test_a_pipeline_is_called_at_the_end_of_a_run(self, framework):
        ends = []
        framework.pipeline.finish_run = ends.append
        framework.append_event("boom", Arguments(name="a"))
        assert framework.main_loop() == 1
        assert ends == [framework.context]

    def test_the_log_has_one_line_per_item(self, framework, caplog):
        caplog.set_level(logging.INFO, "DRPF")
        for event in ("next_file", "boom", "skip"):
            framework.append_event(event, Arguments(name="a"))
        framework.main_loop()
        items = [
            record.getMessage() for record in caplog.records if "items:" not in record.getMessage()
        ]
        lines = [line.partition(": ")[0] + ": " + line.split(": ")[1] for line in items[:3]]
        assert lines == ["completed: next_file, a", "failed: boom, a", "skipped: skip, a"]
        assert not any(record.exc_info for record in caplog.records)

    def test_a_second_signal_breaks_the_item_off_and_puts_it_back(self, framework):
        def twice(action, context):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        framework.pipeline.first = twice
        framework.append_event("next_file", Arguments(name="a"))
        with pytest.raises(KeyboardInterrupt):
            framework.main_loop()
        assert [event.args.name for event in framework.event_queue.get_pending()] == ["a"]
        assert framework.event_queue.get_in_progress() == {}


class TestDataSet:
    def test_a_directory_becomes_rows_and_events(self, framework, make_fits, tmp_path):
        made = [make_fits(f"{i}.fits", f"M{i}") for i in range(3)]
        make_fits("deep.fits", folder=tmp_path / "below")
        framework.ingest_data(str(tmp_path))
        data = framework.context.data_set
        assert sorted(data.data_table) == made
        assert (
            data.get_info(made[1])["TARGNAME"] == data.get_info_column(made[1], "TARGNAME") == "M1"
        )
        assert [event.args.name for event in framework.event_queue.get_pending()] == made
        data.set_info_value(made[0], "QUALITY", 3)
        assert data.get_info_column(made[0], "QUALITY") == 3
        assert data.get_size() == 3
        data.update_data_set()
        assert framework.event_queue.qsize() == 3
        data.change_directory(str(tmp_path / "below"))
        assert data.get_size() == 1
        data.remove_all()
        assert data.get_size() == 0

    def test_only_new_files_become_events(self, framework, make_fits, caplog, tmp_path):
        path = make_fits("a.fits")
        framework.ingest_data(files=[path])
        for unwanted in (path, None, str(tmp_path), str(tmp_path / "nowhere.fits")):
            caplog.clear()
            framework.context.data_set.append_item(unwanted)
            assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert framework.event_queue.qsize() == 1
        assert framework.context.data_set.get_info("nowhere.fits") is None

    def test_a_subclass_decides_what_a_row_is(self, framework, make_fits):
        from photometry.events import DataSet

        class Mine(DataSet):
            def digest_new_item(self, filename):
                return None if "bad" in filename else {"length": len(filename)}

        framework.context.data_set = Mine(
            None, framework.logger, framework.config, framework.event_queue
        )
        good = make_fits("good.fits")
        framework.ingest_data(files=[good, make_fits("bad.fits")])
        assert framework.context.data_set.data_table == {good: {"length": len(good)}}
        assert framework.event_queue.qsize() == 1

    def test_an_ingestion_event_that_the_table_lacks_is_reported_when_data_come(self, config):
        config.default_ingestion_event = "ingest_only"
        framework = Framework(NotesPipeline, config)
        with pytest.raises(SettingsError, match="ingest_only"):
            framework.ingest_data(files="x.fits")

    def test_a_pattern_that_matches_nothing_is_said_aloud(self, framework, tmp_path, caplog):
        (tmp_path / "a.txt").touch()
        framework.ingest_data(str(tmp_path))
        assert (
            "nothing matches *.fits (file_type); there are 1 other files, e.g. a.txt" in caplog.text
        )
