"""Plain loops for every algorithm: slow, obvious, and the judge of everything else in dnuc."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np


def nearest_neighbors(x, k):
    """O(N^2 D) brute force in float64 under the total order (distance, index), the sample excluded by index."""
    x = np.asarray(x, dtype=np.float64)
    n = len(x)
    index = np.empty((n, k), dtype=np.int64)
    distance = np.empty((n, k))
    for i in range(n):
        d = [(math.sqrt(float(np.sum((x[i] - x[j]) ** 2))), j) for j in range(n) if j != i]
        d.sort()
        for rank in range(k):
            distance[i, rank], index[i, rank] = d[rank]
    return index, distance


def distances_in_extended_precision(x):
    """(N, N) longdouble: the distances of all pairs of rows, whatever lies between 1e-4000 and 1e4000."""
    wide = np.asarray(x).astype(np.longdouble)
    return np.array([np.sqrt(((wide - row) ** 2).sum(axis=1)) for row in wide])


def spread(rows, signs, group):
    """The rotation of the 8-bit filter in extended precision: signs, then an orthogonal Hadamard matrix.

    It mixes features whose numbers differ by multiples of `group`. If their number W / group is no power of two, the
    largest power of two that fits is mixed from the start, then as many up to the end.
    """

    def hadamard(y):  # (rows, 2^m, group)
        if y.shape[1] == 1:
            return y
        first, second = np.split(y, 2, axis=1)
        return np.concatenate([hadamard(first + second), hadamard(first - second)], axis=1) / np.sqrt(np.longdouble(2))

    y = (np.asarray(rows).astype(np.longdouble) * signs).reshape(len(rows), -1, group)
    groups = y.shape[1]
    size = 2 ** int(math.log2(groups))
    for first in {0, groups - size}:
        y[:, first : first + size] = hadamard(y[:, first : first + size])
    return y.reshape(len(rows), -1)


def sum_of_squared_differences(x, y, strip, lanes):
    """Of two vectors, one addition after the other in the order that dnuc promises."""

    def in_lanes(x, y):
        sums = [0.0] * lanes
        for f, (a, b) in enumerate(zip(x, y, strict=True)):
            sums[f % lanes] += (a - b) * (a - b)
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [sums[lane] + sums[lane + half] for lane in range(half)]
        return sums[0]

    x, y = [float(a) for a in x], [float(b) for b in y]
    total = 0.0
    for first in range(0, len(x), strip):
        a, b = x[first : first + strip], y[first : first + strip]
        whole = len(a) // lanes * lanes
        part = in_lanes(a[:whole], b[:whole])
        if whole < len(a):  # what is left over is summed in lanes of its own
            part += in_lanes(a[whole:], b[whole:])
        total += part
    return total


def label_overlap(index, labels):
    """chi^{l,gt}: for each sample, the share of its neighbors with its label (Doimo et al. 2020, Sec. 2.1)."""
    return np.array([sum(labels[j] == labels[i] for j in row) / len(row) for i, row in enumerate(index)])


def mean_of_class_means(values, labels):
    """Every class counts the same, whatever its size; samples with a negative label have none."""
    classes = sorted({c for c in labels if c >= 0})
    means = [np.mean([v for v, label in zip(values, labels, strict=True) if label == c]) for c in classes]
    return sum(means) / len(means)


def label_overlap_of_fraction(index, labels, fraction):
    """Of each sample as many neighbors as are this fraction of its class, but at least one."""
    share = []
    for i, row in enumerate(index):
        k = max(1, int(fraction * sum(label == labels[i] for label in labels)))
        share.append(sum(labels[j] == labels[i] for j in row[:k]) / k)
    return np.array(share)


def data_overlap(a, b):
    """chi^{l,m}: for each sample, the share of common neighbors (Doimo et al. 2020, Eq. 1)."""
    return np.array([len(set(p) & set(q)) / len(p) for p, q in zip(a.tolist(), b.tolist(), strict=True)])


def information_imbalance(x, y, k):
    """Delta(x -> y): 2/N times the mean rank in y of the k nearest neighbors in x (Glielmo et al. 2022)."""
    n = len(x)
    near, _ = nearest_neighbors(x, k)
    order, _ = nearest_neighbors(y, n - 1)
    ranks = [list(order[i]).index(j) + 1 for i in range(n) for j in near[i]]
    return 2 / n * sum(ranks) / len(ranks)


def kernel_matrix(x, kernel, width):
    """(N, N): inner products, or exp(-d^2 / (2 sigma^2)) with sigma = width times the median distance of all pairs.

    In extended precision, for what is left of a kernel when it is centered may be small.
    """
    x = np.asarray(x).astype(np.longdouble)
    if kernel == "linear":
        return x @ x.T
    d = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))
    sigma = width * np.median(d[np.triu_indices(len(x), 1)])
    return np.exp(-(d**2) / (2 * sigma**2))


def hsic(k, m, debiased=False):
    """tr(K H M H) / (N - 1)^2 (Kornblith et al. 2019, Eq. 3); or without bias (Szekely and Rizzo 2014, Eq. 2.4)."""
    n = len(k)
    if not debiased:
        h = np.eye(n, dtype=np.longdouble) - np.longdouble(1) / n
        return np.trace((h @ k @ h) @ (h @ m @ h)) / (n - 1) ** 2

    def centered(a):
        a = a * (1 - np.eye(n))
        rows = a.sum(axis=1) / (n - 2)
        return (a - rows[:, None] - rows + a.sum() / ((n - 1) * (n - 2))) * (1 - np.eye(n))

    return (centered(k) * centered(m)).sum() / (n * (n - 3))


def cka(x, y, kernel="linear", width=0.4, debiased=False):
    """Centered kernel alignment with full matrices (Kornblith et al. 2019, Eq. 4)."""
    k, m = kernel_matrix(x, kernel, width), kernel_matrix(y, kernel, width)
    return float(hsic(k, m, debiased) / np.sqrt(hsic(k, k, debiased) * hsic(m, m, debiased)))


def canonical_correlations(x, y, variance):
    """Correlations, and the canonical variates of x (N, m), of the principal directions with so much of the variance.

    By singular value decompositions of the whole matrices (Raghu et al. 2017, Sec. 2).
    """

    def scores(a):
        a = np.asarray(a, dtype=np.float64)
        u, s, _ = np.linalg.svd(a - a.mean(axis=0), full_matrices=False)
        s[s < 1e-9 * s[0]] = 0
        count = next(p for p in range(1, len(s) + 1) if (s[:p] ** 2).sum() >= variance * (s**2).sum() * (1 - 1e-12))
        return u[:, :count]

    u, v = scores(x), scores(y)
    p, rho, _ = np.linalg.svd(u.T @ v, full_matrices=False)
    return rho, u @ p


def pwcca(x, y, variance):
    """Correlations weighted by the inner products of the variates with the features of x (Morcos et al. 2018)."""
    rho, variates = canonical_correlations(x, y, variance)
    centered = x - np.asarray(x, dtype=np.float64).mean(axis=0)
    alpha = [sum(abs(h @ feature) for feature in centered.T) for h in variates.T]
    return sum(a * r for a, r in zip(alpha, rho, strict=True)) / sum(alpha)


def two_nn(r1, r2, fraction):
    """TwoNN by linear fit through the origin (Facco et al. 2017; Ansuini et al. 2019, Sec. 2)."""
    mu = sorted(b / a for a, b in zip(r1, r2, strict=True) if a > 0)
    n = len(mu)
    keep = int(fraction * n)
    x = [math.log(m) for m in mu[:keep]]
    y = [-math.log(1 - i / n) for i in range(1, keep + 1)]
    return sum(p * q for p, q in zip(x, y, strict=True)) / sum(p * p for p in x)


def two_nn_mle(r1, r2):
    """TwoNN by maximum likelihood, with the factor that removes its bias (Facco et al. 2017)."""
    log_mu = [math.log(b / a) for a, b in zip(r1, r2, strict=True) if a > 0]
    return (len(log_mu) - 1) / sum(log_mu)


def knn_log_density(r, dimension, k, n):
    """k of n samples in a ball of radius r; the volume of the unit ball is pi^(d/2) / Gamma(d/2 + 1)."""
    log_unit_ball = 0.5 * dimension * math.log(math.pi) - math.lgamma(0.5 * dimension + 1)
    return math.log(k) - log_unit_ball - dimension * math.log(r) - math.log(n)


def kstar(index, distance, d, threshold):
    """k* of each sample: the last rank before the likelihood-ratio test rejects (Rodriguez et al. 2018).

    For samples with fewer than 3 duplicates.
    """
    found = []
    for i in range(len(index)):
        k = 3
        while k < len(index[i]) - 1:
            mine, theirs = distance[i][k - 1], distance[index[i][k]][k - 1]
            t = d * -abs(math.log(mine) - math.log(theirs))  # of the volumes of both balls; the test is symmetric
            lost = -2 * k * (t - 2 * math.log1p(math.exp(t)) + math.log(4))
            if lost > threshold:
                break
            k += 1
        found.append(k)
    return np.array(found)


def pak(radius, d):
    """(b, a) at the maximum of the PAk likelihood over the shells of one sample, volumes in units of the last ball.

    By halving the interval of a in which the slope of the likelihood changes its sign; NaN if it does not.
    """
    k = len(radius)
    log_shell = []
    for inner, outer in pairwise([0.0, *radius]):
        hollow = (inner / outer) ** d if outer > 0 else 1.0
        log_shell.append(d * math.log(outer / radius[-1]) + math.log(1 - hollow) if hollow < 1 else -math.inf)

    def weights(a):
        """Shells times exp(a j), divided by the exponential of what comes second."""
        exponent = [v + a * j for j, v in enumerate(log_shell, 1)]
        top = max(exponent)
        return [math.exp(e - top) for e in exponent], top

    def mean_rank(a):
        weight, _ = weights(a)
        return math.fsum(j * w for j, w in enumerate(weight, 1)) / math.fsum(weight)

    low, high = -1e3, 1e3
    if not mean_rank(low) < (k + 1) / 2 < mean_rank(high):
        return math.nan, math.nan
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_rank(middle) < (k + 1) / 2 else (low, middle)
    weight, scale = weights(low)
    return math.log(k) - math.log(math.fsum(weight)) - scale, low


def basins(index, log_density, error, k):
    """Order from dense to sparse, the centers in it, and the center that each sample belongs to before any merging."""
    n = len(index)
    order = sorted(range(n), key=lambda i: (log_density[i] - error[i]) * -1)  # sorted() keeps ties by sample number
    rank = {sample: place for place, sample in enumerate(order)}
    near = [list(index[i][: k[i]]) for i in range(n)]

    def is_center(i):
        return all(rank[i] < rank[j] for j in near[i]) and all(rank[i] < rank[j] for j in range(n) if i in near[j])

    centers = [i for i in order if is_center(i)]
    peak = {c: c for c in centers}  # every peak is named by its center
    for i in order:
        if i not in peak:
            labeled = [j for j in index[i] if j in peak]
            hosts = [j for j in order if i in near[j]]
            peak[i] = peak[labeled[0]] if labeled else peak[hosts[0]]
    return order, centers, peak


def border_points(index, k, peak, candidates):
    """{p: the peak that it faces} of the candidates that are border points of their peaks, in their order."""
    faced = {}
    for p in candidates:
        others = [q for q in index[p][: k[p]] if peak[q] != peak[p]]
        if others and next((i for i in index[others[0]] if peak[i] == peak[p]), p) == p:
            faced[p] = peak[others[0]]
    return faced


def density_peaks(index, log_density, error, k, z, convention):
    """Advanced density peaks on tiny data, by going through everything again at every step (d'Errico et al. 2021).

    Returns labels, centers, core, and {(peak, peak): saddle sample}; peaks densest first.
    """
    n = len(index)
    order, centers, peak = basins(index, log_density, error, k)
    rank = {sample: place for place, sample in enumerate(order)}
    saddles = {}
    for p, faced in border_points(
        index, k, peak, [i for i in order if convention == "paper" or i not in centers]
    ).items():
        saddles.setdefault(frozenset([peak[p], faced]), p)

    def margin(c, saddle):
        return (log_density[c] - log_density[saddle]) / (error[c] + error[saddle])

    def fails(c, saddle):
        return log_density[c] - log_density[saddle] < z * (error[c] + error[saddle])

    while True:
        height = {pair: (log_density[s], -rank[s]) for pair, s in saddles.items()}
        failing = [pair for pair, s in saddles.items() if any(fails(c, s) for c in pair)]
        if not failing:
            break
        worst = max(failing, key=height.get)
        saddle = saddles[worst]
        strength = margin if convention == "dadapy" else (lambda c, s: log_density[c])
        gone, kept = sorted(worst, key=lambda c: (strength(c, saddle), -rank[c]))
        peak = {i: kept if c == gone else c for i, c in peak.items()}
        merged = {}
        for pair in sorted(saddles, key=height.get, reverse=True):
            pair_now = frozenset(kept if c == gone else c for c in pair)
            if len(pair_now) == 2:
                merged.setdefault(pair_now, saddles[pair])
        saddles = merged

    centers = [c for c in order if peak[c] == c]
    number = {c: position for position, c in enumerate(centers)}
    labels = [number[peak[i]] for i in range(n)]
    core = [all(log_density[i] >= log_density[s] for pair, s in saddles.items() if peak[i] in pair) for i in range(n)]
    return labels, centers, core, {tuple(sorted(number[c] for c in pair)): s for pair, s in saddles.items()}


def linkage(distance, method):
    """[(members of one branch, of the other, height)] of the merges, from the (P, P) distances of all pairs.

    Of two branches the distance is the smallest ("single"), largest ("complete") or mean ("average") distance across;
    or, of a branch made of two, the mean of their distances, whatever their sizes ("weighted": WPGMA).
    """
    between = {
        frozenset([frozenset([a]), frozenset([b])]): distance[a][b] for a in range(len(distance)) for b in range(a)
    }
    combine = {
        "single": lambda x, y, d, e: min(d, e),
        "complete": lambda x, y, d, e: max(d, e),
        "average": lambda x, y, d, e: (len(x) * d + len(y) * e) / (len(x) + len(y)),
        "weighted": lambda x, y, d, e: (d + e) / 2,
    }[method]
    merges = []
    while between:
        closest = min(between, key=between.get)
        x, y = closest
        merges.append((x, y, between.pop(closest)))
        for z in {z for pair in between for z in pair} - {x, y}:
            d, e = between.pop(frozenset([x, z])), between.pop(frozenset([y, z]))
            between[frozenset([x | y, z])] = combine(x, y, d, e)
    return merges


def hubness(index):
    """In how many neighborhoods each sample lies."""
    return [sum(i in row for row in index.tolist()) for i in range(len(index))]


def neighborhood_entropy(index, entropy):
    """S_i^l: the entropy of the images around each sample (Doimo et al. 2020, Fig. 3)."""
    return np.array([sum(entropy[j] for j in row) / len(row) for row in index])


def gride_log_likelihood(mu, n1, n2, d):
    """log prod d (mu^d - 1)^(n2-n1-1) / (mu^((n2-1)d+1) B(n2-n1, n1)), as published (Denti et al. 2022, Eq. 3)."""
    log_beta = math.lgamma(n2 - n1) + math.lgamma(n1) - math.lgamma(n2)
    return math.fsum(
        math.log(d) + (n2 - n1 - 1) * math.log(m**d - 1) - ((n2 - 1) * d + 1) * math.log(m) - log_beta for m in mu
    )


def gride(mu, n1, n2):
    """The d at which the derivative of that likelihood is 0, by bisection."""
    logs = [math.log(m) for m in mu]
    low, high = 1e-6, 1e6
    for _ in range(200):
        d = math.sqrt(low * high)
        slope = math.fsum(
            1 / d - (n2 - 1) * t + ((n2 - n1 - 1) * t / -math.expm1(-d * t) if n2 > n1 + 1 else 0.0) for t in logs
        )
        low, high = (d, high) if slope > 0 else (low, d)
    return low


def gride_error(mu, n1, n2, d):
    """1 / sqrt(N times the observed Fisher information): from the second derivative of that likelihood."""
    terms = [math.log(m) ** 2 * m**-d / (1 - m**-d) ** 2 if n2 > n1 + 1 else 0.0 for m in mu]
    return 1 / math.sqrt(len(mu) / d**2 + (n2 - n1 - 1) * math.fsum(terms))


def variance_spectrum(x, standardize):
    """Shares of the variance along the principal components, from the singular values of the whole matrix."""
    z = x - x.mean(axis=0)
    if standardize:
        z = z / z.std(axis=0)
    variance = np.linalg.svd(z, compute_uv=False) ** 2
    return variance / variance.sum()


def taxonomy_path(parent_of, node):
    """From the root down to a node of a tree."""
    path = [node]
    while path[-1] in parent_of:
        path.append(parent_of[path[-1]])
    return path[::-1]


def taxonomy_distance(parent_of, a, b, measure):
    """Between two nodes of a tree, by the lowest node that lies above both."""
    path_a, path_b = taxonomy_path(parent_of, a), taxonomy_path(parent_of, b)
    common = sum(x == y for x, y in zip(path_a, path_b, strict=False))
    if measure == "path":
        return (len(path_a) - common) + (len(path_b) - common)
    return 1 - 2 * common / (len(path_a) + len(path_b))


def taxonomy_level(parent_of, classes, depth):
    """Which node each class is under at a depth; a class that is less deep is its own."""
    paths = [taxonomy_path(parent_of, node) for node in classes]
    return [path[min(depth, len(path) - 1)] for path in paths]


def expected_n_log_n(a, b, total):
    """Of the samples that a part of size a and a group of size b have in common, if dealt at random: exact shares."""
    ways = [math.comb(b, n) * math.comb(total - b, a - n) for n in range(min(a, b) + 1)]
    return math.fsum(w / math.comb(total, a) * n * math.log(max(n, 1)) for n, w in enumerate(ways))


def purity(labels, classes):
    """Share of samples in the most frequent class of their part."""
    labels, classes = list(labels), list(classes)
    most = 0
    for part in set(labels):
        inside = [c for label, c in zip(labels, classes, strict=True) if label == part]
        most += max(inside.count(c) for c in set(inside))
    return most / len(labels)


def cophenetic(linkage):
    """Height at which each pair of leaves meets."""
    n = len(linkage) + 1
    height = np.zeros((n, n))
    members = {leaf: [leaf] for leaf in range(n)}
    for step, (a, b, h, _) in enumerate(linkage):
        for i in members[int(a)]:
            for j in members[int(b)]:
                height[i, j] = height[j, i] = h
        members[n + step] = members[int(a)] + members[int(b)]
    return height


def spearman(x, y):
    """Rank correlation over the pairs of two matrices of distances, equal distances sharing their mean rank."""

    def ranks(values):
        return [sum(v < w for v in values) + (sum(v == w for v in values) - 1) / 2 for w in values]

    pairs = [(i, j) for i in range(len(x)) for j in range(i)]
    a, b = ranks([x[i][j] for i, j in pairs]), ranks([y[i][j] for i, j in pairs])
    mean = (len(pairs) - 1) / 2
    top = sum((p - mean) * (q - mean) for p, q in zip(a, b, strict=True))
    return top / math.sqrt(sum((p - mean) ** 2 for p in a) * sum((q - mean) ** 2 for q in b))
