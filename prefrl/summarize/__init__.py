"""Summaries from preferences: the stages of Stiennon et al. 2020, each a function of a folder and its settings."""
