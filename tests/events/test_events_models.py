"""Arguments, Event, Action, context, configuration and logging: what section 3, 6 and 10 of the
specification say."""

import configparser
import copy
import json
import logging
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photometry.errors import SettingsError, WrongUseError
from photometry.events import (
    Action,
    Arguments,
    ConfigClass,
    Event,
    ProcessingContext,
    SimpleEventQueue,
    create_context,
)
from photometry.events.config import getLogger, literal


def test_keywords_are_attributes_and_items():
    args = Arguments(name="test", a=1, b=2, c="3")
    assert (args.a, args["b"], args.c) == (1, 2, "3")
    assert str(args) == repr(args) == '"name": test, "a": 1, "b": 2, "c": 3'


def test_positional_values_are_not_the_name():
    assert Arguments("x").name == "undef"
    assert str(Arguments(4, 7, name="n")) == '0: 4, 1: 7, "name": n'


def test_positional_values_and_keywords_are_counted_apart():
    args = Arguments(4, 7, 19, name="n", a=1, c=3)
    assert (args[0], args[2], args["a"], args[1:]) == (4, 19, 1, [7, 19])
    assert (len(args), list(args)) == (3, [4, 7, 19])
    assert (args.len_kw(), list(args.iter_kw())) == (3, ["name", "a", "c"])


def test_positional_values_can_be_inserted_popped_and_added():
    args = Arguments(4, 7, 19, name="n", a=1, c=3)
    args.insert(0, 1)
    assert len(args) == 4
    assert args.pop() == 19
    args.append(24)
    args.extend(5, 6, 7)
    assert list(args) == [1, 4, 7, 24, 5, 6, 7]
    args.update(d=4, e=5)
    assert args.len_kw() == 5
    args[0], args["a"] = 2, 9
    assert (args[0], args.a) == (2, 9)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(JSON), st.dictionaries(st.sampled_from("abcxyz"), JSON))
def test_arguments_come_back_from_json_as_they_went_in(positional, keywords):
    args = Arguments(*positional, **keywords)
    assert vars(
        Arguments.from_json(json.loads(json.dumps(args.to_json(), allow_nan=False)))
    ) == vars(args)


@pytest.mark.parametrize(
    "value",
    [math.nan, object(), np.arange(3), np.int64(3), {1: 2}, {"deep": [b"bytes"]}, lambda: 0],
)
def test_a_value_that_json_would_change_is_refused_with_its_key(value):
    with pytest.raises(WrongUseError, match="image"):
        Arguments(name="x", image=value).to_json()


def test_an_event_without_name_is_called_by_its_id():
    event = Event(None, Arguments(), recurrent=True)
    assert event.name == event.id
    assert len(event.id) == 32
    assert event._recurrent
    event.set_recurrent(False)
    assert not event._recurrent
    assert event._timestamp.utcoffset().total_seconds() == 0


def test_an_action_unpacks_the_row_of_the_table():
    event = Event("next_file", Arguments(name="f"))
    action = Action(event, ("read", "reading", "file_read"), event.args)
    assert (action.name, action.next_state, action.new_event, action.output) == (
        "read",
        "reading",
        "file_read",
        None,
    )
    assert str(action) == 'read, "name": f, reading, file_read'


def test_the_context_appends_low_and_pushes_high():
    low, high = SimpleEventQueue(), SimpleEventQueue()
    context = ProcessingContext(low, high, logging.getLogger("x"), ConfigClass())
    assert (context.state, context.data_set, context.debug) == ("Undefined", None, False)
    for name in "abc":
        context.append_event(name, Arguments(name=name))
    context.push_hi_event("h", Arguments())
    context.push_event("i", Arguments())
    assert [low.get().name for _ in range(3)] == ["a", "b", "c"]
    assert [event.name for event in high.get_pending()] == ["h", "i"]


def test_a_context_can_be_made_without_a_framework():
    context = create_context()
    assert context.config.file_type == "*.fits"
    assert context.event_queue.qsize() == context.event_queue_hi.qsize() == 0


# configuration

REFERENCE_DEFAULTS = {
    "name": "DRP-Example",
    "monitor_interval": 10,
    "event_timeout": 1,
    "print_trace": True,
    "logger_config_file": "logger.cfg",
    "pipeline_path": ("", "pipelines"),
    "primitive_path": ("", "primitives"),
    "output_directory": "output",
    "temp_directory": "temp",
    "no_event_event": None,
    "no_event_wait_time": 5,
    "default_ingestion_event": "next_file",
    "pre_condition_failed_stop": False,
    "file_type": "*.fits",
    "want_multiprocessing": False,
    "queue_manager_hostname": "localhost",
    "queue_manager_portnr": 50101,
}


