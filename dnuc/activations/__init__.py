"""Networks, their layers, and the activations of every sample in them."""

from dnuc.activations.extract import check_finite, extract, to_storage
from dnuc.activations.layers import Layer, list_layers, select_layers
from dnuc.activations.models import Network, build_network
from dnuc.activations.preprocess import channel_statistics
from dnuc.activations.train import LabeledImages, accuracy, train
from dnuc.activations.weights import read_checkpoint

__all__ = [
    "LabeledImages",
    "Layer",
    "Network",
    "accuracy",
    "build_network",
    "channel_statistics",
    "check_finite",
    "extract",
    "list_layers",
    "read_checkpoint",
    "select_layers",
    "to_storage",
    "train",
]
