"""Fixtures of the tests of the scheduler."""

import pytest
from list_source import ListSource, make_tasks


@pytest.fixture
def list_source():
    """``list_source(n)``: a source of n tasks; ``list_source(tasks=[...])``: of these."""

    def make(n=0, tasks=None, **kwargs):
        return ListSource(make_tasks(n) if tasks is None else tasks, **kwargs)

    return make
