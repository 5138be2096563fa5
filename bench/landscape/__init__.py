"""The landscape of a loss around a module's weights: curvature, with the numbers that say how far to trust it.

Kernels: they see modules and tensors, never what is being measured.
"""

from bench.landscape.blocks import Block, blocks_of
from bench.landscape.curvature import Curvature, carried_by
from bench.landscape.objective import Objective

__all__ = ["Block", "Curvature", "Objective", "blocks_of", "carried_by"]
