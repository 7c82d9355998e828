"""Reinforcement learning: the only place that imports Stable-Baselines3."""
