"""Images that are of no use, or lie where coordinates are special."""

from dataclasses import replace

import numpy as np
import pytest
from series_helpers import in_memory, rows, run_series, settings, small_series

from photometry import sky
from photometry.simulate.imageseries import RadioSeries, steady_sources
from photometry.transients import database as db


def test_images_without_pixels_beam_or_noise_cost_themselves_only(tmp_path):
    images = in_memory(small_series(n_epochs=8))
    header, pixels = images[1]
    images[1] = header, np.full_like(pixels, np.nan)
    images[2] = images[2][0], np.full_like(pixels, 7.0)
    images[3] = images[3][0], np.where(np.indices(pixels.shape)[1] < 80, np.nan, images[3][1])
    images[4][0].remove("BMAJ")
    images[5] = images[5][0], np.full_like(pixels, np.inf)
    images[6][0]["BMAJ"] = float(images[6][0]["BMAJ"]) * 10
    _, summary = run_series(images, tmp_path)
    assert summary.failures == {}
    assert list(summary.skipped) == [images[4][0]["FILENAME"]]
    assert "no beam" in next(iter(summary.skipped.values()))
    assert len(rows("image")) == 7
    reasons = {row.image: row.rejectreason for row in rows("rejection")}
    flat, invalid, beam = 5, 4, 1
    # half an image is used where it has pixels
    assert reasons == {2: invalid, 3: flat, 5: invalid, 6: beam}
    db.consistency_check()
    db.disconnect()


@pytest.mark.parametrize("pointing", [(0.0, 0.0), (359.99, -45.0), (40.0, 90.0), (200.0, -90.0)])
def test_series_at_right_ascension_zero_and_at_the_poles(tmp_path, pointing):
    series = RadioSeries(n_epochs=4, shape=(256, 256), pointings=(pointing,), seed=9)
    series = replace(series, sources=steady_sources(series, 6, snr=(50, 200)))
    run_series(in_memory(series), tmp_path, settings(source_extraction={"margin": 5}))
    found = rows("runningcatalog")
    assert [row.datapoints for row in found] == [4] * 6
    assert rows("newsource") == []
    truth = np.array([(source.ra, source.decl) for source in series.sources])
    for row in found:
        assert 0 <= row.wm_ra < 360
        distance = sky.separation(*truth.T, row.wm_ra, row.wm_decl) * 3600
        assert distance.min() < 3
    assert {row.type for row in rows("assocxtrsource")} == {3, 4}
    db.consistency_check()
    db.disconnect()


def test_the_same_series_twice_gives_two_datasets_with_the_same_sources(tmp_path):
    images = in_memory(small_series(n_epochs=3))
    run_series(images, tmp_path)
    run_series(images, tmp_path)
    first, second = (
        [
            (row.wm_ra, row.wm_decl, row.datapoints)
            for row in rows("runningcatalog")
            if row.dataset == n
        ]
        for n in (1, 2)
    )
    assert len(first) > 3
    assert first == second
    db.consistency_check()
    db.disconnect()
