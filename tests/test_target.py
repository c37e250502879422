import numpy as np
import pytest
from astropy.io import fits

from photometry.pixels.findtpf import identify
from photometry.status import STATUS
from photometry.target import photometry


def task_of(path):
    return {"priority": 1, "datasource": "tpf", "method": None, **identify(path)}


@pytest.mark.real_data
@pytest.mark.filterwarnings("error")
def test_pipeline_mask_gives_the_official_light_curve(shared_data, tmp_path):
    path = shared_data / "tpf" / "tess25155310-s01-first-cadences.fits.gz"
    result = photometry(
        task_of(path), input_folder=path.parent, output_folder=tmp_path, settings={"aperture": {"mask": "pipeline"}}
    )
    ours = fits.getdata(tmp_path / result["details"]["filepath_lightcurve"], "LIGHTCURVE")
    official = fits.getdata(shared_data / "lc" / "tess2018206045859-s0001-0000000025155310-0120-s_lc.fits", 1)[
        : len(ours)
    ]
    assert result["status"] is STATUS.OK
    np.testing.assert_array_equal(ours["TIME"], official["TIME"])
    np.testing.assert_array_equal(ours["CADENCENO"], official["CADENCENO"])
    np.testing.assert_array_equal(ours["QUALITY"], official["QUALITY"])
    np.testing.assert_allclose(ours["FLUX_RAW"], official["SAP_FLUX"], rtol=1e-6)
    np.testing.assert_allclose(ours["FLUX_BKG"], official["SAP_BKG"], rtol=1e-6)
    np.testing.assert_allclose(ours["FLUX_RAW_ERR"], official["SAP_FLUX_ERR"], rtol=0.01)
    np.testing.assert_allclose(ours["MOM_CENTR1"], official["MOM_CENTR1"], atol=1e-5)
    np.testing.assert_allclose(ours["MOM_CENTR2"], official["MOM_CENTR2"], atol=1e-5)
