"""Tools beside a run: galleries, generated ImageNet-C, imported predictions, a check of the installation."""
