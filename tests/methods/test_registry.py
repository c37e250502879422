import sys

import pytest

from photometry.errors import SettingsError
from photometry.methods.aperture import aperture_photometry
from photometry.methods.registry import get_method, method_names


def test_aperture_is_the_default_method():
    assert get_method("aperture") is aperture_photometry
    assert get_method(None) is aperture_photometry


def test_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"method='apperture': expected .*'aperture'"):
        get_method("apperture")


def test_method_of_another_package_is_found(tmp_path, monkeypatch):
    (tmp_path / "their_package.py").write_text(
        "def their_method(stamp, settings):\n    return 'theirs'\n"
    )
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[photometry.methods]\ntheirs = their_package:their_method\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert get_method("theirs")(None, None) == "theirs"
    assert {"aperture", "theirs"} <= set(method_names())
