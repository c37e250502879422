"""The handler of a run with ``--inject``: the photometry of a target with signals in its pixels."""

from dataclasses import dataclass

from ..target import photometry
from .folder import signals_for
from .pixels import inject
from .recovery import cards, recover


@dataclass(frozen=True)
class Injection:
    """What `target.photometry` does differently for a target with signals.

    Parameters
    ----------
    signals : list of dict, see `signals`
    search : str, how to search for them: 'bls', 'tls' or 'none'
    """

    signals: list
    search: str = "tls"

    def into(self, stamp, good, settings):
        """The stamp with the signals, see `pixels.inject`.

        Parameters
        ----------
        stamp : Stamp with its stars and its sum image
        good : (n_times,) bool array, times of good quality
        settings : PhotometrySettings
        """
        return inject(stamp, good, self.signals, settings)

    def cards(self, stamp, extraction, good):
        """Header cards on what went in and what came out, see `recovery`.

        Parameters
        ----------
        stamp : Stamp
        extraction : Extraction
        good : (n_times,) bool array, times of good quality
        """
        return cards(recover(stamp, extraction, good, self.signals, search=self.search))


def injected_photometry(task, *, truth, search="tls", **options):
    """The light curve of a target with signals in its pixels.

    Parameters
    ----------
    task : dict
    truth : path of the table of signals, ``injected.ecsv``
    search : str, see `Injection`
    **options : see `target.photometry`

    Returns
    -------
    dict : the Result
    """
    signals = signals_for(truth, task["starid"])
    return photometry(task, injection=Injection(signals, search), **options)
