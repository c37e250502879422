"""The types of tasks: golden values, injected planets that come back, and each quality control from
both sides."""

import numpy as np
import pytest
from chain_runs import run_here, settings_for
from template_claims import chain_of

from photometry.chains.execution import run_chain_task
from photometry.chains.filestore import FileStore
from photometry.chains.tasks.completeness import (
    binomial_interval,
    completeness_table,
    marginal,
)
from photometry.chains.tasktype import RunningTask, task_type
from photometry.constants import DAY
from photometry.lightcurve import LightcurveArbitraryRaster
from photometry.status import STATUS
from photometry.transits.stars import psls_program

CADENCE = 900.0  # s


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "files")


def light_curve(n=400, *, step=CADENCE, flux=None, metadata=None, seed=1):
    """A light curve of ``n`` samples, noise of 100 ppm."""
    times = np.arange(n) * step / DAY
    rng = np.random.default_rng(seed)
    flux = 1 + 1e-4 * rng.normal(size=n) if flux is None else flux
    return LightcurveArbitraryRaster(times, flux, np.full(n, 1e-4), metadata=metadata or {})


def stored(store, tmp_path, lc, name="in.lc"):
    """A light curve in the store, as the input of a task."""
    path = tmp_path / "input"
    form = lc.to_file(path)
    size, md5 = store.add("d", name, path)
    place = {"directory": "d", "repository_id": name, "size": size, "md5": md5}
    return {**place, "filename": name, "metadata": {**lc.metadata, **form}}


def task_of(kind, *, inputs=None, outputs=None, **description):
    """A task as a worker gets it."""
    return {
        "id": 1, "attempt_id": 1, "attempt": 1, "type": kind, "name": None, "job_name": "j",
        "directory": "d", "metadata": {}, "requested_metadata": {}, "seed": 7,
        "description": {
            "task": kind, "inputs": {role: "in" for role in inputs or {}},
            "outputs": outputs or {}, **description,
        },
        "inputs": inputs or {}, "outputs": outputs or {},
    }  # fmt: skip


def run(store, task, tmp_path):
    return run_chain_task(task, store=str(store.root), input_folder=str(tmp_path))


def qc(store, task, tmp_path, results, products=None):
    """What quality control says of results."""
    running = RunningTask(task, store, tmp_path)
    running.products = products or {}
    return task_type(task["type"]).qc(running, results)


def written(store, tmp_path, lc, task):
    """Products as if the task had written this light curve."""
    running = RunningTask(task, store, tmp_path)
    running.write_lightcurve(lc)
    running.close()
    return running.products


def test_golden_values_of_the_synthesis(store, tmp_path):
    """The metadata that the original shipped with its demonstration light curve."""
    specs = {
        "duration": 240, "planet_radius": 4 * 0.08911486, "orbital_period": 50,
        "semi_major_axis": 0.4, "orbital_angle": 0, "sampling_cadence": 900,
        "mes_assume_noise": 0.000315,
    }  # fmt: skip
    task = task_of("synthesis_batman", outputs={"lightcurve": "a.lc"}, specs=specs)
    result = run(store, task, tmp_path)
    assert (result["status"], result["qc"]) == (STATUS.OK, [])
    found = result["results"]
    assert found["star_radius"] == 9.728361215240866
    assert found["integrated_transit_power"] == pytest.approx(0.12223895045742617, rel=1e-4)
    assert (found["pixels_in_transit"], found["pixels_out_of_transit"]) == (95, 22945)
    assert found["mes"] == pytest.approx(238.8847941922455, rel=1e-4)
    assert result["products"]["lightcurve"]["metadata"]["mes"] == found["mes"]


def test_synthesis_qc_from_both_sides(store, tmp_path):
    task = task_of("synthesis_batman", outputs={"lightcurve": "a.lc"})
    n = 400
    right = {"sampling_cadence": CADENCE, "duration": n * CADENCE / DAY}
    good = written(store, tmp_path, light_curve(n), task)
    assert qc(store, task, tmp_path, right, good) == []
    assert "400 samples" in qc(store, task, tmp_path, {**right, "duration": 30.0}, good)[0]
    nan = light_curve(n, flux=np.where(np.arange(n) == 5, np.nan, 1.0))
    assert "not finite" in qc(store, task, tmp_path, right, written(store, tmp_path, nan, task))[0]
    bright = light_curve(n, flux=np.full(n, 1000.0))
    found = qc(store, task, tmp_path, right, written(store, tmp_path, bright, task))
    assert "median flux is 1000" in found[0]


