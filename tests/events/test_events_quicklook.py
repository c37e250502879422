"""The pipelines that come with the package, on simulated and made files: what they write, and what
becomes of bad files."""

import html.parser
import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from photometry.events import Action, Arguments, Framework, SharedEventQueue
from photometry.events.fits2png_pipeline import Fits2pngPipeline
from photometry.events.pictures import (
    equalise,
    shrink,
    write_contact_sheet,
    write_picture,
)
from photometry.events.quicklook import Quicklook, mean_of_cutout
from photometry.events.startup import run
from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


class Images(html.parser.HTMLParser):
    """Collects what a page shows."""

    def __init__(self, path):
        super().__init__()
        self.sources = []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.sources.append(dict(attributes)["src"])


class TestPictures:
    def test_shrinking_keeps_the_mean_and_leaves_nan_out(self):
        image = np.arange(16.0).reshape(4, 4)
        assert shrink(image, 4) is image
        np.testing.assert_allclose(shrink(image, 2), [[2.5, 4.5], [10.5, 12.5]])
        image[0, 0] = np.nan
        np.testing.assert_allclose(shrink(image, 2)[0, 0], (1 + 4 + 5) / 3)
        assert np.isnan(shrink(np.full((4, 4), np.nan), 2)).all()

    @pytest.mark.parametrize(
        "image", [np.full((32, 32), np.nan), np.zeros((32, 32)), np.eye(32) * 1e30]
    )
    def test_any_image_can_be_equalised(self, image):
        equal = equalise(image)
        assert equal.shape == (32, 32)
        assert np.isfinite(equal).all()
        assert equal.min() >= 0
        assert equal.max() <= 1

    def test_equalising_shows_what_is_faint(self):
        rng = np.random.default_rng(1)
        image = rng.normal(100, 1, (64, 64))
        image[40:44, 40:44] += 5
        image[0, 0] = 1e6
        equal = equalise(image)
        assert equal[40:44, 40:44].mean() - np.median(equal) > 0.2

    def test_the_first_row_is_at_the_bottom(self, tmp_path):
        image = np.zeros((3, 2))
        image[0, 1] = 1
        write_picture(tmp_path / "a.png", image)
        with Image.open(tmp_path / "a.png") as image:
            picture = np.asarray(image)
        assert picture.shape == (3, 2)
        assert picture[2, 1] == 255
        assert picture.sum() == 255

    def test_a_picture_says_of_which_file_it_is(self, tmp_path):
        write_picture(tmp_path / "sub" / "a.png", np.zeros((3, 2)), "a_ffic.fits")
        with Image.open(tmp_path / "sub" / "a.png") as image:
            assert image.text == {"Title": "a_ffic.fits"}
        write_contact_sheet(tmp_path)
        assert "<figcaption>sub/a.png</figcaption>" in (tmp_path / "index.html").read_text()

    @pytest.mark.parametrize("name", ["a\nb.fits", "\udcff.fits", "\u661f.fits"])
    def test_any_name_of_a_file_can_be_drawn(self, tmp_path, name):
        write_picture(tmp_path / "a.png", np.zeros((3, 2)), name, frame=(3, 2))
        with Image.open(tmp_path / "a.png") as image:
            assert image.size[0] > 2

    def test_names_in_a_contact_sheet_are_harmless(self, tmp_path):
        name = 'a"><script>.png'
        write_picture(tmp_path / name, np.zeros((2, 2)))
        assert write_contact_sheet(tmp_path) == 1
        assert Images(tmp_path / "index.html").sources == [quote(name)]
        assert "<script>" not in (tmp_path / "index.html").read_text()
        os.rename(tmp_path / name, os.fsencode(tmp_path) + b"/\xff.png")
        assert write_contact_sheet(tmp_path) == 1
        assert Images(tmp_path / "index.html").sources == ["%FF.png"]


