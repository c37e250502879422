"""`photometry.settings`: where a setting comes from, what is refused, and sections that others
register.
"""

import os
import pickle
import re
import subprocess
import sys

import pytest

from photometry import settings as module
from photometry.errors import SettingsError
from photometry.settings import (
    Section,
    check,
    load_settings,
    photometry_settings,
    register_section,
    settings_hash,
)


class Mine(Section):
    radius: float = 2.0


class Search(Section):
    max_power: int


@pytest.fixture(autouse=True)
def no_sections(monkeypatch):
    """Sections that a test registers are gone afterwards."""
    monkeypatch.setattr(module, "_registered", {})


def refused(message, *arguments):
    with pytest.raises(SettingsError, match=re.escape(message)):
        load_settings(*arguments)


def test_command_line_goes_before_environment_before_file_before_default(tmp_path, monkeypatch):
    path = tmp_path / "photometry.toml"
    path.write_text("[run]\ngrace = 1\ntask_timeout = 2\nclosing_time = 3")
    monkeypatch.setenv("PHOTOMETRY_RUN__GRACE", "4")
    monkeypatch.setenv("PHOTOMETRY_RUN__CLOSING_TIME", "5")
    monkeypatch.setenv("PHOTOMETRY_RUN__TASK_TIMEOUTS__PSF", "7")
    run = load_settings(path, {"run": {"grace": 6}}).run
    assert (run.grace, run.closing_time, run.task_timeout, run.max_attempts) == (6, 5, 2, 3)
    assert run.task_timeouts == {"psf": 7}


@pytest.mark.parametrize(
    ("text", "value"), [("none", None), ("null", None), ("600", 600.0), ("1e3", 1000.0)]
)
def test_numbers_and_nothing_can_be_set_in_the_environment(monkeypatch, text, value):
    monkeypatch.setenv("PHOTOMETRY_RUN__TASK_TIMEOUT", text)
    assert load_settings().run.task_timeout == value


def test_wrong_environment_variable_is_named_though_there_is_a_file(tmp_path, monkeypatch):
    path = tmp_path / "photometry.toml"
    path.write_text("[run]\ngrace = 30")
    monkeypatch.setenv("PHOTOMETRY_RUN__GRAZE", "30")
    refused(
        "PHOTOMETRY_RUN__GRAZE: unknown setting 'run.graze' (value '30'); did you mean 'grace'?",
        path,
    )
    refused("PHOTOMETRY_RUN__GRAZE: unknown", None)
    monkeypatch.delenv("PHOTOMETRY_RUN__GRAZE")
    monkeypatch.setenv("PHOTOMETRY_RUN__GRACE", "soon")
    refused("PHOTOMETRY_RUN__GRACE: run.grace='soon'", path)


def test_wrong_section_in_the_environment_is_refused_and_other_variables_are_not(monkeypatch):
    monkeypatch.setenv("PHOTOMETRY_NO_SKIPS", "1")
    load_settings()
    monkeypatch.setenv("PHOTOMETRY_RNU__GRACE", "30")
    refused("PHOTOMETRY_RNU__GRACE: unknown setting 'rnu'")


def test_each_wrong_setting_is_named_with_its_own_source(tmp_path, monkeypatch):
    path = tmp_path / "photometry.toml"
    path.write_text("[run]\ngraze = 30")
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {"photometry": {"aperture": {"threshold": -1}}})
    assert f"{path}: unknown setting 'run.graze'" in str(caught.value)
    assert "command line: photometry.aperture.threshold=-1: input should be greater" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[run]\ngrace = 3\xff", "is not UTF-8 text (byte 0xff at position 15)"),
        (b"[run\n", "is not TOML"),
        (b"a = " + b"[" * 5000, "is not TOML"),
        (b"run = 3", "run=3: input should be a valid dictionary"),
        (b"[run]\ngrace = [1]", "run.grace=[1]: input should be a valid number"),
    ],
)
def test_a_damaged_settings_file_is_one_message(tmp_path, content, message):
    path = tmp_path / "photometry.toml"
    path.write_bytes(content)
    refused(f"{path}: {message}", path)


def test_a_settings_file_that_is_missing_or_a_folder_is_one_message(tmp_path):
    refused("no such settings file", tmp_path / "nowhere.toml")
    refused("cannot be read", tmp_path)


def test_registered_section_is_checked_like_ours(monkeypatch):
    with pytest.raises(SettingsError, match="unknown setting 'mine'"):
        photometry_settings({"mine": {"radius": 3}})
    register_section("photometry.mine", Mine)
    assert photometry_settings(None).mine.radius == 2
    assert photometry_settings({"mine": {"radius": 3}}).mine.radius == 3
    monkeypatch.setenv("PHOTOMETRY_PHOTOMETRY__MINE__RADIUS", "4")
    assert load_settings().photometry.mine.radius == 4
    refused("unknown setting 'photometry.mine.radus'", None, {"photometry": {"mine": {"radus": 1}}})
    refused("did you mean 'mine'?", None, {"photometry": {"mime": {}}})


def test_settings_made_before_a_section_was_registered_get_it():
    early = photometry_settings({"faint_limit": 12})
    register_section("photometry.mine", Mine)
    late = photometry_settings(early)
    assert (late.faint_limit, late.mine.radius) == (12, 2)


def test_sections_can_be_nested_and_required():
    register_section("chains", Mine)
    register_section("chains.search", Search)
    assert (
        load_settings(None, {"chains": {"search": {"max_power": 3}}}).chains.search.max_power == 3
    )
    refused("chains.search", None, {"chains": {"radius": 1}})


def test_a_section_of_ours_cannot_be_replaced():
    with pytest.raises(SettingsError, match="own; choose another name"):
        register_section("photometry.aperture", Mine)
    with pytest.raises(SettingsError, match=r"subclass of photometry\.settings\.Section"):
        register_section("photometry.mine", dict)


def test_any_section_can_be_checked_with_our_messages():
    assert (
        check(Search, ("a.cfg", {"max_power": 1}), ("command line", {"max_power": 2})).max_power
        == 2
    )
    with pytest.raises(SettingsError, match=r"a\.cfg: unknown setting 'maxpower' .* 'max_power'\?"):
        check(Search, ("a.cfg", {"maxpower": 1}), ("", {"max_power": 2}))


def test_registered_sections_reach_other_processes(tmp_path):
    (tmp_path / "their_method.py").write_text(
        "from photometry.settings import Section\nclass Theirs(Section):\n    radius: float = 2.0\n"
    )
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).theirs.radius)"
    make = (
        "import pickle, sys, their_method; from photometry.settings import *; "
        "register_section('photometry.theirs', their_method.Theirs); "
        "sys.stdout.buffer.write(pickle.dumps(photometry_settings({'theirs': {'radius': 5}})))"
    )
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    sent = subprocess.run([sys.executable, "-c", make], env=env, check=True, capture_output=True)
    got = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, input=sent.stdout
    )
    assert got.stdout == b"5.0\n"
    plain = photometry_settings({"faint_limit": 9})
    assert pickle.loads(pickle.dumps(plain)) == plain


def test_hash_of_the_settings_changes_with_the_settings_alone():
    one = settings_hash(photometry_settings(None))
    assert settings_hash(photometry_settings({"aperture": {"mask": "own"}})) == one
    assert settings_hash(photometry_settings({"aperture": {"mask": "pipeline"}})) != one
    assert re.fullmatch("[0-9a-f]{12}", one)