def test_an_output_that_is_missing_or_changed_does_not_pass(store, tmp_path):
    task = task_of("binning", outputs={"lightcurve": "a.lc"}, cadence=1800)
    running = RunningTask(task, store, tmp_path)
    assert running.missing_outputs() == ["the output 'lightcurve' was not written"]
    running.products = written(store, tmp_path, light_curve(), task)
    assert running.missing_outputs() == []
    product = running.products["lightcurve"]
    store.path("d", product["repository_id"]).write_bytes(b"x")
    assert "is not what was written" in running.missing_outputs()[0]


def test_an_input_that_was_changed_in_the_store_is_refused(store, tmp_path):
    version = stored(store, tmp_path, light_curve())
    store.path("d", "in.lc").write_bytes(b"something else")
    result = run(store, task_of("verify", inputs={"lightcurve": version}), tmp_path)
    assert result["status"] == STATUS.ERROR
    assert "is not the file that was stored" in result["details"]["errors"][0]
    assert result["retry"] is False


def test_verify_tells_ranges_and_gaps(store, tmp_path):
    lc = light_curve(100)
    result = run(
        store, task_of("verify", inputs={"lightcurve": stored(store, tmp_path, lc)}), tmp_path
    )
    found = result["results"]
    assert found["verification"] is True
    assert found["verification_time_max"] == pytest.approx(99 * CADENCE / DAY)
    gap = lc.select(np.delete(np.arange(100), [50, 51, 52]))
    version = stored(store, tmp_path, gap, "gap.lc")
    result = run(store, task_of("verify", inputs={"lightcurve": version}), tmp_path)
    assert result["results"]["verification"] is False
    assert result["qc"] == []  # a bad light curve is a result, not a failure
    task = task_of("verify")
    assert (
        "above the largest" in qc(store, task, tmp_path, {**found, "verification_flux_min": 9.0})[0]
    )
    assert "expected true or false" in qc(store, task, tmp_path, {**found, "verification": 1.0})[0]


def test_binning_has_the_cadence_asked_for(store, tmp_path):
    version = stored(store, tmp_path, light_curve(4320, step=600.0))
    task = task_of(
        "binning", inputs={"lightcurve": version}, outputs={"lightcurve": "b.lc"}, cadence=1800
    )
    result = run(store, task, tmp_path)
    assert (result["status"], result["qc"]) == (STATUS.OK, [])
    assert result["results"]["sampling_cadence"] == 1800
    wrong = written(store, tmp_path, light_curve(50, step=600.0), task)
    assert "600 s apart, expected 1800 s" in qc(store, task, tmp_path, {}, wrong)[0]


def test_multiply_is_the_product_and_not_longer(store, tmp_path):
    one = light_curve(flux=np.full(400, 2.0), metadata={"a": 1, "b": 1})
    two = light_curve(flux=np.full(400, 3.0), metadata={"b": 2})
    inputs = {
        "lightcurve_1": stored(store, tmp_path, one, "1.lc"),
        "lightcurve_2": stored(store, tmp_path, two, "2.lc"),
    }
    task = task_of("multiply", inputs=inputs, outputs={"lightcurve": "p.lc"})
    result = run(store, task, tmp_path)
    assert result["qc"] == []
    assert (result["results"]["a"], result["results"]["b"]) == (1, 2)
    path = store.path("d", result["products"]["lightcurve"]["repository_id"])
    product = LightcurveArbitraryRaster.from_file(path)
    assert np.allclose(product.fluxes, 6.0)
    longer = written(store, tmp_path, light_curve(800), task)
    assert "beyond the first" in qc(store, task, tmp_path, {}, longer)[0]
    empty = written(store, tmp_path, light_curve(5, flux=np.full(5, np.nan)), task)
    assert "no good flux" in qc(store, task, tmp_path, {}, empty)[0]