class TestFits2png:
    def test_every_file_of_a_directory_becomes_a_picture_and_all_a_page(
        self, config, make_fits, tmp_path
    ):
        for i in range(6):
            make_fits(f"{i}.fits", folder=tmp_path / "data")
        framework = Framework(Fits2pngPipeline, config)
        framework.ingest_data(str(tmp_path / "data"), ())
        assert framework.main_loop() == 0
        names = [f"{i}.png" for i in range(6)]
        assert sorted(path.name for path in (tmp_path / "output").glob("*.png")) == names
        assert sorted(Images(tmp_path / "output" / "index.html").sources) == names

    def test_files_of_the_same_name_in_sub_directories_have_their_own_pictures(
        self, config, make_fits, tmp_path
    ):
        config.recursive = True
        for folder in ("data", "data/a", "data/b"):
            make_fits("same.fits", folder=tmp_path / folder)
        assert run(Fits2pngPipeline, config, directory=str(tmp_path / "data")) == 0
        pictures = {f"{folder}same.png" for folder in ("", "a/", "b/")}
        found = (tmp_path / "output").rglob("*.png")
        assert {path.relative_to(tmp_path / "output").as_posix() for path in found} == pictures
        assert set(Images(tmp_path / "output" / "index.html").sources) == pictures

    def test_one_file_becomes_its_picture(self, config, make_fits, tmp_path):
        framework = Framework(Fits2pngPipeline, config)
        framework.ingest_data(None, [make_fits("571_0001.fits")])
        framework.main_loop()
        with Image.open(tmp_path / "output" / "571_0001.png") as picture:
            assert picture.size == (16, 16)

    def test_six_appended_events_become_six_pictures_and_nothing_stays_in_progress(
        self, config, make_fits, tmp_path
    ):
        framework = Framework(Fits2pngPipeline, config)
        for i in range(6):
            framework.append_event(
                "noisy_file" if i % 2 else "next_file", Arguments(name=make_fits(f"{i}.fits"))
            )
        framework.append_event("contact_sheet", Arguments(out_name="all.html", pattern="*.png"))
        framework.main_loop()
        assert len(list((tmp_path / "output").glob("*.png"))) == 6
        assert len(Images(tmp_path / "output" / "all.html").sources) == 6
        assert framework.event_queue.get_in_progress() == {}
        assert framework.get_pending_events() == ([], [])


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Two target pixel files of a simulated sector, with what was put into them."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate_target_pixel_files(folder, TargetPixelSettings(targets=2, times=200))
    return folder


