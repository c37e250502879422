"""The whole pipeline on simulated series whose truth is known: 512 x 512 pixels, steady sources of
20 to 200 sigma."""

import json
from dataclasses import replace

import numpy as np
import pytest
from series_helpers import in_memory, rows, run_series, settings

from photometry import sky
from photometry.cli import main
from photometry.simulate.imageseries import (
    RadioSeries,
    Source,
    nearest_source,
    simulated_series,
    steady_sources,
)
from photometry.transients import database as db
from photometry.transients.accessors import open_image
from photometry.transients.database import schema
from photometry.transients.finder import measure_at


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """50 epochs of 20 steady sources, and one of 30 sigma in a single epoch: 1,000 source-
    epochs."""
    series = RadioSeries(n_epochs=50, seed=11)
    sources = steady_sources(series, 21)
    burst = replace(sources[20], kind="transient", flux=30 * series.noise, start=25)
    series = replace(series, sources=(*sources[:20], burst))
    run_series(
        [open_image(image) for image in in_memory(series)], tmp_path_factory.mktemp("steady")
    )
    yield series
    db.disconnect()


@pytest.mark.slow
def test_no_steady_source_is_new_in_a_thousand_source_epochs(steady):
    assert len(rows("runningcatalog")) == 21
    assert len(rows("newsource")) == 1


@pytest.mark.slow
def test_a_burst_of_30_sigma_is_found_once_as_likely_and_where_it_is(steady):
    (new,) = rows("newsource")
    assert new.newsource_type == 1
    (source,) = rows("runningcatalog", schema.runningcatalog.c.id == new.runcat)
    index, distance = nearest_source(steady, source.wm_ra, source.wm_decl)
    assert index[0] == 20
    assert distance[0] < 3
    assert (source.datapoints, source.forcedfits_count) == (1, 10)


@pytest.mark.slow
def test_eta_of_steady_sources_is_one_and_their_fluxes_are_right(steady):
    catalog = {row.id: row for row in rows("runningcatalog")}
    eta, pulls = [], []
    means = {row.runcat: row for row in rows("runningcatalog_flux")}
    for row in rows("varmetric"):
        source = catalog[row.runcat]
        index, distance = nearest_source(steady, source.wm_ra, source.wm_decl)
        if index[0] == 20:
            continue
        assert distance[0] < 1
        flux = means[row.runcat]
        assert flux.f_datapoints == 50
        eta.append(row.eta_int)
        error = (flux.avg_f_int_weight * 50) ** -0.5
        pulls.append((flux.avg_f_int - steady.sources[index[0]].flux) / error)
    assert np.median(eta) == pytest.approx(1.0, abs=0.15)
    assert abs(np.mean(pulls)) < 4 / len(pulls) ** 0.5


def test_forced_fits_are_unbiased_wherever_they_lie_within_a_pixel():
    series = RadioSeries(noise=1e-6, seed=5)
    series = replace(series, sources=steady_sources(series, 20, snr=(1e5, 1e6)))
    image = open_image(series.image(0))
    positions = [(s.ra, s.decl) for s in series.sources]
    records, index = measure_at(image, positions)
    assert list(index) == list(range(20))
    assert records[:, 6] / series.fluxes(0) == pytest.approx(np.ones(20), abs=0.005)


def test_forced_fits_in_noise_scatter_as_much_as_their_errors():
    series = RadioSeries(shape=(700, 700), seed=8)
    image = open_image(series.image(0))
    step = np.arange(-220, 221, 20) * series.pixel / 3600
    ra, decl = (a.ravel() for a in np.meshgrid(step, step))
    pull = []
    records, _ = measure_at(
        image, np.transpose([123 + ra / np.cos(np.radians(30 + decl)), 30 + decl])
    )
    pull = records[:, 6] / records[:, 7]
    assert len(pull) > 300
    assert abs(pull.mean()) < 4 / len(pull) ** 0.5
    assert pull.std() == pytest.approx(1.0, abs=0.15)


def test_two_bands_have_light_curves_of_their_own(tmp_path):
    series = RadioSeries(n_epochs=3, shape=(256, 256), frequencies=(150e6, 170e6), seed=2)
    sources = [replace(s, spectral_index=-0.8) for s in steady_sources(series, 3, snr=(150, 300))]
    series = replace(series, sources=tuple(sources))
    run_series(in_memory(series), tmp_path)
    fluxes = rows("runningcatalog_flux")
    assert [row.f_datapoints for row in fluxes] == [3] * 6
    assert len(rows("runningcatalog")) == 3
    by_source = {}
    for row in fluxes:
        by_source.setdefault(row.runcat, []).append(row.avg_f_int)
    for low, high in by_source.values():
        assert high / low == pytest.approx((170 / 150) ** -0.8, abs=0.03)
    assert rows("newsource") == []


