"""The names that users import, and that they cost nothing before they are used."""

import subprocess
import sys

import pytest

import photometry


@pytest.mark.parametrize("name", photometry.__all__)
def test_public_names_are_there(name):
    assert getattr(photometry, name) is not None


def test_the_task_manager_is_found_where_users_look():
    from photometry.taskmanager import TaskManager, build_constraints

    assert photometry.TaskManager is TaskManager is photometry.taskmanager.TaskManager
    assert photometry.build_constraints is build_constraints


def test_other_names_are_refused_as_python_does():
    with pytest.raises(AttributeError, match="module 'photometry' has no attribute 'fotometry'"):
        photometry.fotometry  # noqa: B018


def test_importing_the_package_loads_no_heavy_library():
    code = (
        "import photometry, sys; print({'numpy', 'astropy', 'scipy', 'pydantic', 'rich'} & "
        "set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "set()\n"
    )
