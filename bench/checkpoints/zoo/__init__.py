"""Small checkpoints shipped with the package: architectures, weights (safetensors), training logs (CSV)."""
