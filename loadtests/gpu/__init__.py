"""`python -m loadtests gpu-check`: checks encoders on a GPU, their vectors, in process and on Triton."""
