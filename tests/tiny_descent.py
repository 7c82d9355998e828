"""What tests of training look at."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def batch_gradient(method, chunks, model, *data):
    """Of one batch that is all the data, before it is clipped."""
    caught = []
    with patch.object(type(method), "descend", lambda self, model, work, *_: caught.append(work) or np.ones(1)):
        replace(method, chunks=chunks)(model, *data)
    model.zero_grad()
    for part in caught[0].parts(np.arange(caught[0].rows)):
        part.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def stopped(method, after, model, data, folder):
    """Runs a training until so many updates are made, as if it was killed then."""
    left, update = iter(range(after)), type(method)._update

    def stopping(self, *args):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return update(self, *args)

    with patch.object(type(method), "_update", stopping):
        try:
            method(model, data, folder=folder)
        except KeyboardInterrupt:
            return
    raise AssertionError("it came to its end")
