"""The jobs that run over hosts: small, and with enough tiles to cut a cable between two of them."""

from dnuc.job import parse_job
from tests.conftest import arrays_job, write_arrays


def fashion_job(base):
    """200 real images of clothes in a small residual network: 4 blocks, 3 layers of 10 tiles."""
    model = {"name": "residual", "architecture": "residual", "weights": "random", "options": {"width": 4}}
    content = {
        "name": "fashion",
        "data": {"source": "fashion_mnist", "images_per_class": 20},
        "model": [model | {"layers": ["input", "stage2.0", "output"]}],
        "activations": {"block": 50, "batch_size": 25},
        "neighbors": {"k": 10, "block": 50},
    }
    return parse_job(content, base)


def neighbors_job(base):
    """A user's own arrays, 640 samples in three layers: 10 blocks, 55 tiles a layer."""
    write_arrays(base, n=640, widths=(48, 32, 16))
    return arrays_job(base, name="own-arrays", activations={"block": 64}, neighbors={"k": 10, "block": 64})
