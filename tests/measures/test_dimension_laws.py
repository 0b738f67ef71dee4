"""What any estimate of a dimension must do: find that of manifolds whose dimension is known, flat or curved."""

import numpy as np
import pytest

from dnuc.measures.classes import class_dimension
from dnuc.measures.decimation import decimation
from dnuc.measures.dimension import two_nn
from dnuc.measures.gride import gride
from dnuc.neighbors.search import nearest_neighbors
from tests import synthetic

N, EMBEDDING = 1500, 1000


def estimates(x):
    """TwoNN by both methods, and Gride at ranks 1, 2 and 4."""
    near = nearest_neighbors(x, 8)
    return np.array([two_nn(near).value, two_nn(near, method="mle").value, *(float(g) for g in gride(near))])


@pytest.mark.parametrize("manifold", [synthetic.manifold, synthetic.bent], ids=["flat", "bent"])
@pytest.mark.parametrize("dimension", [1, 2, 3, 5, 8, 12, 20])
def test_manifolds_in_a_thousand_dimensions(manifold, dimension):
    """Up to 8 within a tenth; beyond, few samples and their edge make every estimate too small, as is documented."""
    found = estimates(manifold(N, dimension, EMBEDDING))
    lowest = 0.9 if dimension <= 8 else 0.75
    assert (found > lowest * dimension).all(), found
    assert (found < 1.1 * dimension).all(), found


@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_a_curved_manifold_without_an_edge(dimension):
    found = estimates(synthetic.torus(N, dimension, EMBEDDING))
    assert found == pytest.approx(dimension, rel=0.1)


def test_the_embedding_does_not_matter():
    narrow, wide = (estimates(synthetic.manifold(500, 5, embedding, seed=3)) for embedding in (5, EMBEDDING))
    assert wide == pytest.approx(narrow, rel=1e-9)


@pytest.mark.parametrize("manifold", [synthetic.manifold, synthetic.bent], ids=["flat", "bent"])
def test_a_dimension_that_is_well_defined_does_not_depend_on_the_number_of_samples(manifold):
    profile = decimation(manifold(N, 3, EMBEDDING), (1, 2, 4, 8))
    assert [found.value for found in profile] == pytest.approx([3] * 4, rel=0.1)
    scales = [found.scale for found in profile]
    assert scales == sorted(scales)
    noisy = decimation(manifold(N, 1, EMBEDDING) + 1e-4 * synthetic.normal(N, EMBEDDING), (1, 16))
    assert noisy[0].value > 1.5 * noisy[1].value  # close samples differ by noise, distant ones along the line


def test_classes_of_different_dimension():
    x = np.concatenate([synthetic.manifold(500, d, EMBEDDING, seed=d) for d in (1, 3, 5)])
    found = class_dimension(x, np.repeat([0, 1, 2], 500))
    assert found.values == pytest.approx([1, 3, 5], rel=0.15)
    assert found.value == pytest.approx(3, rel=0.1)
