"""What stars do: relative flux against time, with parameters that an analysis should find again."""

import numpy as np

INGRESS = 0.15  # share of the duration in ingress, and as much in egress: a planet of a tenth of the star's radius, central


def transit(time, period, epoch, duration, depth):
    """Trapezoidal transits.

    Parameters
    ----------
    time : array, days
    period, epoch, duration : float, days; middle of a transit, and time from first to fourth contact
    depth : float, relative flux missing in the middle

    Returns
    -------
    array, relative flux: 1 outside transits, ``1 - depth`` inside
    """
    from_middle = np.abs((time - epoch + period / 2) % period - period / 2)
    return 1 - depth * np.clip((duration / 2 - from_middle) / (INGRESS * duration), 0, 1)


def sinusoid(time, period, amplitude):
    """Relative flux of a pulsating or spotted star: mean 1, ``amplitude`` up and down."""
    return 1 + amplitude * np.sin(2 * np.pi * time / period)
