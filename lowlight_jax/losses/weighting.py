"""Weighted sums of loss terms."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp

from lowlight_jax.types import PerImage, Scalar

Terms = dict[str, Scalar]


def weighted(
    terms: Mapping[str, Callable[[], PerImage]], weights: Mapping[str, float]
) -> tuple[Scalar, Terms]:
    """Evaluates the terms of non-zero weight; their weighted sum and their means."""
    means = {
        name: jnp.mean(term()) for name, term in terms.items() if weights[name] != 0
    }
    return sum(weights[name] * mean for name, mean in means.items()), means
