"""What all tests run under."""

import pytest
import torch
from hypothesis import settings

from prefrl.store import Store
from tests.postgres import database as database
from tests.postgres import postgres as postgres
from tests.postgres import postgres_database as postgres_database
from tests.web_pages import ask, browsing, new_run

torch.set_num_threads(1)  # as in a run: for nets this small, threads only wait for each other

settings.register_profile("any machine", deadline=None)  # a slow machine is no bug
settings.load_profile("any machine")


# What the tests of the labelling page begin with, where they do not say otherwise.


@pytest.fixture
def run(tmp_path):
    return new_run(tmp_path / "run")


@pytest.fixture
def store(run):
    with Store(run) as store:
        ask(store, 3)
        yield store


@pytest.fixture
def page(run, store):
    with browsing(run, store) as page:
        yield page
