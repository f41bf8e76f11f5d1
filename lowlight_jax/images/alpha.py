"""What transparency hides: colours that nobody sees, and that decide nothing."""

import numpy as np

_LEAST_VISIBLE = 0.02  # of full opacity; nobody sees the colour of what has less


def hidden_part(alpha: np.ndarray | None) -> np.ndarray | None:
    """`[h, w]`, True where nothing can be seen; None if something can everywhere.

    Args:
      alpha: `[h, w]` of an unsigned integer type, or None.
    """
    if alpha is None:
        return None
    hidden = alpha < _LEAST_VISIBLE * np.iinfo(alpha.dtype).max
    return hidden if hidden.any() else None


def is_opaque(alpha: np.ndarray | None) -> bool:
    """Whether an alpha, or none, hides nothing at all."""
    return alpha is None or bool((alpha == np.iinfo(alpha.dtype).max).all())


def nearest_visible(hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, `[h, w]` each, of the nearest pixel that is not hidden.

    Args:
      hidden: `[h, w]` bool, not all True.
    """
    import cv2  # heavy, and only for this

    _, nearest = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros(nearest.max() + 1, np.intp)
    places[nearest[~hidden]] = np.flatnonzero(~hidden)
    return np.unravel_index(places[nearest], hidden.shape)
