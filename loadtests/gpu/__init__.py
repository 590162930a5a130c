"""`python -m loadtests gpu-check`: checks encoders on a GPU, their vectors and rates, in process and on Triton."""
