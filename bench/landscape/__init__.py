"""The landscape of a loss around a module's weights: curvature, with the numbers that say how far to trust it.

Kernels: they see modules and tensors, never what is being measured.
"""
