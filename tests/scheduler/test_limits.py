"""Time limits and what is learned of the time tasks take."""

import math

import pytest

from photometry.errors import SettingsError
from photometry.scheduler.limits import Durations, end_of_run, parse_duration
from photometry.scheduler.protocol import Limits


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("1.5h", 5400),
        ("2d", 172800),
        ("10:30", 630),
        ("12:00:00", 43200),
        ("1-12:00:00", 129600),
    ],
)
def test_durations_are_read_as_people_and_slurm_write_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "5 weeks", "1:2"])
def test_other_durations_are_refused_with_what_is_accepted(text):
    with pytest.raises(SettingsError, match=r"1\.5h"):
        parse_duration(text)


def test_auto_takes_the_end_of_the_job_from_slurm():
    assert (
        end_of_run("auto", environ={"SLURM_JOB_END_TIME": "1700003600"}, now=1700000000)
        == 1700003600
    )


def test_auto_takes_the_walltime_from_pbs():
    assert end_of_run("auto", environ={"PBS_WALLTIME": "3600"}, now=1700000000) == 1700003600


def test_auto_outside_of_a_batch_system_is_no_limit():
    assert end_of_run("auto", environ={}) is None


def test_garbage_from_the_batch_system_is_refused_by_name():
    with pytest.raises(SettingsError, match="SLURM_JOB_END_TIME='tomorrow'"):
        end_of_run("auto", environ={"SLURM_JOB_END_TIME": "tomorrow"})


def test_the_hard_limit_lies_beyond_the_soft_one_and_within_twice_a_long_one():
    assert 100.0 < Limits(100.0).hard < 200.0
    assert Limits(None).hard == math.inf


def test_durations_are_learned_by_kind():
    durations = Durations()
    for _ in range(100):
        durations.learn("bright", 100.0)
        durations.learn("faint", 1.0)
    assert durations.expected("bright") == pytest.approx(100.0)
    assert durations.expected("faint") == pytest.approx(1.0)
    assert durations.upper("faint") == pytest.approx(1.0, rel=0.01)


def test_a_kind_not_seen_yet_is_taken_to_be_as_slow_as_the_slowest():
    durations = Durations()
    assert durations.upper("new") is None
    durations.learn("bright", 100.0)
    assert durations.upper("new") >= 100.0


def test_scatter_of_durations_widens_the_upper_bound():
    durations = Durations()
    for i in range(200):
        durations.learn("kind", 1.0 if i % 2 else 3.0)
    assert durations.upper("kind") > 3.0
