"""One file a suite. Copy the smallest, `digits.py`, to add one; nothing else is edited.

Installed, this folder is the package `rtbench_suites`: `suites` may be a folder of anybody's. Files import each other
relatively, which is right under both names.
"""
