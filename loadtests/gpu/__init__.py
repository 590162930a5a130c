"""`python -m loadtests gpu-check`: what encoders compute on a GPU, and how fast, in process and behind Triton."""
