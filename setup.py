"""What pyproject.toml cannot say: the folder `suites/` is installed as `rtbench_suites`, a name that is ours alone."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["bench", "bench.*"]), "rtbench_suites"],
    package_dir={"rtbench_suites": "suites"},
)
