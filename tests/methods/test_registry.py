import sys

import pytest

from photometry.errors import SettingsError
from photometry.methods import get_method
from photometry.methods.aperture import aperture_photometry


def test_aperture_is_the_default_method():
    assert get_method("aperture") is aperture_photometry
    assert get_method(None) is aperture_photometry


def test_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(
        SettingsError, match=r"method='apperture': did you mean 'aperture'\? expected 'aperture' or"
    ):
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
    with pytest.raises(SettingsError, match=r"expected 'aperture' or .*'psf' or 'theirs'"):
        get_method("theirz")


def test_a_function_is_named_by_its_module_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "their_file.py").write_text("def dimmest(stamp, settings):\n    return 'dim'\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert get_method("their_file:dimmest")(None, None) == "dim"
    with pytest.raises(SettingsError, match=r"has no function 'dimest'; did you mean 'dimmest'\?"):
        get_method("their_file:dimest")


def test_a_module_with_a_mistake_is_one_message_with_its_cause(tmp_path, monkeypatch):
    (tmp_path / "their_mistake.py").write_text("import nowhere_to_be_had\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"cannot be imported: .*nowhere_to_be_had"):
        get_method("their_mistake:function")
