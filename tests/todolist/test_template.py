"""Templates: what is accepted, and the message for what is not."""

from pathlib import Path

import pytest

from photometry.errors import WrongUseError
from photometry.todolist.make import load_template, shipped_templates

TOP_LEVEL = Path(__file__).parents[2] / "todo_templates"


@pytest.mark.parametrize("path", sorted(TOP_LEVEL.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_template_is_valid_and_found_by_its_name(path):
    assert load_template(path.stem) == load_template(path) == load_template(path.name)


def test_all_templates_of_the_folder_come_with_the_program():
    assert shipped_templates() == sorted(path.stem for path in TOP_LEVEL.glob("*.toml"))
    assert len(shipped_templates()) >= 3


@pytest.mark.parametrize("path", sorted(TOP_LEVEL.glob("*.toml")), ids=lambda path: path.stem)
def test_keys_that_a_template_shows_as_comments_are_real_keys(path, tmp_path):
    """Taking the # off everything that looks like TOML gives a valid template."""
    lines = []
    for line in path.read_text().splitlines():
        bare = line.removeprefix("# ")
        is_toml = line.startswith("# ") and (
            bare.startswith("[[") or (" = " in bare and " " not in bare.split(" = ")[0])
        )
        lines.append(bare if is_toml else line)
    (tmp_path / "all.toml").write_text("\n".join(lines))
    load_template(tmp_path / "all.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sorce = "tpf"', r"unknown key sorce; accepted here: description, exclude, faint_limit"),
        (
            'source = "tpf"\nfaint_limt = 3.0',
            r"unknown key faint_limt; accepted here: .*faint_limit",
        ),
        ('source = "cube"', r"source = 'cube': expected one of '.*tpf"),
        ('source = "tpf"\nfaint_limit = "deep"', r"faint_limit = 'deep': expected a valid number"),
        ('source = "tpf"\ntmag_min = 12\ntmag_max = 3', r"tmag_min=12.0 is above tmag_max=3.0"),
        (
            'source = "tpf"\n[[method]]\nuse = "magic"',
            r"method\[1\]\.use = 'magic': expected 'aperture'",
        ),
        ('source = "tpf"\n[[method]]\ntmag_max = 3.0', r"key method\[1\]\.use is missing"),
        (
            'source = "tpf"\n[[exclude]]\nstar = [1]',
            r"unknown key exclude\[1\]\.star; accepted here: cadence, camera, .*starid",
        ),
        (
            'source = "tpf"\n[[exclude]]\nstarid = ["x"]',
            r"exclude\[1\]\.starid\[1\] = 'x': expected a valid integer",
        ),
        (
            'source = "table"\n[table]\npath = "x"',
            r"unknown key table\.path; accepted here: columns, defaults, file",
        ),
        ("source = tpf", r"not TOML"),
    ],
)
def test_what_is_not_understood_is_refused_by_file_key_and_what_is_accepted(
    tmp_path, text, message
):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(WrongUseError, match=message) as raised:
        load_template(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_unknown_name_lists_the_templates_that_there_are():
    with pytest.raises(WrongUseError, match=r"nonsense: no such template.*tpf"):
        load_template("nonsense")


def test_first_rule_that_fits_names_the_method(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("""
        source = "tpf"
        [[method]]
        use = "aperture"
        starid = [5, 6]
        camera = [1]
    """)
    template = load_template(path)
    row = {
        "starid": 5,
        "camera": 1,
        "sector": 1,
        "ccd": 1,
        "cadence": 120,
        "datasource": "tpf",
        "tmag": None,
    }
    assert template.method_for(row) == "aperture"
    assert template.method_for(row | {"camera": 2}) is None
    assert template.method_for(row | {"starid": 7}) is None
