"""What pyproject.toml cannot say: folders that are installed under names that are ours alone.

`suites/` is `rtbench_suites`. Of `docs/` the protocols go along, as `rtbench_docs`: `bench explain` quotes them.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["bench", "bench.*"]), "rtbench_suites", "rtbench_docs"],
    package_dir={"rtbench_suites": "suites", "rtbench_docs": "docs"},
    package_data={"rtbench_docs": ["protocols.md"]},
)
