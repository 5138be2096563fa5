"""From stored bytes to crops: decoding, crop recipes, the cache of crops."""

VERSION = 1
"""Part of every cell's key and of the cache's folders: bumped whenever a crop changes by a pixel."""