def test_detrend_takes_the_trend_out(store, tmp_path):
    n = 1500
    slow = 1 + 0.02 * np.sin(2 * np.pi * np.arange(n) * CADENCE / DAY / 8.0)
    version = stored(store, tmp_path, light_curve(n, flux=500 * slow))
    task = task_of("detrend", inputs={"lightcurve": version}, outputs={"lightcurve": "f.lc"})
    result = run(store, task, tmp_path)
    assert (result["status"], result["qc"]) == (STATUS.OK, [])
    assert result["results"]["scatter_ppm"] < 2000  # 14,000 ppm went in
    wrong = written(store, tmp_path, light_curve(flux=np.full(400, 1.5)), task)
    assert "expected 1" in qc(store, task, tmp_path, {}, wrong)[0]


def test_search_qc_from_both_sides(store, tmp_path):
    task = task_of("transit_search_tls", lc_duration=30, search_settings={"period_min": 2})
    right = {"period": 4.3, "outcome": "FAIL", "target_period": 4.0}
    assert qc(store, task, tmp_path, right) == []  # FAIL is a result of science
    assert (
        qc(store, task, tmp_path, {**right, "period": float("nan"), "outcome": "UNDEFINED"}) == []
    )
    for wrong, message in (
        ({"period": 31.0}, "longer than the 30 d"),
        ({"period": 1.0}, "shorter than period_min"),
        ({"period": -1.0}, "expected days"),
        ({"period": None}, "expected days"),
        ({"outcome": "MAYBE"}, "expected one of PASS, FAIL, UNDEFINED"),
    ):
        assert message in qc(store, task, tmp_path, {**right, **wrong})[0]