class TestQuicklook:
    @pytest.mark.slow
    def test_target_pixel_files_become_light_curves_and_images_pictures(
        self, config, simulated, make_fits, tmp_path
    ):
        data = tmp_path / "data"
        make_fits("image.fits", folder=data)
        for path in simulated.glob("*_tp.fits"):
            (data / path.name).write_bytes(path.read_bytes())
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([])]).writeto(
            data / "table.fits"
        )
        (data / "cut.fits").write_bytes((data / path.name).read_bytes()[:5000])
        config.queue_file = str(tmp_path / "q.sqlite")
        assert run(Quicklook, config, directory=str(data)) == 1
        queue = SharedEventQueue(config.queue_file)
        assert queue.counts() == {"pending": 0, "running": 0, "done": 3, "skipped": 1, "failed": 1}
        assert "cut.fits" in queue.find("failed")[0].error
        assert queue.find("skipped")[0].error.endswith(
            "table.fits: a table; pictures are made of images, light curves of target pixel files"
        )
        queue.close()
        pictures = sorted(
            path.relative_to(tmp_path / "output").as_posix()
            for path in (tmp_path / "output").rglob("*.png")
        )
        assert len(pictures) == 3
        assert sum(name.endswith("_lc.png") for name in pictures) == 2
        assert sorted(Images(tmp_path / "output" / "index.html").sources) == pictures
        self.check_light_curves(tmp_path / "output", simulated)

    def check_light_curves(self, output, simulated):
        """Each holds a flux at the times of its target pixel file."""
        light_curves = list(output.rglob("*_lc.fits.gz"))
        assert len(light_curves) == 2
        for path in light_curves:
            header = fits.getheader(path)
            (source,) = simulated.glob(f"*{header['TICID']:016d}*_tp.fits")
            flux = fits.getdata(path, "LIGHTCURVE")["FLUX_RAW"]
            pixels = fits.getdata(source, 1)["FLUX"]
            assert len(flux) == len(pixels) == 200
            good = np.isfinite(flux)
            assert good.sum() > 100
            assert np.all(
                flux[good] <= np.nansum(np.clip(pixels, 0, None), axis=(1, 2))[good] * (1 + 1e-5)
            )

    @pytest.mark.parametrize("length", [1000, 7000, 9000, 20000])
    def test_a_truncated_target_pixel_file_has_failed(self, config, simulated, tmp_path, length):
        whole = next(simulated.glob("*_tp.fits")).read_bytes()
        data = tmp_path / "data"
        data.mkdir()
        (data / "cut.fits").write_bytes(whole[:length])
        config.queue_file = str(tmp_path / "q.sqlite")
        assert run(Quicklook, config, directory=str(data)) == 1
        queue = SharedEventQueue(config.queue_file)
        assert "cut.fits" in queue.find("failed")[0].error
        queue.close()

    def test_the_page_shows_all_pictures_also_when_the_last_files_fail(
        self, config, make_fits, tmp_path
    ):
        data = tmp_path / "data"
        for i in range(4):
            make_fits(f"{i}.fits", folder=data)
        for i in range(2):
            (data / f"z{i}.fits").write_text("no FITS at all")
        assert run(Quicklook, config, directory=str(data)) == 1
        names = sorted(path.name for path in (tmp_path / "output").glob("*.png"))
        assert names == [f"{i}.png" for i in range(4)]
        assert sorted(Images(tmp_path / "output" / "index.html").sources) == names

    def test_light_curves_are_no_pictures(self, config, tmp_path):
        columns = [
            fits.Column("TIME", "D", array=[1.0, 2.0]),
            fits.Column("FLUX", "D", array=[1.0, 2.0]),
        ]
        table = fits.BinTableHDU.from_columns(columns, name="LIGHTCURVE")
        image = fits.ImageHDU(np.zeros((11, 13)), name="SUMIMAGE")
        (tmp_path / "data").mkdir()
        fits.HDUList([fits.PrimaryHDU(), table, image]).writeto(tmp_path / "data" / "lc.fits")
        framework = Framework(Quicklook, config)
        framework.ingest_data(str(tmp_path / "data"))
        assert framework.main_loop() == 0
        assert framework.tally.counts["skipped"] == 1
        assert "lc.fits: a light curve" in framework.tally.reasons[0]
        assert list((tmp_path / "output").glob("*.png")) == []

    def test_a_cutout_becomes_a_picture_of_its_mean(self, config, tmp_path):
        flux = np.tile(np.arange(16.0).reshape(4, 4), (3, 1, 1))
        flux[0] = np.nan
        columns = [
            fits.Column("TIME", "D", array=[1.0, 2.0, 3.0]),
            fits.Column("FLUX", "16E", dim="(4,4)", array=flux),
            fits.Column("FFI_FILE", "8A", array=["a", "b", "c"]),
        ]
        table = fits.BinTableHDU.from_columns(columns, name="PIXELS")
        (tmp_path / "data").mkdir()
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "data" / "astrocut.fits")
        action = Action(
            None,
            ("mean_of_cutout", None, None),
            Arguments(name=str(tmp_path / "data/astrocut.fits")),
        )
        np.testing.assert_allclose(mean_of_cutout(action, None).img, flux[1])
        assert run(Quicklook, config, directory=str(tmp_path / "data")) == 0
        assert (tmp_path / "output" / "astrocut.png").is_file()

    def test_without_pictures_there_are_light_curves_only(
        self, config, simulated, make_fits, tmp_path
    ):
        config.pictures = False
        data = tmp_path / "data"
        make_fits("image.fits", folder=data)
        (data / "a_tp.fits").write_bytes(next(simulated.glob("*_tp.fits")).read_bytes())
        assert run(Quicklook, config, directory=str(data)) == 0
        written = [path.name for path in (tmp_path / "output").rglob("*") if path.is_file()]
        assert len(written) == 1
        assert written[0].endswith("_lc.fits.gz")

    @pytest.mark.real_data
    def test_a_real_file_that_is_cut_in_its_header_has_failed(self, config):
        broken = sorted(SHARED_DATA.rglob("*corrupted-at-header*"))
        if not broken:
            pytest.skip("no such file in the shared data")
        framework = Framework(Quicklook, config)
        framework.ingest_data(None, str(broken[0]))
        assert framework.main_loop() == 1
        assert broken[0].name in framework.tally.reasons[0]

    @pytest.mark.real_data
    def test_a_real_cutout_becomes_a_picture(self, config, tmp_path):
        cutouts = sorted(SHARED_DATA.rglob("*astrocut.fits"))
        if not cutouts:
            pytest.skip("no cut-out in the shared data")
        framework = Framework(Quicklook, config)
        framework.ingest_data(None, str(cutouts[0]))
        assert framework.main_loop() == 0
        assert len(list((tmp_path / "output").glob("*.png"))) == 1


@pytest.mark.parametrize("shape", [(300, 200), (11, 8), (40, 700), (1, 1)])
def test_a_frame_has_its_name_and_axes_and_its_pixels_as_they_are(tmp_path, shape):
    pixels = np.random.default_rng(1).uniform(0.2, 0.8, shape)
    write_picture(tmp_path / "alone.png", pixels)
    write_picture(tmp_path / "frame.png", pixels, "a_long_name_of_a_frame.fits", frame=shape)
    with Image.open(tmp_path / "alone.png") as image:
        alone = np.array(image)
    with Image.open(tmp_path / "frame.png") as image:
        frame = np.array(image)
    larger = max(256 // max(shape), 1)
    size = [larger * n for n in shape]
    there = np.kron(alone, np.ones((larger, larger), np.uint8))
    letter = 11 * max(size) / 256
    top, left = round(1.8 * letter), round(4 * letter)
    assert (frame[top : top + size[0], left : left + size[1]] == there).all()
    assert (frame[:top] < 128).any()  # its name
    assert (frame[top : top + size[0], : left - 1] < 128).any()  # the axis of rows
    assert (frame[top + size[0] :] < 128).any()  # the axis of columns
