"""Packaging. The readme and the settings of all tools stand in pyproject.toml."""

from setuptools import find_packages, setup

VMAS = ["vmas>=1.5,<1.6"]

setup(
    name="mlagents_marl_plugin",
    version="0.1.0",
    description="Multi-agent trainers (MADDPG, MATD3, ...) for Unity ML-Agents in the stock mlagents-learn",
    license="Apache-2.0",
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.10",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["mlagents_marl_plugin", "mlagents_marl_plugin.*"]),
    package_data={"mlagents_marl_plugin": ["py.typed", "tools/*.html"]},
    # mlagents 1.1.0 itself asks for <= 3.10.12, although it runs on later patches; see README, "Install".
    python_requires=">=3.10.1,<3.11",
    install_requires=[
        "mlagents==1.1.0",
        "mlagents-envs==1.1.0",
        # From 2.9 on torch has another exporter by default, which the host's pinned onnx cannot serve.
        "torch>=2.1.1,<2.9",
        # The host imports pkg_resources.
        "setuptools<81",
        # Lives with the host's numpy < 1.24 and protobuf < 3.21.
        "onnxruntime>=1.16,<1.20",
        "attrs>=22.2",
        "numpy>=1.23.5,<1.24",
        "pillow>=10.1",
        "pyyaml>=6.0",
        "tensorboard>=2.14",
    ],
    extras_require={
        # The scenes of unity_builds/Vmas.
        "vmas": VMAS,
        "dev": [
            *VMAS,
            "pytest",
            "pytest-timeout",
            "hypothesis",
            "ruff",
            "mypy",
            "types-PyYAML",
            "types-setuptools",
        ],
    },
    entry_points={
        "mlagents.trainer_type": [
            "mlagents_marl_plugin = mlagents_marl_plugin.adapter.register:register",
        ],
        "mlagents.stats_writer": [
            "mlagents_marl_plugin = mlagents_marl_plugin.adapter.run_files:remember_options",
        ],
        "console_scripts": [
            "marl-player = mlagents_marl_plugin.player.cli:main",
            "marl-evaluate = mlagents_marl_plugin.tools.evaluate:main",
            "marl-watch = mlagents_marl_plugin.tools.watch:main",
            "marl-doctor = mlagents_marl_plugin.tools.doctor:main",
        ],
    },
)
