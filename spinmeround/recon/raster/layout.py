"""Layout of the arrays that the projection and the blending kernels share: names for their columns and offsets.

``means2d``, float64, one row a splat. float32 would swap near splats and shift those far from the corner of a large
picture::

    column    0     1     2         3         4         5
              x px  y px  depth     root xx   root xy   root yy
    used by   both kinds            surfels alone: their root needs float64

``records``, float32, one row of ``RECORD_SIZE`` values a splat, which is a cache line::

    column    0        1        2        3             4         5 6    7       8 9 10   11 12 13   14     15
              root xx  root xy  root yy  log2 opacity  radius y  tilt   unused  colour   normal     depth  unused
    used by   Gaussians alone            both kinds              surfels        both kinds

``pair_grads``, float32, one row of ``RECORD_SIZE`` values a (tile, splat) pair: the gradient of the loss to what the
pair has of the splat. L is the loss, a the logarithm of the splat's alpha at a pixel, sums are over the tile's pixels::

    column     0      1          2          3          4          5          6        7        8 9 10   11 12 13   14
    Gaussians  dL/da  dL/da s    dL/da t    dL/da s s  dL/da s t  dL/da t t  unused   unused   colour   normal     depth
    surfels    dL/da  mean x px  mean y px  dL/ds s    dL/ds t    dL/dt t    dL/dc s  dL/dc t  colour   normal     depth

(s, t) are whitened pixel coordinates, see ``tiles``, in which even a needle is round; c is the perspective of
``surfel_blending``.

The *scratch* of a tile holds planes of ``TILE`` by ``TILE`` float32. It lies pixel row by pixel row, so that all planes
of one row are neighbours in the first level cache, and each plane of a row is one vector of ``TILE`` lanes::

    pixel row 0: [ plane 0 x16 | plane 1 x16 | plane 2 x16 | ... ]
    pixel row 1: [ plane 0 x16 | plane 1 x16 | ...

    plane, forward    0              1 2 3   4 5 6   7      8            9
    Gaussians         transmittance  colour  normal  depth  median pair
    surfels           transmittance  colour  normal  depth  depth^2      median pair

    plane, backward   0              1       2 3 4      5 6 7      8         9         10
    Gaussians         transmittance  behind  dL/colour  dL/normal  dL/depth  dL/alpha
    surfels           transmittance  behind  dL/colour  dL/normal  dL/alpha  dL/depth  dL/depth^2

Offsets of planes below are in values, so the pixel at ``lane`` of a row's plane is ``scratch[row + offset + lane]``.
``behind`` is explained in ``tiles``.
"""

from __future__ import annotations

TILE = 16
"""Width and height of a tile, pixels."""
RECORD_SIZE = 16
"""Columns of ``records`` and of ``pair_grads``."""

# What the kernels get of a camera beside its pose: focal lengths and principal point, pixels.
FX, FY, CX, CY = 0, 1, 2, 3

# Columns of a splat's range of tiles, [x0, x1) x [y0, y1).
TILES_X0, TILES_X1, TILES_Y0, TILES_Y1 = 0, 1, 2, 3

# Columns of means2d.
MEAN2D_X, MEAN2D_Y, MEAN2D_DEPTH = 0, 1, 2
MEAN2D_ROOT_XX, MEAN2D_ROOT_XY, MEAN2D_ROOT_YY = 3, 4, 5
GAUSSIAN_MEAN2D_SIZE, SURFEL_MEAN2D_SIZE = 3, 6

# Columns of records. Colour and normal have three.
RECORD_ROOT_XX, RECORD_ROOT_XY, RECORD_ROOT_YY = 0, 1, 2
RECORD_LOG2_OPACITY, RECORD_RADIUS_Y = 3, 4
RECORD_TILT_X, RECORD_TILT_Y = 5, 6
RECORD_RGB, RECORD_NORMAL, RECORD_DEPTH = 8, 11, 14

# Columns of pair_grads that both kinds have. Colour and normal have three.
PAIR_LOG_ALPHA = 0
PAIR_RGB, PAIR_NORMAL, PAIR_DEPTH = 8, 11, 14

# Columns of pair_grads of 3D Gaussians: first and second moments of dL/d(log alpha) in whitened coordinates.
MOMENT_S, MOMENT_T = 1, 2
MOMENT_SS, MOMENT_ST, MOMENT_TT = 3, 4, 5

# Columns of pair_grads of surfels.
PAIR_MEAN_X, PAIR_MEAN_Y = 1, 2
PAIR_SS, PAIR_ST, PAIR_TT = 3, 4, 5
PAIR_CS, PAIR_CT = 6, 7

# Planes of the scratch, forward: what is blended.
ACC_TRANSMITTANCE = 0
ACC_R, ACC_G, ACC_B = 1 * TILE, 2 * TILE, 3 * TILE
ACC_NX, ACC_NY, ACC_NZ = 4 * TILE, 5 * TILE, 6 * TILE
ACC_DEPTH = 7 * TILE
GAUSSIAN_ACC_MEDIAN = 8 * TILE
GAUSSIAN_FORWARD_PLANES = 9
SURFEL_ACC_DEPTH2 = 8 * TILE
SURFEL_ACC_MEDIAN = 9 * TILE
SURFEL_FORWARD_PLANES = 10

# Planes of the scratch, backward: state of the recursion and the gradients of what was blended.
BWD_TRANSMITTANCE = 0
BWD_BEHIND = 1 * TILE
BWD_R, BWD_G, BWD_B = 2 * TILE, 3 * TILE, 4 * TILE
BWD_NX, BWD_NY, BWD_NZ = 5 * TILE, 6 * TILE, 7 * TILE
GAUSSIAN_BWD_DEPTH, GAUSSIAN_BWD_ALPHA = 8 * TILE, 9 * TILE
GAUSSIAN_BACKWARD_PLANES = 10
SURFEL_BWD_ALPHA, SURFEL_BWD_DEPTH, SURFEL_BWD_DEPTH2 = 8 * TILE, 9 * TILE, 10 * TILE
SURFEL_BACKWARD_PLANES = 11
