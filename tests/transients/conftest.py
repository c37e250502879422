import pytest

from photometry.transients import database as db


@pytest.fixture
def database(tmp_path):
    """A new database, the current one."""
    yield db.connect(tmp_path / "transients.sqlite")
    db.disconnect()
