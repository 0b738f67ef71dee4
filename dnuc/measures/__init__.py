"""Measures of a layer from its neighbors alone: overlaps, intrinsic dimension, hubs, entropy."""
