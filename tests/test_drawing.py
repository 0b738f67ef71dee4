"""`dnuc.draw_tree` and `dnuc.draw_peak_map`: what is drawn of a landscape that is of no run."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure

import dnuc
from dnuc import drawing
from dnuc.errors import DnucError

CLOUDS = 4
NAMES = ["ant", "bee", "cat", "dog"]
LABELS = np.repeat(np.arange(CLOUDS), 150)


@pytest.fixture(scope="module")
def landscape():
    """Four clouds in a row, the last of them far away: it touches nobody."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal((place, 0), 0.3, (150, 2)) for place in (0, 1.2, 2.4, 30)])
    neighbors = dnuc.nearest_neighbors(x, k=20)
    found = dnuc.density_peaks(neighbors, dnuc.knn_density(neighbors, 2, k=20), z=1.0)
    assert found.n_peaks == CLOUDS
    return found


def leaves(figure):
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def legend(figure):
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


def discs(figure):
    return next(c for c in figure.axes[0].collections if isinstance(c, PatchCollection))


def written(figure):
    return {text.get_text() for text in figure.axes[0].texts}


def test_a_tree_names_the_class_its_share_and_the_samples_of_every_peak(landscape):
    figure = dnuc.draw_tree(landscape, LABELS, NAMES, title="clouds")
    expected = []
    for peak in range(CLOUDS):
        count = np.bincount(LABELS[landscape.labels == peak], minlength=CLOUDS)
        expected.append(f"{NAMES[count.argmax()]}  {count.max() / count.sum():.0%}  {count.sum()}")
    assert sorted(leaves(figure)) == sorted(expected)
    assert figure.axes[0].get_title(loc="left") == "clouds"
    assert legend(figure) == [*NAMES, "mixed branch", "peaks do not touch: height assumed"]


def test_leaves_and_joints_are_at_their_log_densities(landscape):
    figure, tree = dnuc.draw_tree(landscape), dnuc.peak_tree(landscape)
    lines = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    drawn = {float(x) for c in lines for path in c.get_segments() for x in path[:, 0]}
    assert set(np.round(tree.log_density, 6)) <= set(np.round(list(drawn), 6))
    assert not tree.assumed[0]
    assert tree.assumed[-1]  # whatever joins the last cloud
    dashed = next(c for c in lines if c.get_linestyle()[0][1] is not None)
    assert len(dashed.get_segments()) == 2 * tree.assumed.sum()


def test_without_labels_peaks_have_numbers(landscape):
    sizes = landscape.sizes
    tree, peak_map = dnuc.draw_tree(landscape), dnuc.draw_peak_map(landscape)
    assert sorted(leaves(tree)) == [f"peak {p}  {sizes[p]}" for p in range(CLOUDS)]
    assert legend(tree) == ["peaks do not touch: height assumed"]
    assert written(peak_map) == {f"peak {p}" for p in range(CLOUDS)}
    assert peak_map.axes[1].get_xlabel() == "log density of the peak"


def test_a_map_has_a_disc_a_peak_sliced_by_class(landscape):
    figure = dnuc.draw_peak_map(landscape, LABELS, NAMES, title="clouds")
    assert figure.axes[0].get_title() == "clouds: 4 peaks"
    slices = sum(len(np.unique(LABELS[landscape.labels == peak])) for peak in range(CLOUDS))
    assert len(discs(figure).get_paths()) == slices
    assert legend(figure) == NAMES
    assert written(figure) <= set(NAMES)


def test_many_classes_are_told_by_their_share(landscape):
    labels = np.arange(len(landscape.labels)) % 20
    figure = dnuc.draw_peak_map(landscape, labels)
    assert len(discs(figure).get_paths()) == CLOUDS
    assert figure.axes[1].get_xlabel() == "share of the most frequent class in the peak"


@pytest.mark.parametrize("method", ["single", "average", "complete", "weighted"])
def test_every_method_of_a_tree_is_drawn(landscape, method):
    figure, tree = dnuc.draw_tree(landscape, method=method), dnuc.peak_tree(landscape, method)
    dashed = next(c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    assert len(dashed.get_segments()) == 2 * tree.assumed.sum()


def test_labels_may_be_names_and_samples_may_have_none(landscape):
    named = dnuc.draw_tree(landscape, np.array(NAMES)[LABELS])
    assert leaves(named) == leaves(dnuc.draw_tree(landscape, LABELS, NAMES))
    some = np.where(np.arange(len(LABELS)) % 2, LABELS, -1)
    shares = [leaf.split("  ")[1] for leaf in leaves(dnuc.draw_tree(landscape, some, NAMES))]
    assert all(45 <= int(share.removesuffix("%")) <= 55 for share in shares)  # of all samples of the peak
    gaps = dnuc.draw_tree(landscape, np.where(LABELS == 3, 70, LABELS))
    assert {leaf.split("  ")[0] for leaf in leaves(gaps)} == {"0", "1", "2", "70"}


def test_figures_are_drawn_by_every_backend_and_leave_the_settings_alone(landscape, tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    for figure in (dnuc.draw_tree(landscape, LABELS, NAMES), dnuc.draw_peak_map(landscape, LABELS, NAMES)):
        assert isinstance(figure, Figure)
        for kind in ("png", "pdf", "svg"):
            figure.savefig(tmp_path / f"figure.{kind}")
    assert dict(mpl.rcParams) == before


def test_a_single_peak_is_a_map_but_no_tree():
    neighbors = dnuc.nearest_neighbors(np.random.default_rng(0).normal(size=(100, 2)), k=30)
    one = dnuc.density_peaks(neighbors, dnuc.knn_density(neighbors, 2, k=30), z=9)
    assert dnuc.draw_peak_map(one).axes[0].get_title() == "1 peak"
    with pytest.raises(DnucError, match=r"a single peak, so it has no tree: lower z or k in `density_peaks`"):
        dnuc.draw_tree(one)


def test_what_cannot_be_drawn_is_refused(landscape, monkeypatch):
    with pytest.raises(DnucError, match=r"labels have shape \(3,\); they must be \(600,\), one for each sample"):
        dnuc.draw_tree(landscape, [0, 1, 2])
    with pytest.raises(DnucError, match=r"labels are up to 3; with 2 names they must be integers below 2"):
        dnuc.draw_peak_map(landscape, LABELS, NAMES[:2])
    with pytest.raises(DnucError, match=r"labels are of type <U3; with 4 names they must be integers below 4"):
        dnuc.draw_peak_map(landscape, np.array(NAMES)[LABELS], NAMES)
    with pytest.raises(DnucError, match=r"method"):
        dnuc.draw_tree(landscape, method="ward")
    monkeypatch.setattr(drawing, "MOST", 3)
    with pytest.raises(DnucError, match=r"has 4 peaks, at most 3 can be drawn: raise z or k"):
        dnuc.draw_peak_map(landscape)
