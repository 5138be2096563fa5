"""The arrays of the digits track, and the script that made them."""
