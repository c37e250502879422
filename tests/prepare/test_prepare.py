"""From images to cubes: `photometry.prepare.driver`."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.io import fits
from astropy.time import Time
from ffi_files import spoc_series, star_image, write_spoc, write_tica

from photometry.errors import TryAgainError, WrongUseError
from photometry.flags import bitmask
from photometry.pixels.cubestamp import Area, stamp_from_cube
from photometry.pixels.imagecube import cube_path, find_cube, find_cubes
from photometry.pixels.stamp import Target
from photometry.pixels.tess import earth_position, satellite_position
from photometry.prepare import cubefile
from photometry.prepare.cubefile import WorkFolder
from photometry.prepare.driver import prepare
from photometry.prepare.ffi import read_frames
from photometry.prepare.frames import times_of

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
CUBE = "sector003_camera1_ccd2.hdf5"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with 40 images, one of them blank and one displaced."""
    folder = tmp_path_factory.mktemp("images") / "ffi"
    paths = spoc_series(folder, 40, bad=[7])
    displaced = star_image(shift=(3.0, 2.0))
    with fits.open(paths[21], mode="update") as hdulist:
        hdulist[1].data[:] = displaced
    return folder


@pytest.fixture(scope="module")
def cube(images):
    prepare(images, workers=1)
    with find_cube(images, 3, 1, 2, 1800) as cube:
        yield cube


def fits_images(folder, unit):
    return np.array([fits.getdata(path, unit) for path in sorted(folder.glob("*_ffic.fits"))])


class TestCube:
    def test_flux_and_background_add_up_to_the_fits_images(self, images, cube):
        flux, background = cube.read("flux"), cube.read("background")
        assert np.array_equal(flux, fits_images(images, 1) - background)  # float32, bit for bit
        assert np.array_equal(cube.read("error"), fits_images(images, 2))

    def test_the_sky_is_gone(self, cube):
        good = cube.quality == 0
        assert (
            np.abs(np.median(cube.read("flux")[good], axis=(1, 2))).max() < 1.5
        )  # of 100 to 140 e-/s; crowded
        level = np.median(cube.read("background"), axis=(1, 2))
        assert np.allclose(np.diff(level[good]), np.diff(100 + np.arange(40.0)[good]), atol=0.5)

    def test_bad_images_are_found_and_flagged(self, cube):
        bad = cube.quality & bitmask(["BadFrame"]) != 0
        assert np.flatnonzero(bad).tolist() == [7, 21]
        assert np.all(cube.quality[bad] & bitmask(["ManualExclude"]))

    def test_sum_image_is_the_mean_of_the_good_frames(self, cube):
        good = cube.quality == 0
        assert good.sum() == 38
        assert np.allclose(
            cube.sumimage, cube.read("flux")[good].mean(axis=0, dtype=float), rtol=1e-6, atol=1e-6
        )

    def test_times_numbers_and_names_are_those_of_the_headers(self, images, cube):
        assert np.allclose(cube.time, 1330 + np.arange(40) / 48)
        assert np.array_equal(cube.cadenceno, 4700 + np.arange(40))
        assert cube.filenames.tolist() == sorted(path.name for path in images.glob("*_ffic.fits"))
        assert cube.headers["TELESCOP"] == "TESS"
        assert (cube.first_row, cube.first_column, cube.time_reference) == (1, 1, 2457000)

    def test_movement_of_the_stars_is_measured(self, cube):
        from photometry.pixels.imagecube import movement_at

        good = cube.quality == 0
        moved = movement_at(cube.movement, 40, 36, cube.shape)[good]
        i = np.arange(40)[good]
        truth = np.column_stack([0.03 * np.cos(2 * i), 0.05 * np.sin(i)])
        assert np.allclose(moved - moved.mean(axis=0), truth - truth.mean(axis=0), atol=0.01)

    def test_cubes_of_a_folder_are_found(self, images, cube):
        (found,) = [
            (c.sector, c.camera, c.ccd, c.cadence, c.shape, c.n_times) for c in find_cubes(images)
        ]
        assert found == (3, 1, 2, 1800, (80, 72), 40)

    def test_missing_pixels_stay_missing_and_are_flagged(self, tmp_path):
        flux = star_image()
        flux[30:33, 40] = np.nan
        folder = tmp_path / "ffi"
        paths = spoc_series(folder, 5)
        paths[2].unlink()
        write_spoc(paths[2], flux, flux, time=1330 + 2 / 48)
        prepare(folder)
        with find_cube(folder, 3, 1, 2) as cube:
            assert np.isnan(cube.read("flux")[2, 30:33, 40]).all()
            assert np.array_equal(
                np.argwhere(cube.read("pixel_flags") & 1), [(2, row, 40) for row in (30, 31, 32)]
            )
            assert np.isfinite(cube.sumimage).all()