def test_the_defaults_are_those_of_the_original_but_for_the_secret():
    config = ConfigClass()
    assert {key: getattr(config, key) for key in REFERENCE_DEFAULTS} == REFERENCE_DEFAULTS
    assert config.queue_manager_auth_code is None
    config.check()


def test_a_file_gives_attributes_and_sections(tmp_path):
    path = tmp_path / "my.cfg"
    path.write_text(
        "[DEFAULT]\nevent_timeout = 10 # sec\npipeline_path = '', 'mine'\nSecret = b'abc'\nplain = "
        "some text 50%\n"
        "[fits2png]\nclip = 0.5\nevent_timeout = 3\n"
    )
    config = ConfigClass(str(path), colour="red", plain="old")
    assert (config.event_timeout, config.pipeline_path, config.SECRET) == (10, ("", "mine"), b"abc")
    assert (config.plain, config.colour) == ("some text 50%", "red")
    assert config.fits2png == {"event_timeout": 3, "clip": 0.5}
    assert config.nonsense is None
    assert config.getValue("nonsense", 3) == 3
    assert copy.deepcopy(config).plain == config.plain


def test_the_texts_of_a_file_are_read_as_by_a_config_parser(tmp_path):
    path = tmp_path / "my.cfg"
    path.write_text("[DEFAULT]\nLength = 256 * 256\nwidth = 3\n[other]\nflag = yes\n")
    config = copy.deepcopy(ConfigClass(str(path)))
    assert config.get("DEFAULT", "length", fallback=1) == "256 * 256"
    assert config.getint("DEFAULT", "width", fallback=5) == 3
    assert config.getfloat("DEFAULT", "factor", fallback=5) == 5
    assert config.getboolean("other", "flag")
    assert config.sections() == ["other"]


def test_another_section_can_be_the_default_one(tmp_path):
    path = tmp_path / "my.cfg"
    path.write_text("[CUSTOM]\nwavelength = 656.3\n[DEFAULT]\nother = 1\n")
    config = ConfigClass(str(path), default_section="CUSTOM")
    assert config.wavelength == 656.3
    assert config.file_type == "*.fits"


def test_set_changes_what_attributes_return():
    config = ConfigClass()
    config.set("DEFAULT", "name", "other")
    config.set("camera", "gain", 2)
    config.instrument = ConfigClass(gain=3)
    assert (config.name, config.camera, config.instrument.gain) == ("other", {"gain": 2}, 3)


@pytest.mark.parametrize(
    "text", ["__import__('os').system('touch {}')", "open('{}', 'w')", "[open('{}', 'w')]"]
)
def test_a_value_is_never_run(tmp_path, text):
    marker = tmp_path / "ran"
    assert literal(text.format(marker)) == text.format(marker)
    assert not marker.exists()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.cfg"):
        ConfigClass(str(tmp_path / "nowhere.cfg"))
    (tmp_path / "bad.cfg").write_text("no section here")
    with pytest.raises(SettingsError, match="not an INI file"):
        ConfigClass(str(tmp_path / "bad.cfg"))


