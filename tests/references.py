"""Slow, obvious twins of what mindvis computes: loops over pictures, pairs and draws."""

import numpy as np


def monte_carlo_n_way(scores, target, n_way, top_k, trials, rng):
    """Share of correct answers over random sets of distractors."""
    others = np.delete(np.arange(len(scores)), target)
    right = 0
    for _ in range(trials):
        drawn = rng.choice(others, n_way - 1, replace=False)
        right += int((scores[drawn] > scores[target]).sum() < top_k)
    return right / trials


def two_way_by_correlation(truths, predictions):
    """Mean share of truths that correlate less with a prediction than its own truth does."""
    count = len(truths)
    wins = 0
    for i in range(count):
        own = np.corrcoef(truths[i], predictions[i])[0, 1]
        for j in range(count):
            wins += j != i and np.corrcoef(truths[j], predictions[i])[0, 1] < own
    return wins / (count * (count - 1))


def drawn_retrieval(similarity, candidates, repeats, rng):
    """Share of queries whose own truth is the most similar of some that are drawn together."""
    right = []
    for _ in range(repeats):
        chosen = rng.choice(len(similarity), candidates, replace=False)
        block = similarity[np.ix_(chosen, chosen)]
        right.append(np.mean(block.argmax(1) == np.arange(candidates)))
    return np.mean(right)


def draws_within_and_between(similarity, i):
    """Mean similarity of different draws of stimulus i, and with other stimuli: (n, d, n, d)."""
    count, draws = similarity.shape[:2]
    within, between = [], []
    for a in range(draws):
        for b in range(draws):
            if a != b:
                within.append(similarity[i, a, i, b])
                between += [similarity[i, a, k, b] for k in range(count) if k != i]
    return np.mean(within), np.mean(between)


def frechet_distance(first, second):
    """Frechet distance of two Gaussians fitted to features (Heusel et al. 2017)."""
    from scipy.linalg import sqrtm

    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    means = [features.mean(0) for features in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1])
    gap = means[0] - means[1]
    return float(gap @ gap + np.trace(covariances[0] + covariances[1] - 2 * root.real))


def kernel_distance(first, second):
    """Unbiased squared maximum mean discrepancy of a cubic kernel (Binkowski et al. 2018)."""

    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    def inside(rows):
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return np.mean(pairs)

    across = np.mean([kernel(x, y) for x in first for y in second])
    return inside(first) + inside(second) - 2 * across