def test_any_number_of_workers_gives_the_same_bytes(images, cube, tmp_path):
    prepare(images, tmp_path, workers=2)
    assert (tmp_path / CUBE).read_bytes() == (images / CUBE).read_bytes()


def test_a_finished_cube_is_left_alone(images, cube):
    before = (images / CUBE).stat()
    (prepared,) = prepare(images).cubes
    assert not prepared.new
    assert (images / CUBE).stat().st_mtime_ns == before.st_mtime_ns


class TestInterruption:
    def run_and_kill(self, images, output, seconds):
        """Start prepare, kill the process and its workers after a while; True if it had finished
        before.
        """
        code = (
            f"from photometry.prepare.driver import prepare; prepare({str(images)!r}, "
            f"{str(output)!r}, workers=2)"
        )
        process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return process.returncode == 0

    def test_killed_again_and_again_it_ends_with_the_same_bytes(self, images, cube, tmp_path):
        n_killed = 0
        for attempt in range(40):
            finished = self.run_and_kill(images, tmp_path, 0.8 + 0.2 * attempt)
            if finished:
                break
            n_killed += 1
            if (
                tmp_path / CUBE
            ).exists():  # killed between its last act and its end: it has to be whole
                assert (tmp_path / CUBE).read_bytes() == (images / CUBE).read_bytes()
        assert finished
        assert n_killed > 0
        assert (tmp_path / CUBE).read_bytes() == (images / CUBE).read_bytes()
        assert os.listdir(tmp_path) == [CUBE]

    @pytest.mark.parametrize("stage", ["measuring frames", "writing pixels"])
    def test_it_goes_on_where_it_stopped(self, images, cube, tmp_path, stage):
        def stop(now, done, total):
            if now == stage and done > 0:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare(images, tmp_path, progress=stop)
        told = []
        prepare(images, tmp_path, progress=lambda now, done, total: told.append((now, done)))
        first = next(done for now, done in told if now == stage)
        assert first > 0
        assert (tmp_path / CUBE).read_bytes() == (images / CUBE).read_bytes()

    def test_a_list_of_rows_that_was_cut_short_is_not_believed(self, images, cube, tmp_path):
        def stop(now, done, total):
            if now == "writing pixels" and done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare(images, tmp_path, progress=stop)
        listed = tmp_path / ".sector003_camera1_ccd2.part" / "bands_on_disk.txt"
        listed.write_text(listed.read_text() + "9")  # of "9\n"
        prepare(images, tmp_path)
        assert (tmp_path / CUBE).read_bytes() == (images / CUBE).read_bytes()

    def test_what_was_begun_with_other_images_is_begun_anew(self, images, cube, tmp_path):
        folder = shutil.copytree(images, tmp_path / "ffi", ignore=shutil.ignore_patterns("*.hdf5"))

        def stop(now, done, total):
            if now == "writing pixels" and done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare(folder, progress=stop)
        sorted(folder.glob("*.fits"))[5].unlink()
        prepare(folder)
        with find_cube(folder, 3, 1, 2) as cube:
            assert cube.n_times == 39
            assert np.array_equal(
                cube.read("flux"), fits_images(folder, 1) - cube.read("background")
            )

    @pytest.mark.parametrize("name", ["plan.json", "bands_on_disk.txt", "measured_00001.npz"])
    def test_damage_of_what_is_kept_costs_time_not_the_result(self, images, cube, tmp_path, name):
        def stop(now, done, total):
            if now == "writing pixels" and done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare(images, tmp_path, progress=stop)
        kept = next(tmp_path.glob(f".*.part/{name}"))
        kept.write_bytes(b"\xff\x00" + kept.read_bytes()[5:])
        try:
            prepare(images, tmp_path)
        except TryAgainError as error:
            assert name in str(error)  # noqa: PT017 - it may also go on at once
            prepare(images, tmp_path)
        assert (tmp_path / CUBE).read_bytes() == cube.path.read_bytes()

    def test_two_at_once_are_refused(self, images, tmp_path):
        with WorkFolder(cube_path(tmp_path, 3, 1, 2)):
            code = (
                f"from photometry.prepare.driver import prepare; prepare({str(images)!r}, "
                f"{str(tmp_path)!r})"
            )
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=False
            )
        assert done.returncode == 1
        assert "another process is preparing it" in done.stderr


