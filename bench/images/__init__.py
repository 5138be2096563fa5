"""From stored bytes to crops: decoding, crop recipes, the cache of crops."""
