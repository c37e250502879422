"""Full-frame images to image cubes: `photometry prepare`."""
