"""Tests that need a CUDA device are collected where there is one; all of this folder runs without ML-Agents."""

import torch

collect_ignore = [] if torch.cuda.is_available() else ["test_cuda.py"]
