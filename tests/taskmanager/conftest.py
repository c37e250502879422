import contextlib

import pytest
from todo_helpers import make_rows

from photometry import TaskManager
from photometry.taskmanager import create_todo


@pytest.fixture
def todo_file(tmp_path):
    path = tmp_path / "todo.sqlite"
    create_todo(path, make_rows())
    return path


@pytest.fixture(params=[False, True], ids=["file", "memory"])
def in_memory(request):
    return request.param


@pytest.fixture
def open_todo(in_memory):
    """Opens TaskManagers in the mode of this test, and closes them at its end."""
    with contextlib.ExitStack() as stack:
        yield lambda path, **options: stack.enter_context(
            TaskManager(path, load_into_memory=in_memory, **options)
        )


@pytest.fixture
def tm(open_todo, todo_file):
    return open_todo(todo_file)
