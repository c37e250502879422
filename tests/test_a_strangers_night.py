"""A folder of 2,000 files, 37 of them broken in six ways: three commands of the README name them
all, each with its reason.
"""

import csv
import gzip
import io
import json

import numpy as np
import pytest
from finished_run import star_image
from running import photometry

N_FILES = 2000
FIRST = 100_000_001
# What breaks a file: how many, and what the reason has to say.
WAYS = {
    "cut off": (10, "truncated"),
    "empty": (7, "empty"),
    "a page of HTML": (6, "not a FITS file"),
    "no aperture": (6, "no APERTURE extension"),
    "damaged gzip": (5, "cannot be decompressed"),
    "of another star": (3, "of another target"),
}


def broken(way, content, other):
    """The bytes of a file broken in one of the `WAYS`; ``other`` is the file of another star."""
    if way == "cut off":
        return content[: len(content) // 2]
    if way == "empty":
        return b""
    if way == "a page of HTML":
        return b"<!DOCTYPE html><html><body>503 Service Unavailable</body></html>"
    if way == "no aperture":
        return content.replace(b"'APERTURE'", b"'OTHER   '")
    if way == "damaged gzip":
        packed = bytearray(gzip.compress(content))
        packed[len(packed) // 2] ^= 0xFF
        return bytes(packed)
    return other


def night(folder, make_tpf, n_files=N_FILES):
    """Write the files; returns {starid: way it is broken in}."""
    folder.mkdir()
    template = make_tpf(folder / "template.fits", star_image(12), starid=FIRST).read_bytes()
    (folder / "template.fits").unlink()
    card = b"TICID   = " + str(FIRST).rjust(20).encode()
    assert template.count(card) >= 1
    rng = np.random.default_rng(4)
    ways = [way for way, (number, _) in WAYS.items() for _ in range(number)]
    chosen = dict(zip(rng.choice(n_files, len(ways), replace=False).tolist(), ways, strict=True))
    for i in range(n_files):
        content, other = (
            template.replace(card, b"TICID   = " + str(FIRST + k).rjust(20).encode())
            for k in (i, i + n_files)
        )
        ending = ""
        if i in chosen:
            content = broken(chosen[i], content, other)
            ending = ".gz" if chosen[i] == "damaged gzip" else ""
        name = f"tess2018206045859-s0005-{FIRST + i:016d}-0120-s_tp.fits{ending}"
        (folder / name).write_bytes(content)
    return {FIRST + i: way for i, way in chosen.items()}


@pytest.mark.slow
def test_three_commands_lead_from_a_folder_to_the_broken_files_and_their_reasons(
    tmp_path, make_tpf
):
    """`photometry todo tpf DIR`, `photometry run DIR`, `photometry status DIR --failed`"""
    expected = night(tmp_path / "DIR", make_tpf)
    assert photometry("todo", "tpf", "DIR", cwd=tmp_path, timeout=600).returncode == 0
    run = photometry("run", "DIR", cwd=tmp_path, timeout=600)
    assert run.returncode == 1, run.stderr
    listed = photometry("status", "DIR", "--failed", cwd=tmp_path)
    lines = listed.stdout.splitlines()
    assert len(lines) == len(expected) == 37
    for starid, way in expected.items():
        (line,) = [line for line in lines if f"TIC {starid} " in line]
        assert WAYS[way][1] in line, line
    table = photometry("status", "DIR", "--failed", "--csv", cwd=tmp_path).stdout
    rows = {int(row["starid"]): row["errors"] for row in csv.DictReader(io.StringIO(table))}
    assert all(WAYS[way][1] in rows[starid] for starid, way in expected.items())
    summary = json.loads((tmp_path / "DIR" / "summary.json").read_text())
    assert summary["ERROR"] == 37
    assert summary["OK"] + summary["WARNING"] == N_FILES - 37
    assert len(summary["failures"]) == len(WAYS)  # one cause for each way
