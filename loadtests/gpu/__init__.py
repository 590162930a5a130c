"""`python -m loadtests gpu-check`: what Triton computes on a GPU, how fast, and what stands in front of it."""
