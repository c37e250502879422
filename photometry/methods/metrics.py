"""What the TODO-file's diagnostics tell about a light curve."""

import numpy as np


def diagnostics(stamp, extraction, good):
    """The ``details`` of a Result."""
    flux = extraction.flux[good]
    return {"mean_flux": float(np.nanmedian(flux)), "mask_size": int(extraction.mask.sum())}
