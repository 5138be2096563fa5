"""Runs: what is to be measured, in which order, and how it is carried out and stored."""