class TestBadInput:
    def test_a_truncated_image_is_left_out_and_named(self, tmp_path):
        folder = tmp_path / "ffi"
        paths = spoc_series(folder, 6)
        paths[3].write_bytes(paths[3].read_bytes()[:-30000])
        report = prepare(folder)
        assert report.cubes[0].n_frames == 5
        (problem,) = report.skipped
        assert paths[3].name in problem
        assert "truncated" in problem

    def test_a_folder_without_images_is_refused(self, tmp_path):
        (tmp_path / "other.txt").write_text("nothing")
        with pytest.raises(WrongUseError, match="no full-frame images found"):
            prepare(tmp_path)

    def test_the_ccd_asked_for_has_to_be_there(self, images):
        with pytest.raises(WrongUseError, match="there are sector 3, camera 1, CCD 2"):
            prepare(images, ccd=4)

    @pytest.mark.parametrize(
        ("shape", "kind", "reason"),
        [
            ((80, 72), {"cadence": 600, "time": 1350}, "every 600 s, all others of its CCD"),
            ((30, 30), {"time": 1350}, "30 x 30 pixels from row 1, column 1"),
            ((80, 72), {"camera": 3}, "its header says sector 3, camera 3, CCD 2, its name"),
            ((80, 72), {"number": 4701, "time": 1330.0}, "is of the same time as"),
        ],
    )
    def test_an_odd_image_costs_itself_and_is_named(self, tmp_path, shape, kind, reason):
        paths = spoc_series(tmp_path / "ffi", 5)
        odd = paths[0].with_name("tess2018300000000-s0003-1-2-0123-s_ffic.fits")
        write_spoc(odd, star_image(shape), **kind)
        report = prepare(tmp_path / "ffi")
        problem = next(problem for problem in report.skipped if problem.startswith(str(odd)))
        assert reason in problem
        # which of two images has the wrong time is not known: neither is used
        n_left = 4 if "same time" in reason else 5
        assert [cube.n_frames for cube in report.cubes] == [n_left]
        assert len(report.skipped) == 6 - n_left

    @pytest.mark.parametrize(("key", "value"), [("CRVAL1", 95.0), ("CRPIX2", 400.0)])
    def test_damaged_coordinates_of_one_image_are_not_those_of_the_cube(self, tmp_path, key, value):
        paths = spoc_series(tmp_path / "ffi", 7)
        right = fits.getheader(paths[0], 1)
        fits.setval(paths[3], key, value=value, ext=1)  # the one in the middle
        assert prepare(tmp_path / "ffi").cubes[0].n_frames == 7
        with find_cube(tmp_path / "ffi", 3, 1, 2) as cube:
            assert cube.wcs.wcs.crval == pytest.approx([right["CRVAL1"], right["CRVAL2"]])
            assert cube.wcs.wcs.crpix == pytest.approx([right["CRPIX1"], right["CRPIX2"]])

    def test_of_two_copies_of_an_image_one_is_used(self, tmp_path):
        paths = spoc_series(tmp_path / "ffi", 4)
        copy = paths[1].with_name(paths[1].name.replace("tess2018", "tess2019"))
        shutil.copy(paths[1], copy)
        report = prepare(tmp_path / "ffi")
        assert report.cubes[0].n_frames == 4
        (problem,) = report.skipped
        assert "keep one of them" in problem

    @pytest.mark.parametrize(
        ("shape", "cadence", "reason"),
        [((80, 72), 600, "every 600 s"), ((30, 30), 1800, "30 x 30 pixels")],
    )
    def test_two_kinds_of_images_do_not_make_one_cube(self, tmp_path, shape, cadence, reason):
        spoc_series(tmp_path / "ffi", 3)
        for i in range(2):
            write_spoc(
                tmp_path / "ffi" / f"tess201830000000{i}-s0003-1-2-0123-s_ffic.fits",
                star_image(shape),
                time=1350 + i,
                cadence=cadence,
            )
        with pytest.raises(WrongUseError, match=f"{reason}.*put them in a folder of their own"):
            prepare(tmp_path / "ffi")

    def test_a_cube_that_differs_from_its_images_is_reported_before_any_work(self, tmp_path):
        spoc_series(tmp_path / "ffi", 3, ccd=2)
        prepare(tmp_path / "ffi")
        (path,) = (tmp_path / "ffi").glob("*.hdf5")
        for i in range(2):
            name = f"tess201830000000{i}-s0003-1-1-0123-s_ffic.fits"
            write_spoc(tmp_path / "ffi" / name, star_image(), time=1350 + i, ccd=1)
        next((tmp_path / "ffi").glob("*-1-2-*.fits")).unlink()
        with pytest.raises(WrongUseError, match="--overwrite"):
            prepare(tmp_path / "ffi")
        assert list((tmp_path / "ffi").glob("*.hdf5")) == [path]

    def test_a_folder_with_more_images_than_its_cube_is_reported(self, tmp_path):
        folder = tmp_path / "ffi"
        spoc_series(folder, 3)
        prepare(folder)
        write_spoc(
            folder / "tess2018300000000-s0003-1-2-0123-s_ffic.fits", star_image(), time=1340.0
        )
        with pytest.raises(WrongUseError, match="--overwrite"):
            prepare(folder)
        assert prepare(folder, overwrite=True).cubes[0].n_frames == 4

    def test_a_disk_without_space_is_reported_before_the_work(self, images, tmp_path, monkeypatch):
        monkeypatch.setattr(
            cubefile.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1)
        )
        with pytest.raises(TryAgainError, match="GiB free"):
            prepare(images, tmp_path)


