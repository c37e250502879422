"""`photometry jobscript`: what is printed is a script, and what is wrong is said."""

import subprocess

from running import photometry

from photometry.taskmanager import create_todo


def test_it_prints_a_script_that_bash_understands_with_options_of_run_at_its_end(tmp_path):
    create_todo(
        tmp_path / "todo.sqlite",
        [dict.fromkeys(("starid", "sector", "camera", "ccd", "cadence", "tmag"), 1)],
    )
    done = photometry("jobscript", tmp_path, "--ranks", "16", "--time", "90m", "--", "--isolate")
    assert (done.returncode, done.stderr) == (0, "")
    assert "#SBATCH --ntasks=16\n#SBATCH --time=01:30:00\n" in done.stdout
    assert done.stdout.count("--isolate)") == 1
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True).returncode == 0


def test_an_option_that_run_does_not_have_is_found_out_here_and_not_in_the_job(tmp_path):
    create_todo(tmp_path / "todo.sqlite", [])
    done = photometry("jobscript", tmp_path, "--", "--foo")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "no such option '--foo'" in line


def test_without_a_todo_file_it_is_exit_code_2_and_one_message(tmp_path):
    done = photometry("jobscript", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such TODO-file" in done.stderr
