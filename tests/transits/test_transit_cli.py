"""``photometry search`` and ``photometry synthesize``."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from photometry.cli.correct import stitch as stitch_verb
from photometry.cli.search import search, synthesize, vet
from photometry.lightcurve import Lightcurve
from photometry.transits import synthesize_transits

SPECS = [
    "-s",
    "duration=40",
    "-s",
    "orbital_period=6",
    "-s",
    "semi_major_axis=0.07",
    "-s",
    "sampling_cadence=1800",
    "-s",
    "noise=0.001",
    "-s",
    "seed=1",
]


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
    bad, head, row, verdict = result.output.splitlines()
    assert "not a number" in bad
    assert head.split()[:2] == ["period", "t0"]
    assert str(path) in row
    assert verdict.strip().startswith("candidate: S/N")


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
    ("options", "message"),
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
def test_limits_that_no_file_can_satisfy_are_wrong_use(tmp_path, options, message):
    (tmp_path / "any").touch()
    result = CliRunner().invoke(search, [str(tmp_path / "any"), *map(str, options)])
    assert result.exit_code == 2
    assert message in result.output


def test_light_curve_without_planet_says_so(tmp_path):
    path = tmp_path / "lc"
    run(synthesize, path, *SPECS, "-s", "planet_radius=0")
    result = run(search, path, "--detrend", 0, "--threshold", 9)
    assert result.return_value == 0
    assert "no transits above SDE 9 and S/N 7.1" in result.output


@pytest.mark.parametrize("verb", [search, vet])
def test_a_file_that_is_not_there_is_wrong_use(verb):
    result = CliRunner().invoke(verb, ["nosuch"])
    assert result.exit_code == 2
    assert "nosuch" in result.output


def test_a_period_max_beyond_the_light_curve_is_reported(tmp_path):
    path = tmp_path / "lc"
    run(synthesize, path, *SPECS)
    result = run(search, path, "--detrend", 0, "--period-max", 500, "--no-vet")
    assert "periods up to 39.98 d were searched" in result.output
    assert "--period-max was 500" in result.output


def test_one_dip_is_said_to_have_been_seen_once(tmp_path):
    path = tmp_path / "lc"
    run(
        synthesize,
        path,
        *SPECS,
        "-s",
        "orbital_period=300",
        "-s",
        "semi_major_axis=0.9",
        "-s",
        "t0=20",
    )
    result = run(search, path, "--detrend", 0)
    assert result.output.startswith("one dip, seen once, at 19.99")
    rows = run(search, path, "--detrend", 0, "--json").output.splitlines()
    assert [json.loads(row)["kind"] for row in rows] == ["single dip"]


def test_signal_below_the_lowest_signal_to_noise_does_not_count(tmp_path):
    path = tmp_path / "lc"
    run(synthesize, path, *SPECS)
    found = json.loads(run(search, path, "--detrend", 0, "--json").output)
    above = run(search, path, "--detrend", 0, "--snr-min", found["snr"] + 1)
    assert "no transits above" in above.output


def test_vet_says_what_a_given_ephemeris_is(tmp_path):
    path = tmp_path / "lc"
    run(synthesize, path, *SPECS)
    given = ["--t0", 1, "--duration", 0.2, "--detrend", 0]
    right = run(vet, path, "--period", 6, *given, "--plot", tmp_path / "plots")
    assert "candidate: S/N" in right.output
    assert (tmp_path / "plots/lc-1-vet.png").stat().st_size > 20000
    twice = run(vet, path, "--period", 12, *given, "--json")
    vetting = json.loads(twice.output)["vetting"]
    assert (vetting["verdict"], vetting["given_period"]) == ("alias", pytest.approx(12, rel=1e-3))
    assert vetting["period"] == pytest.approx(6, rel=1e-3)
    half = CliRunner().invoke(vet, [str(path), "--period", "6"])
    assert half.exit_code == 2
    assert "belong together" in half.output


def test_verdicts_of_searches_are_added_to_a_file(tmp_path):
    path, verdicts = tmp_path / "lc", tmp_path / "verdicts.jsonl"
    run(synthesize, path, *SPECS)
    run(search, path, "--detrend", 0, "--verdicts", verdicts)
    given = ["--t0", 1, "--duration", 0.2, "--detrend", 0, "--period", 12]
    run(vet, path, *given, "--verdicts", verdicts)
    found, alias = map(json.loads, verdicts.read_text().splitlines())
    assert (found["path"], found["verdict"]) == (str(path), "candidate")
    assert found["period"] == pytest.approx(6, rel=1e-3)
    assert alias["verdict"] == "alias"


def test_parts_of_a_star_are_joined_and_their_depths_compared(tmp_path):
    paths = []
    for number in range(2):
        path = tmp_path / f"part{number}.csv"
        specs = {"duration": 80.0, "orbital_period": 6.0, "semi_major_axis": 0.07}
        lc = synthesize_transits({**specs, "sampling_cadence": 1800.0, "noise": 1e-3, "seed": 4})
        own = (lc.times >= 40 * number) & (lc.times < 40 * number + 35)
        level = 3000.0 * (1 + number)
        rows = zip(lc.times[own], level * lc.fluxes[own], strict=True)
        path.write_text("".join(f"{t:.8f},{f:.8f}\n" for t, f in rows))
        paths.append(path)
    result = run(search, *paths, "--join", "--json", "--detrend", 0)
    found = json.loads(result.output)
    assert found["period"] == pytest.approx(6, rel=2e-4)
    assert [part["part"] for part in found["vetting"]["parts"]] == ["part0.csv", "part1.csv"]
    table = run(search, *paths, "--join", "--detrend", 0).output
    assert "they agree" in table
    assert run(stitch_verb, *paths, "-o", tmp_path / "all.fits").return_value == 0
    again = json.loads(run(search, tmp_path / "all.fits", "--json", "--detrend", 0).output)
    assert again["period"] == pytest.approx(found["period"], rel=1e-6)
    for one, other in zip(again["vetting"]["parts"], found["vetting"]["parts"], strict=True):
        assert one["depth"] == pytest.approx(other["depth"], rel=1e-6)


def test_specs_come_from_a_file_and_wrong_ones_are_reported(tmp_path):
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
    for arguments, message in (
        (["-s", "duration"], "expected NAME=VALUE"),
        (["-s", "colour=1"], "unknown spec 'colour'"),
        (["--specs-file", tmp_path / "a.metadata.cfg"], "not JSON"),
        (["--specs-file", tmp_path / "a"], "not even text"),
        (["-s", "t0=soon"], "t0='soon': expected a number"),
    ):
        result = run(synthesize, tmp_path / "b", *arguments)
        assert message in str(getattr(result.exception, "message", result.exception))
        assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        (search, ["--snr-min", "nan"], "not a finite number"),
        (search, ["--threshold", "inf"], "not a finite number"),
        (vet, ["--period", 6, "--t0", "nan", "--duration", 0.2], "not a finite number"),
        (vet, ["--planets", 0], "not in the range"),
    ],
)
def test_numbers_that_are_none_are_wrong_use(tmp_path, verb, options, message):
    (tmp_path / "lc").touch()
    result = CliRunner().invoke(verb, [str(tmp_path / "lc"), *map(str, options)])
    assert result.exit_code == 2
    assert message in result.output


def test_period_of_fewer_samples_than_show_a_transit_is_refused(tmp_path):
    path = tmp_path / "lc"
    run(synthesize, path, *SPECS)
    result = run(search, path, "--detrend", 0, "--period-min", 0.01)
    assert result.return_value == 1
    assert "period_min=0.01: expected at least 0.0833 d" in result.output
    result = run(vet, path, "--detrend", 0, "--period", 0.01, "--t0", 1, "--duration", 0.005)
    assert result.return_value == 1
    assert "expected days, a period of 0.0833 or more" in result.output
