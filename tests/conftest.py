"""What all tests run under."""

import torch
from hypothesis import settings

torch.set_num_threads(1)  # as in a run: for nets this small, threads only wait for each other

settings.register_profile("any machine", deadline=None)  # a slow machine is no bug
settings.load_profile("any machine")
