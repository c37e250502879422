"""Types of the EAS pipeline whose codes are private: declared, so that a chain that names them gets
the reason."""

from ..tasktype import Setting, TaskType

_SEARCH = {
    "lc_duration": Setting("number", "d; only 0 <= t < lc_duration is searched", required=True),
    "search_settings": Setting("dict", "settings of the search", default={}),
}


class _Unavailable(TaskType):
    reason = ""

    def unavailable(self):
        return self.reason


class SynthesisPlatosim(_Unavailable):
    """PlatoSim's light curves."""

    outputs = ("lightcurve",)
    settings = {"specs": Setting("dict", "what to make", default={})}  # noqa: RUF012
    containers = ("eas_worker_synthesis_platosim",)
    reason = "PlatoSim is not public; synthesis_psls and synthesis_batman make light curves here"


class TransitSearchDst26(_Unavailable):
    """DST, version 26."""

    inputs = ("lightcurve",)
    settings = _SEARCH
    containers = ("eas_worker_dst_v26",)
    reason = (
        "DST is not public; transit_search_tls, _bls_reference, _bls_kovacs and _qats search here"
    )


class TransitSearchDst29(TransitSearchDst26):
    """DST, version 29."""

    containers = ("eas_worker_dst_v29",)


class TransitSearchExotrans(_Unavailable):
    """EXOTRANS."""

    inputs = ("lightcurve",)
    settings = _SEARCH
    containers = ("eas_worker_exotrans",)
    reason = (
        "EXOTRANS is not public; transit_search_tls, _bls_reference, _bls_kovacs and "
        "_qats search here"
    )
