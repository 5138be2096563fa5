"""Training of small checkpoints: sharpness-aware and adversarial training, recipes as data, and the loop."""
