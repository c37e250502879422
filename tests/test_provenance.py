"""`photometry.provenance`: which code made a file."""

import subprocess

from photometry import provenance


def commit_of(folder, monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    provenance.commit.cache_clear()
    try:
        return provenance.commit()
    finally:
        provenance.commit.cache_clear()


def git(folder, *words):
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", "-C", folder, *name, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_commit_is_that_of_the_checkout_and_says_whether_it_was_changed(tmp_path, monkeypatch):
    assert commit_of(tmp_path, monkeypatch) is None
    git(tmp_path, "init", "-q")
    (tmp_path / "__init__.py").write_text("")
    assert commit_of(tmp_path, monkeypatch) is None  # a repository that the package is not in
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert commit_of(tmp_path, monkeypatch) == head
    (tmp_path / "__init__.py").write_text("changed = True")
    assert commit_of(tmp_path, monkeypatch) == f"{head}-dirty"
