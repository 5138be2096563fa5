"""Training of small checkpoints: sharpness-aware minimisation, recipes as data, and the loop."""
