"""Boards: stored outcomes become scores, leaderboards and tables."""
