"""Single rotations in NumPy, float64: quaternions (w, x, y, z) and matrices of column vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def matrix_of(quat: Doubles) -> Doubles:
    """The matrix [3, 3] of a quaternion [4] of any length but 0."""
    return matrix_of_unit(quat / np.linalg.norm(quat))


def matrix_of_unit(quat: Doubles) -> Doubles:
    """The matrix [3, 3] of a quaternion [4] of length 1."""
    w, x, y, z = quat
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_of(turn: Doubles) -> Doubles:
    """The unit quaternion [4] of a rotation [3, 3], its largest component positive."""
    trace = np.trace(turn)
    # The products of each component, times 4, with all of them: q q^T from R's entries. The row of
    # the largest has the fewest digits lost.
    squares = np.array([1 + trace, *(1 - trace + 2 * np.diag(turn))])
    largest = int(squares.argmax())
    products = np.diag(squares)
    (_, xy, xz), (yx, _, yz), (zx, zy, _) = turn
    for (i, j), value in {
        (0, 1): zy - yz, (0, 2): xz - zx, (0, 3): yx - xy,
        (1, 2): xy + yx, (1, 3): xz + zx, (2, 3): yz + zy,
    }.items():  # fmt: skip
        products[i, j] = products[j, i] = value
    quat: Doubles = products[largest] / np.linalg.norm(products[largest])
    return quat


def nearest_rotation(matrix: Doubles) -> Doubles:
    """The rotation next to a matrix [3, 3] whose determinant is positive, in least squares."""
    left, _, right = np.linalg.svd(matrix)
    nearest: Doubles = left @ right
    return nearest
