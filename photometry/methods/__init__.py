"""Methods: from the pixels of a target to its light curve. `registry` knows them by name."""
