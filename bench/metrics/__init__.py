"""Metrics: pure functions from stored outcomes to estimates, and the statistics behind them."""
