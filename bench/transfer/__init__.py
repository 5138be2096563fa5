"""What a checkpoint's features are good for on other classes: features, k-NN, linear probe, few-shot, fine-tuning.

Kernels: they see tensors and arrays, never what is being measured. What is learnt comes from training features and
labels alone; a test split's labels reach nothing in here.
"""

FEATURES_VERSION = 1
"""Part of the name of every file of kept features: bumped whenever what is extracted changes."""
