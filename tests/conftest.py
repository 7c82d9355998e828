"""One torch thread, as in a run: for nets this small, threads only wait for each other."""

import torch

torch.set_num_threads(1)