def test_compressed_images_give_the_same_cube(images, cube, tmp_path):
    folder = tmp_path / "ffi"
    folder.mkdir()
    for path in sorted(images.glob("*_ffic.fits"))[:6]:
        (folder / (path.name + ".gz")).write_bytes(gzip.compress(path.read_bytes()))
    prepare(folder)
    with find_cube(folder, 3, 1, 2) as small:
        total = small.read("flux") + small.read("background")
    assert np.allclose(total, (cube.read("flux") + cube.read("background"))[:6], rtol=1e-6)
    assert not (folder / ".unpacked").exists()


def test_times_of_tica_become_barycentric(tmp_path):
    folder = tmp_path / "ffi"
    folder.mkdir()
    for i in range(3):
        name = f"hlsp_tica_tess_ffi_s0027-o1-{116470 + i:08d}-cam3-ccd1_tess_v01_img.fits"
        electrons = (475.2 * star_image()).astype(np.float32)
        write_tica(
            folder / name,
            electrons,
            time=2037.5 + i / 144,
            number=116470 + i,
            SCIPIXS="[1:72,1:80]",
        )
    prepare(folder)
    with find_cube(folder, 27, 3, 1, 600) as cube:
        added = (cube.time - 2037.5 - np.arange(3) / 144) * 86400
        middle = cube.wcs.pixel_to_world(35.5, 39.5)
    # outside truth: astropy's light travel time for the centre of the Earth
    expected = light_travel(2037.5 + np.arange(3) / 144, SkyCoord(middle))
    assert np.allclose(added, expected, atol=0.01)
    assert np.abs(expected).max() > 10


@pytest.mark.parametrize("first", [1330.0, 2100.0])
def test_times_in_single_precision_go_back_on_the_satellites_clock(tmp_path, caplog, first):
    """Outside truth: times that this test makes, before it rounds them."""
    frame = read_frames(spoc_series(tmp_path / "ffi", 1)[0])[0]
    count = np.arange(600) + 40 * (np.arange(600) > 300)
    clock = first + 1.1 / 86400 + count * 1800 / 86400
    timecorr = (200 + count * 0.03) / 86400
    truth = clock + timecorr
    start, stop = (np.float32(truth + sign * 900 / 86400).astype(float) for sign in (-1, 1))

    def times(n):
        series = zip(0.5 * (start + stop), timecorr, strict=True)
        frames = [
            replace(frame, time=time, timecorr=correction, times_for="detector")
            for time, correction in series
        ]
        found = times_of(frames[:n], 0)
        return found, np.abs(found.time - found.timecorr - clock[:n]).max() * 86400

    assert np.abs(0.5 * (start + stop) - truth).max() * 86400 > 3
    found, wrong = times(600)
    assert wrong < 0.6
    assert found.rounding_error == 1.0
    assert "single precision" in caplog.text
    found, wrong = times(5)  # too few for a line
    assert wrong <= found.rounding_error
    assert found.rounding_error == pytest.approx(5.3 if first < 2048 else 10.5, abs=0.1)


