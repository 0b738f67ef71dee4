"""Exact nearest neighbors of every sample: the waist of the pipeline."""
