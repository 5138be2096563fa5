"""One file a suite. Copy the smallest, `digits.py`, to add one; nothing else is edited."""
