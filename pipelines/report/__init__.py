"""One HTML page about a dataset or a training run, which opens anywhere without a network."""
