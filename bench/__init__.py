"""rtbench: robustness and transfer benchmarks for image classifiers. Python entry point: `bench.api`."""

__version__ = "0.1.0"
