"""`EASConstants`: the numbers that task chains may use by name."""


class EASConstants:
    """Numbers for the expressions of task chains; the same values as in the EAS pipeline
    (``plato_wp36``)."""

    def __init__(self):
        self.day = 1.0  # d
        self.month = 28.0  # d
        self.year = 365.25  # d
        self.sun_radius = 6.955e8  # m
        self.earth_radius = 6.371e6  # m
        self.jupiter_radius = 7.1492e7  # m
        self.phy_AU = 149597870700.0  # m
        self.Rearth = 0.08911486  # Jupiter radii, as the EAS pipeline rounds it
        self.plato_noise = 0.000315  # relative flux noise of one sample of 25 s (PSLS, 24 cameras)
