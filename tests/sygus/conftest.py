import pytest

from sygus import Solver


@pytest.fixture(scope="session")
def solver():
    with Solver() as running:
        yield running
