"""Two checkpoints on the same images: differences, pairs, flips, lines, and the gate."""
