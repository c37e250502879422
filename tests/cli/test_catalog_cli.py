"""``photometry catalog``: what a user types, sees, and finds on disk."""

import subprocess
import sys


def photometry(*args):
    return subprocess.run(
        [sys.executable, "-m", "photometry", "catalog", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_catalog_writes_one_file_per_ccd_and_says_how_many_stars(tmp_path):
    (tmp_path / "catalog.csv").write_text("ID,ra,dec,Tmag\n1,10,20,9\n2,10,21,10\n")
    done = photometry(tmp_path, "--sector", "1,2", "--camera", "3", "--ccd", "4")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(": 2 stars") == 2
    assert {p.name for p in tmp_path.glob("*.sqlite")} == {
        f"catalog_sector00{s}_camera3_ccd4.sqlite" for s in (1, 2)
    }


def test_missing_column_is_one_message_and_exit_code_2(tmp_path):
    (tmp_path / "catalog.csv").write_text("ID,ra,dec\n1,10,20\n")
    done = photometry(tmp_path, "--sector", "1", "--camera", "3", "--ccd", "4")
    assert done.returncode == 2
    assert "no column tmag" in done.stderr
    assert "Traceback" not in done.stderr
