"""The learned reward: nets, their ensemble, the loss on comparisons, and how it is fitted."""
