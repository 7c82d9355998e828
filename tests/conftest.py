"""What all tests run under."""

import torch
from hypothesis import settings

from tests.postgres import database as database
from tests.postgres import postgres as postgres
from tests.postgres import postgres_database as postgres_database

torch.set_num_threads(1)  # as in a run: for nets this small, threads only wait for each other

settings.register_profile("any machine", deadline=None)  # a slow machine is no bug
settings.load_profile("any machine")
