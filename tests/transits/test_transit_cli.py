"""``photometry search`` and ``photometry synthesize``."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from photometry.cli.search import command as search
from photometry.cli.synthesize import command as synthesize
from photometry.lightcurve import Lightcurve

SPECS = ["-s", "duration=40", "-s", "orbital_period=6", "-s", "semi_major_axis=0.07", "-s", "sampling_cadence=1800", "-s", "noise=0.001", "-s", "seed=1"]  # fmt: skip


def run(command, *arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False)


def test_synthetic_light_curve_is_read_with_its_metadata_and_its_planet_found(tmp_path):
    path = tmp_path / "lc.gz"
    assert run(synthesize, path, *SPECS).return_value == 0
    lc = Lightcurve.read(path)
    assert (lc.metadata["orbital_period"], lc.metadata["t0"], lc.metadata["gzipped"]) == (
        6.0,
        1.0,
        "True",
    )
    result = run(search, path, "--detrend", 0, "--json", "--plot", tmp_path / "plots")
    found = json.loads(result.output)
    assert found["period"] == pytest.approx(6, rel=1e-3)
    assert found["t0"] == pytest.approx(1, abs=0.02)
    assert (tmp_path / "plots/lc-1.png").exists()


def test_table_has_one_line_per_signal_and_unreadable_files_end_with_1(tmp_path):
    path = tmp_path / "lc.npy"
    run(synthesize, path, *SPECS, "--binary")
    (tmp_path / "bad").write_text("1 2 hello\n")
    result = run(search, tmp_path / "bad", path, "--detrend", 0, "--method", "bls")
    assert result.return_value == 1
    bad, head, row = result.output.splitlines()
    assert "not a number" in bad
    assert head.split()[:2] == ["period", "t0"]
    assert str(path) in row


def test_json_has_null_where_a_number_is_not_known(tmp_path):
    path = tmp_path / "lc"
    run(synthesize, path, *SPECS[:8], "-s", "noise=0.0001", "-s", "orbital_period=15", "-s", "t0=3")
    lc = Lightcurve.read(path)
    lc.select(np.abs(lc.times - 18) > 1).to_file(
        path
    )  # the transits at 3 and 33 d are left: none has an odd number
    result = run(
        search,
        path,
        "--detrend",
        0,
        "--json",
        "--threshold",
        1,
        "--period-min",
        14,
        "--period-max",
        16,
    )
    found = json.loads(
        result.output, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert (found["transit_count"], found["odd_even"]) == (2, None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--period-min", 5, "--period-max", 2],
            "--period-min 5 is not shorter than --period-max 2",
        ),
        (
            ["--method", "bls", "--period-min", 0.1],
            "--period-min 0.1: bls tries transits of up to 0.2 d",
        ),
    ],
)
def test_limits_that_no_file_can_satisfy_are_wrong_use(options, sentence):
    result = CliRunner().invoke(search, ["any", *map(str, options)])
    assert result.exit_code == 2
    assert sentence in result.output


def test_light_curve_without_planet_says_so(tmp_path):
    path = tmp_path / "lc"
    run(synthesize, path, *SPECS, "-s", "planet_radius=0")
    result = run(search, path, "--detrend", 0, "--threshold", 9)
    assert result.return_value == 0
    assert "no transits above SDE 9" in result.output


def test_specs_come_from_a_file_and_wrong_ones_are_told(tmp_path):
    (tmp_path / "specs.json").write_text('{"duration": 5, "sampling_cadence": 3600}')
    result = run(
        synthesize,
        tmp_path / "a",
        "--specs-file",
        tmp_path / "specs.json",
        "--kind",
        "star",
        "--json",
        "-s",
        "mode=red_giant",
    )
    assert json.loads(result.output)["mode"] == "red_giant"
    for arguments, sentence in (
        (["-s", "duration"], "expected NAME=VALUE"),
        (["-s", "colour=1"], "unknown spec 'colour'"),
        (["--specs-file", tmp_path / "a.metadata.cfg"], "not JSON"),
        (["--specs-file", tmp_path / "a"], "not even text"),
        (["-s", "t0=soon"], "t0='soon': expected a number"),
    ):
        result = run(synthesize, tmp_path / "b", *arguments)
        assert sentence in str(getattr(result.exception, "message", result.exception))
        assert not (tmp_path / "b").exists()
