"""What makes files of this repository: the demo model, the pins of the catalog, the graph that tries CUDA."""
