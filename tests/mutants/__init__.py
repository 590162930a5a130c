"""Mutation testing: which small faults in the code does `make test` not notice?"""