def light_travel(days, star):
    """Light travel time from TESS to the barycentre, s, at times since 2457000 (TDB): by astropy
    from the centre of the Earth, and the orbit (which tests/pixels/test_tess.py compares with the
    mission's).
    """
    geocentre = EarthLocation.from_geocentric(0, 0, 0, unit=units.m)
    times = Time(2457000, days, format="jd", scale="tdb", location=geocentre)
    from_earth = satellite_position(days, 2457000)[0] - earth_position(days, 2457000)
    return (
        times.light_travel_time(star, ephemeris="builtin").to_value("s")
        + from_earth @ star.cartesian.xyz.value
    )


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="real data are not here")
class TestRealImages:
    def test_tesscut_cutout_keeps_its_pixels_and_place(self, tmp_path):
        path = DATA / "ffi" / "tess-s0001-4-3_107.27_-70.0_5x5_astrocut.fits"
        prepare(path, tmp_path)
        table = fits.getdata(path, 1)
        with find_cube(tmp_path, 1, 4, 3, 1800) as cube:
            assert np.array_equal(cube.read("flux"), table["FLUX"] - cube.read("background"))
            assert np.array_equal(cube.read("error"), table["FLUX_ERR"])
            assert (cube.first_row, cube.first_column) == (-856, 119)  # as its header says

    @pytest.mark.parametrize(
        ("name", "where"),
        [
            ("tess-s0001-4-3_107.27_-70.0_5x5_astrocut.fits", (1, 4, 3)),
            ("tess-s0012-2-1_217.4289_-62.6795_1x1_astrocut.fits", (12, 2, 1)),
            ("tess-s0018-2-4_asteroid_1cad_astrocut.fits", (18, 2, 4)),
        ],
    )
    def test_times_of_a_star_of_a_cutout_are_the_stars_not_those_of_the_ccds_middle(
        self, tmp_path, name, where
    ):
        path = DATA / "ffi" / name
        prepare(path, tmp_path)
        header, table = fits.getheader(path), fits.getdata(path, 1)
        with find_cube(tmp_path, *where) as cube:
            star = SkyCoord(header["RA_OBJ"] * units.deg, header["DEC_OBJ"] * units.deg)
            # the whole image: the WCS of the oldest file is 974 rows off
            whole = Area(0, cube.shape[0], 0, cube.shape[1])
            stamp = stamp_from_cube(cube, Target(1, star.ra.deg, star.dec.deg, 10.0), whole)
        expected = light_travel(stamp.time - stamp.timecorr, star)
        assert np.allclose(stamp.timecorr * 86400, expected, atol=0.001)
        # as they stand in the file they are 4 to 45 s off
        assert np.abs(table["TIMECORR"] * 86400 - expected).max() > 4
        # times of these files are in single precision
        clock = (stamp.time - stamp.timecorr - table["TIME"] + table["TIMECORR"]) * 86400
        assert np.abs(clock).max() <= 5.3
        error = 5.27 if len(table) == 1 else 1.0
        assert stamp.headers["TIERABSO"] * 86400 == pytest.approx(error + 0.05, abs=0.01)

    def test_a_cutouts_times_in_single_precision_come_back_to_those_of_two_minutes(self, tmp_path):
        """Outside truth: the satellite's clock in the light curve of a star of the same camera."""
        path = DATA / "lc" / "tess2018206045859-s0001-0000000025155310-0120-s_lc.fits"
        lightcurve = fits.getdata(path, 1)
        lightcurve = lightcurve[np.isfinite(lightcurve["TIME"])]
        clock = lightcurve["TIME"] - lightcurve["TIMECORR"].astype(float)
        prepare(DATA / "ffi" / "tess-s0001-4-3_107.27_-70.0_5x5_astrocut.fits", tmp_path)
        with find_cube(tmp_path, 1, 4, 3, 1800) as cube:
            found = cube.time - cube.timecorr
        # 15 of those cadences make one of these; they begin with number 70465
        middles = 70465 + 15 * np.round((found - found[0]) * 48)
        wrong = (found - np.interp(middles, lightcurve["CADENCENO"], clock)) * 86400
        # full-frame images of camera 4 are read 1 s earlier in this data release
        assert np.abs(wrong + 1.0).max() < 0.6

    def test_kepler_image_becomes_a_cube_of_one_time(self, tmp_path):
        path = DATA / "ffi" / "kplr2009114174833_ffi_ch01_corner200.fits"
        prepare(path, tmp_path)
        with find_cube(tmp_path, 0, 2, 1) as cube:
            assert cube.mission == "Kepler"
            pixels = fits.getdata(path, 1)[20:, 12:]
            assert np.array_equal(cube.read("flux")[0], pixels - cube.read("background")[0])
            assert np.abs(np.median(cube.sumimage)) < 0.05 * np.median(pixels)
            ra, decl = (
                float(angle) for angle in cube.wcs.all_pix2world(520, 500, 0)
            )  # CRPIX 533, 521 of the whole image
            assert (ra, decl) == pytest.approx((282.0238935, 44.3344159), abs=1e-6)