def test_light_curves_of_others_are_taken_in(store, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for number in range(3):
        rows = "\n".join(f"{i * 0.01},{1 + number},0" for i in range(20))
        (folder / f"plato_bright_{number}.csv").write_text(f"# #star={number}\n{rows}\n")
    task = task_of("ingest_external_lcs", input_path="theirs/plato_bright*")
    result = run(store, task, tmp_path)
    assert result["results"] == {"ingested": 3, "skipped": 0, "matched": 3}
    assert list(result["products"]) == [f"lightcurve_{i:05d}" for i in range(3)]
    assert [p["metadata"]["star"] for p in result["products"].values()] == [0, 1, 2]
    again = {**task, "existing": ["plato_bright_1.csv"]}
    assert run(store, again, tmp_path)["results"] == {"ingested": 2, "skipped": 1, "matched": 3}
    assert "stored, 4 counted" in qc(store, task, tmp_path, {"ingested": 4}, result["products"])[0]
    (tmp_path.parent / "outside.csv").write_text("0,1,0\n")
    for pattern in ("../outside*", "/etc/*"):
        result = run(store, task_of("ingest_external_lcs", input_path=pattern), tmp_path)
        assert "without '..'" in result["details"]["errors"][0]
    nothing = task_of("ingest_external_lcs", input_path="none*", require_match=True)
    assert run(store, nothing, tmp_path)["status"] == STATUS.ERROR


def test_ingested_files_are_products_that_later_chains_use(tmp_path):
    settings = settings_for(tmp_path)
    settings.inputs.mkdir(parents=True)
    rows = "\n".join(f"{i * 0.01},1.0,0" for i in range(20))
    (settings.inputs / "star.csv").write_text(rows)
    keys = {"working_directory": "stars"}
    first = {
        "job_name": "in",
        **keys,
        "task_list": [{"task": "ingest_external_lcs", "input_path": "*.csv"}],
    }
    assert run_here(settings, first)[0] == 0
    check = {"task": "verify", "name": "check", "inputs": {"lightcurve": "star.csv"}}
    code, found = run_here(settings, {"job_name": "use", **keys, "task_list": [check]})
    assert code == 0
    assert found["by_name"]["check"]["metadata"]["verification_flux_max"] == 1.0


def test_photometry_of_a_target_pixel_file(make_tpf, store, tmp_path):
    rng = np.random.default_rng(2)
    rows, columns = np.mgrid[:11, :11]
    star = 3000 * np.exp(-((rows - 5) ** 2 + (columns - 5) ** 2) / 2.0)
    flux = star + rng.normal(0, 1.0, (60, 11, 11))
    make_tpf(
        tmp_path / "tess2018319095959-s0005-0000000000001234-0125-s_tp.fits", flux.astype("f4")
    )
    task = task_of(
        "photometry",
        outputs={"lightcurve": "star.lc"},
        target_pixel_file="tess2018319095959-s0005-0000000000001234-0125-s_tp.fits",
    )
    result = run(store, task, tmp_path)
    assert (result["status"], result["qc"]) == (STATUS.OK, []), result.get("details")
    assert result["results"]["starid"] == 1234
    assert result["results"]["mean_flux"] == pytest.approx(star.sum(), rel=0.1)
    missing = task_of("photometry", outputs={"lightcurve": "a"}, target_pixel_file="none.fits")
    assert "there is no such file" in run(store, missing, tmp_path)["details"]["errors"][0]
    nothing = task_of("photometry", outputs={"lightcurve": "a"})
    assert "needs target_pixel_file" in run(store, nothing, tmp_path)["details"]["errors"][0]
    dark = written(store, tmp_path, light_curve(5, flux=np.full(5, np.nan)), task)
    assert qc(store, task, tmp_path, {}, dark) == ["the light curve has no good flux"]


@pytest.mark.slow
@pytest.mark.skipif(psls_program() is None, reason="the program psls is not installed")
def test_psls_makes_the_star_and_we_the_transits(store, tmp_path):
    specs = {
        "duration": 20, "sampling_cadence": 900, "orbital_period": 8, "t0": 2.5,
        "semi_major_axis": 0.1, "nsr": 1000,
    }  # fmt: skip
    task = task_of("synthesis_psls", outputs={"lightcurve": "a.lc"}, specs=specs)
    result, again = run(store, task, tmp_path), run(store, task, tmp_path)
    assert (result["status"], result["qc"]) == (STATUS.OK, []), result.get("details")
    product = result["products"]["lightcurve"]
    assert product["md5"] == again["products"]["lightcurve"]["md5"]  # the seed of the task
    path = store.path(product["directory"], product["repository_id"])
    lc = LightcurveArbitraryRaster.from_file(path, dict(product["metadata"]))
    deep = lc.times[lc.fluxes < 0.995]
    np.testing.assert_allclose(np.mod(deep - 2.5 + 4, 8) - 4, 0, atol=0.25)
    outside = lc.fluxes[np.abs(np.mod(lc.times - 2.5 + 4, 8) - 4) > 0.5]
    # 1,000 ppm in an hour for one camera; 24 cameras, 4 samples in an hour
    assert np.std(outside) == pytest.approx(1000e-6 * np.sqrt(4 / 24), rel=0.15)


def test_a_task_that_runs_too_long_or_takes_too_much_fails(tmp_path):
    slow = {"task": "null", "name": "slow", "sleep": 60, "timeout": 0.2, "max_attempts": 1}
    code, found = run_here(settings_for(tmp_path), {"job_name": "limits", "task_list": [slow]})
    assert code == 1
    assert "time limit of 0.2 s" in found["by_name"]["slow"]["reason"]


def test_binomial_interval_agrees_with_published_values():
    """Newcombe (1998, Stat. Med. 17, 857), table I: 95 % intervals of the score method."""
    for found, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert binomial_interval(found, n, 1.959964) == pytest.approx((low, high), abs=1e-4)
    assert np.isnan(binomial_interval(0, 0)).all()


def test_completeness_counts_what_was_found():
    rows = [
        {
            "type": "s",
            "scope": {"period": p, "radius": r},
            "metadata": {"outcome": o},
            "passed": True,
        }
        for p, r, o in ((1, 0.1, "PASS"), (1, 0.1, "FAIL"), (2, 0.1, "PASS"), (2, 0.5, "UNDEFINED"))
    ]
    cells = completeness_table(rows, "period", "radius")
    assert [(c.x, c.y, c.n, c.found) for c in cells] == [(1, 0.1, 2, 1), (2, 0.1, 1, 1)]
    values, fraction, low, high = marginal(cells, "y")
    assert (list(values), list(fraction)) == ([0.1], [2 / 3])
    assert low[0] < 2 / 3 < high[0]


@pytest.mark.slow
def test_a_small_completeness_chain_ends_in_a_picture(tmp_path):
    code, found = run_here(settings_for(tmp_path), chain_of("completeness"))
    assert code == 0
    products = found["by_name"]["picture"]["products"]
    files = {role: tmp_path / "files" / item["path"] for role, item in products.items()}
    assert files["picture"].read_bytes().startswith(b"\x89PNG")
    assert len(files["table"].read_text().splitlines()) == 1 + 2 * 2