def test_a_key_close_to_a_known_one_is_reported(tmp_path, caplog):
    path = tmp_path / "my.cfg"
    path.write_text("[DEFAULT]\nevent_timout = 3\nmy_own_key = 4\n")
    ConfigClass(str(path))
    assert [record.args[1:] for record in caplog.records] == [("event_timout", "event_timeout")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("event_timeout", "soon"),
        ("max_attempts", 0),
        ("file_type", 3),
        ("print_trace", "perhaps"),
        ("monitor_method", "magic"),
        ("lease_time", 0),
        ("monitor_interval", 0),
        ("queue_manager_portnr", 99999),
        ("no_event_event", 3),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(key, value):
    config = ConfigClass(**{key: value})
    with pytest.raises(SettingsError, match=f"configuration: {key}="):
        config.check()


SECTIONS = """
[KCWI]
n = 1
only_default = 5
path = 100% of it
[RED]
n = 3
m = 4
"""


def test_a_section_keeps_its_own_keys_and_knows_those_of_the_default_section(tmp_path):
    (tmp_path / "a.cfg").write_text(SECTIONS)
    config = ConfigClass(str(tmp_path / "a.cfg"), default_section="KCWI")
    assert config.n == 1
    assert config.RED == {"n": 3, "m": 4}
    assert config.RED["only_default"] == 5
    with pytest.raises(KeyError):
        config.RED["nowhere"]
    assert config["RED"]["m"] == 4
    assert config["KCWI"]["path"] == "100% of it"
    assert "RED" in config
    assert "BLUE" not in config
    with pytest.raises(KeyError):
        config["BLUE"]


def test_a_configuration_is_read_as_by_configparser(tmp_path):
    """The expected values are those of the standard library's parser for the same file."""
    path = tmp_path / "a.cfg"
    path.write_text(SECTIONS)
    expected = configparser.ConfigParser(default_section="KCWI", interpolation=None)
    expected.read(path)
    config = ConfigClass(default_section="KCWI")
    config.read([str(path)])
    assert config.sections() == expected.sections()
    assert dict(config.defaults()) == dict(expected.defaults())
    assert dict(config.items("RED")) == dict(expected.items("RED"))
    assert config._sections == expected._sections
    assert config.getint("RED", "only_default") == 5
    assert ConfigClass.config_defaults["file_type"] == "*.fits"


def test_a_toml_file_is_a_configuration_too(tmp_path):
    path = tmp_path / "photometry.toml"
    path.write_text('[events]\nsettle_time = 0.5\n[photometry.aperture]\nmask = "pipeline"\n')
    config = ConfigClass(str(path))
    assert config.settle_time == 0.5
    assert config.photometry == {"aperture": {"mask": "pipeline"}}


def test_numbers_given_as_text_become_numbers(tmp_path):
    config = ConfigClass(event_timeout="0.5")
    config.check()
    assert config.event_timeout == 0.5


# logging

LOGGING = """
[loggers]
keys = root, DRPF
[handlers]
keys = file
[formatters]
keys = plain
[logger_root]
level = WARNING
handlers =
[logger_DRPF]
level = INFO
handlers = file
qualname = DRPF_of_test
[handler_file]
class = FileHandler
formatter = plain
args = ({name!r}, 'a')
[formatter_plain]
format = %(asctime)s:%(name)s:%(levelname)s: %(message)s
datefmt = %Y-%m-%d %H:%M:%S
"""


def test_a_logging_file_of_the_standard_library_is_understood(tmp_path):
    path, written = tmp_path / "logger.cfg", tmp_path / "DRPF.log"
    path.write_text(LOGGING.format(name=str(written)))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logger = getLogger(str(path), "DRPF_of_test")
    logger.info("light %d", 1)
    for handler in logger.handlers:
        handler.close()
    logger.handlers.clear()
    root.handlers[:], root.level = handlers, level
    assert written.read_text().strip().endswith(":DRPF_of_test:INFO: light 1")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("({name!r}, 'a')", "(open({name!r}, 'w'),)"),
        ("FileHandler", "os.system"),
        ("FileHandler", "Logger"),
    ],
)
def test_a_logging_file_is_never_run(tmp_path, old, new):
    path, written = tmp_path / "logger.cfg", tmp_path / "DRPF.log"
    path.write_text(LOGGING.replace(old, new).format(name=str(written)))
    with pytest.raises(SettingsError, match=r"logger\.cfg"):
        getLogger(str(path), "DRPF_of_test")
    assert not written.exists()


def test_the_documentation_has_every_key_with_its_default():
    from pathlib import Path

    from photometry.events.config import EventSettings

    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
    for name, key in EventSettings.model_fields.items():
        assert f"| `{name}` | `{key.default!r}` | {key.description} |" in page


def test_the_walk_of_an_event_has_seven_modules():
    from pathlib import Path

    import photometry

    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    walk = page.partition("## The walk of an event")[2].partition("##")[0]
    modules = re.findall(r"`(\w+/\w+\.py)`", walk)
    assert len(modules) == 7
    assert all((Path(photometry.__file__).parent / module).is_file() for module in modules)


def test_the_written_configuration_says_the_defaults(tmp_path):
    from photometry.events.config import as_file

    (tmp_path / "all.cfg").write_text(as_file())
    assert ConfigClass(str(tmp_path / "all.cfg")).properties == ConfigClass().properties
