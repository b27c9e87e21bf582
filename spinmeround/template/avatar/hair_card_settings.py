"""Numbers of hair cards, one frozen dataclass for each step.

Lengths are in head units (1 unit is 0.41 m).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CardBudget:
    """Triangles of a level of detail.

    Attributes:
        faces: of cards and cap together.
        cap_fraction: of them that the cap has at most.
        columns: vertices across a card: 2 for a flat one, 3 for one that is arched.
    """

    faces: int
    cap_fraction: float
    columns: int


@dataclass(frozen=True)
class ClusterSettings:
    """Which strands one card stands for.

    Attributes:
        places: fractions of a strand's length at which strands are compared.
        rounds: of Lloyd's algorithm.
        max_depth: below the hair's surface, beyond which the cap hides a strand all along; such strands are left out.
        min_strands: mean number of strands in a card.
        max_distance: from the mean of a cluster, at any place, from which on a strand is left out (20 mm).
        least_strands: of a card.
        typical_sections: cross-sections of a card by which the first number of cards is chosen.
        tried_every: of the first cards one in so many stands for all: they only tell how many sections are needed.
    """

    places: tuple[float, ...] = (0.0, 0.35, 0.7, 1.0)
    rounds: int = 5
    max_depth: float = 0.013
    min_strands: int = 14
    max_distance: float = 0.05
    least_strands: int = 3
    typical_sections: int = 5
    tried_every: int = 4


@dataclass(frozen=True)
class CardSettings:
    """The form of cards.

    Attributes:
        samples: places along a card at which its form is measured.
        smoothing: standard deviation of the smoothing along a card's middle (8 mm), over which curls are no bends.
        end_quantile: of strands that end within the card, at either end; max_extension: bound on what that adds to the
            mean strand (12 mm).
        bins: along a card in which the spread of its strands is measured.
        edge_quantile: of strands on the one side of a card that lie within it.
        margin: added to half the width (1 mm); min_half_width, max_half_width: bounds on it (2 mm, 16 mm).
        height_quantile: of the strands' height over the mean strand, at which the card runs.
        arch: height of the middle of an arched card over its edges, of half its width.
        tilt_deg: largest turn of a card about its middle, so that no two neighbours lie in one plane.
        min_sections, max_sections: bounds on the cross-sections.
        bend: how much closer sections stand where the card bends: head units of length that a turn of a radian adds.
        tolerance: distance between a card and its smooth form that is good enough (1.2 mm).
        clearance: least distance from the skin (1 mm).
        root: part of a card that may lie nearer to the skin.
        normal_neighbours: vertices of the hair's surface whose normals shade a vertex of a card.
    """

    samples: int = 40
    smoothing: float = 0.02
    end_quantile: float = 0.85
    max_extension: float = 0.03
    bins: int = 8
    edge_quantile: float = 0.95
    margin: float = 0.0025
    min_half_width: float = 0.005
    max_half_width: float = 0.04
    height_quantile: float = 0.7
    arch: float = 0.2
    tilt_deg: float = 12.0
    min_sections: int = 3
    max_sections: int = 8
    bend: float = 0.04
    tolerance: float = 0.003
    clearance: float = 0.0025
    root: float = 0.12
    normal_neighbours: int = 12


@dataclass(frozen=True)
class AtlasSettings:
    """How cards are painted.

    Attributes:
        along: resolution along strands, of that across.
        padding_px: empty texels around a card's piece.
        broadening: width of a painted strand, of its own.
        min_half_width_px: of a painted strand.
        known: opacity from which on a texel has a colour of its own.
        max_texels: per head unit across a card (4 a millimetre).
    """

    along: float = 0.5
    padding_px: int = 2
    broadening: float = 1.3
    min_half_width_px: float = 0.55
    known: float = 0.2
    max_texels: float = 1650.0


@dataclass(frozen=True)
class CapSettings:
    """The closed surface beneath the cards.

    Attributes:
        retreat: how far it lies under the hair's surface where strands cover it (4.5 mm).
        clearance: least distance of the cap from the skin as it retreats (0.4 mm).
        texture_fraction: size of its texture, of the closed shell's.
        aggressiveness: of its simplification: so few faces keep the form only if edges collapse in many small rounds.
    """

    retreat: float = 0.011
    clearance: float = 0.001
    texture_fraction: float = 0.5
    aggressiveness: int = 5
