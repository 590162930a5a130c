"""Encoders on a GPU, in process: each line proved by one command, without Triton, Docker or network.

It imports the service, unlike the other load tests: what it measures is the service's own way to use CUDA.
"""