def test_two_pointings_share_sources_where_they_overlap_and_a_first_look_is_no_news(tmp_path):
    series = RadioSeries(
        n_epochs=4, shape=(256, 256), pointings=((123.0, 30.0), (123.35, 30.0)), seed=4
    )
    both = Source(123.175, 30.0, 0.1)
    left, right = Source(122.85, 30.0, 0.1), Source(123.5, 30.0, 0.1)
    series = replace(series, sources=(both, left, right))
    run_series(
        in_memory(series), tmp_path, settings(source_extraction={"extraction_radius_pix": 110.0})
    )
    found = {round(row.wm_ra, 2): row for row in rows("runningcatalog")}
    assert {ra: row.datapoints for ra, row in found.items()} == {123.18: 4, 122.85: 2, 123.5: 2}
    assert rows("newsource") == []
    assert all(row.type != 7 for row in rows("assocxtrsource"))
    assert len(rows("skyregion")) == 2


def test_expiration_and_return(tmp_path):
    series = RadioSeries(n_epochs=8, shape=(200, 200), seed=6)
    (source,) = steady_sources(series, 1, snr=(50, 51), margin=60)
    burst = replace(source, kind="flare", flux=0.0001, amplitude=500, start=0, length=0.1)
    run_series(
        in_memory(replace(series, sources=(burst,))),
        tmp_path,
        settings(source_extraction={"expiration": 3}),
    )
    assert [row.type for row in rows("assocxtrsource")] == [4, 7, 7, 7]
    assert rows("runningcatalog")[0].forcedfits_count == 3


def test_a_monitored_position_has_a_flux_in_every_image(tmp_path):
    series = simulated_series(4, 2, changing=False, shape=(200, 200), seed=9)
    empty = (123.01, 30.02)
    watched = [(series.sources[0].ra, series.sources[0].decl), empty]
    run_series(in_memory(series), tmp_path, monitor=watched)
    points = {entry.runcat: db.lightcurve(entry.runcat) for entry in rows("monitor")}
    bright, dark = points.values()
    assert [p.type for p in bright] == [p.type for p in dark] == [8, 9, 9, 9]
    assert np.mean([p.f_int for p in bright]) == pytest.approx(series.sources[0].flux, abs=0.003)
    assert abs(np.mean([p.f_int for p in dark])) < 0.0025
    assert len(rows("runningcatalog")) == 4


def test_a_source_that_becomes_two_splits_in_the_catalogue(tmp_path):
    series = RadioSeries(n_epochs=4, shape=(200, 200), seed=12)
    # two beams side by side; the second one appears in the third epoch, and moves the first one's
    # fit
    first = Source(123.0, 30.0, 0.1)
    second = Source(123.0, 30.0 + 75 / 3600, 0.09, kind="transient", start=2, length=9)
    series = replace(series, sources=(first, second))
    job = settings(source_extraction={"ew_sys_err": 30.0, "ns_sys_err": 30.0})
    run_series(in_memory(series), tmp_path, job)
    db.consistency_check()
    found = rows("runningcatalog")
    assert len(found) == 2
    assert [row.type for row in db.lightcurve(found[0].id)][:3] == [6, 6, 2]
    separation = float(
        sky.separation(found[0].wm_ra, found[0].wm_decl, found[1].wm_ra, found[1].wm_decl)
    )
    assert separation * 3600 > 30


def exit_code(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


def test_the_verb_writes_the_same_images_and_their_truth(tmp_path):
    options = "--epochs 3 --size 200 --sources 2 --frequencies 150,170 --pointings 2 --seed 4"
    for name in ("one", "two"):
        assert exit_code(["simulate", "images", str(tmp_path / name), *options.split()]) == 0
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 3 * 2 + 1
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    truth = json.loads((tmp_path / "one" / "truth.json").read_text())
    assert [source["kind"] for source in truth["sources"]] == [
        "steady", "steady", "transient", "flare", "fader",
    ]  # fmt: skip
    image = open_image(tmp_path / "one" / names[0])
    brightest = max(truth["sources"], key=lambda source: source["fluxes"][0][0])
    x, y = image.wcs.world_to_pixel_values(brightest["ra"], brightest["decl"])
    peak = image.pixels[round(float(y)), round(float(x))]
    assert peak == pytest.approx(brightest["fluxes"][0][0], rel=0.15)
    frames = ["simulate", "images", str(tmp_path / "optical"), "--optical", "--epochs", "2"]
    assert exit_code([*frames, "--size", "128", "--sources", "40"]) == 0
    assert len(list((tmp_path / "optical").glob("*.fits"))) == 2


@pytest.mark.parametrize(("options", "message"), [
    (["full"], "is not empty"),
    (["new", "--drift", "3"], "--drift"),
    (["new", "--optical", "--noise", "3"], "--noise"),
    (["new", "--sources", "5000"], "do not fit"),
    (["new", "--frequencies", "high"], "expected frequencies"),
    (["new", "--clouds", "2", "--optical"], "clouds"),
])  # fmt: skip
def test_the_verb_refuses_what_it_cannot_do_and_leaves_nothing(tmp_path, capsys, options, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    before = sorted(tmp_path.rglob("*"))
    folder, *rest = options
    assert exit_code(["simulate", "images", str(tmp_path / folder), *rest]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
