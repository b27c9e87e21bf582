"""The factor of sparse systems against a dense solver."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from spinmeround.numerics import factorised


def test_a_screened_laplacian_is_solved_for_several_right_hand_sides():
    side, rng = 12, np.random.default_rng(0)
    path = sp.diags([np.full(side - 1, -1.0), np.r_[1, np.full(side - 2, 2.0), 1], np.full(side - 1, -1.0)], [-1, 0, 1])
    laplacian = sp.kron(path, sp.identity(side)) + sp.kron(sp.identity(side), path)
    system = laplacian + sp.diags(rng.uniform(0.01, 1, side**2))
    right = rng.standard_normal((side**2, 3))
    np.testing.assert_allclose(factorised(system).solve(right), np.linalg.solve(system.toarray(), right), atol=1e-10)
