"""Numbers of the growth of strands, one frozen dataclass for each step.

Lengths are in head units (1 unit is 0.41 m).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DirectionSettings:
    """Direction of growth over the hair's surface.

    Attributes:
        smoothness: weight of the membrane between vertices.
        falling_weight: of hair as it falls by itself, against 1 for a sure measurement.
        rounds: how often the sign of the measured orientations is taken from the field and the field is solved.
        whorl: direction from the middle of the hair to its whorl, world frame.
        swirl_deg: angle between the growth in the middle of the whorl and straight away from it.
        swirl_radius: distance from the whorl over which that goes (4 cm).
        facing_up: height of the unit normal from which on hair begins to turn away from the whorl, and does entirely.
        not_vertical: absolute height of a unit normal below which the vertical is far enough from it.
        probe: by how much a vertex is moved to see where it goes in the picture.
    """

    smoothness: float = 1.0
    falling_weight: float = 0.008
    rounds: int = 4
    whorl: tuple[float, float, float] = (0.12, 0.84, -0.53)
    swirl_deg: float = 75.0
    swirl_radius: float = 0.1
    facing_up: tuple[float, float] = (0.35, 0.75)
    not_vertical: float = 0.9
    probe: float = 1e-3


@dataclass(frozen=True)
class GrowthSettings:
    """How a strand runs through the volume of the hair.

    Attributes:
        cell: spacing of the grid.
        margin_cells: of the grid around the hair.
        plane_distance: below it the distance to the tangent plane is taken, above it that to the nearest vertex.
        rim_width: within this distance of the open rim of the hair's surface nothing lies beside it.
        beside_rim: height above the tangent plane, as a fraction of the distance, below which a point lies beside it.
        step: between two points of a strand that grows (2.5 mm).
        max_length: of a strand.
        rise: distance below its depth at which a strand climbs at 45 degrees.
        settle: distance above its depth at which it comes down so.
        max_slope: of both.
        turn: fraction by which a strand turns to where it wants in one step.
        clearance: least distance from the skin.
    """

    cell: float = 0.014
    margin_cells: int = 3
    plane_distance: float = 0.012
    rim_width: float = 0.008
    beside_rim: float = 0.8
    step: float = 0.006
    max_length: float = 1.0
    rise: float = 0.03
    settle: float = 0.008
    max_slope: float = 1.5
    turn: float = 0.7
    clearance: float = 0.002


@dataclass(frozen=True)
class StrandGrowthSettings:
    """Which strands grow.

    Attributes:
        count: strands of a head whose whole scalp has hair.
        min_coverage: of a vertex of the skin from which on strands grow there.
        thinning: coverages between which strands grow denser, from none to all: no hairline is an edge.
        root_slack: height above the hair's surface up to which a root may lie: at the hairline hair has no thickness.
        sampled: one strand of so many is grown first, to see how many points they need.
        budget: points of all strands together.
        min_points: of a strand; one that grew fewer is none.
        max_points: of a strand.
        points_of_wave: in one pitch.
        max_spacing: of the points of a strand (7 mm).
        typical_length: quantile of the lengths by which the number of points is chosen.
        width: diameter of a strand, which stands for several hairs (.45 mm).
        tip: diameter at the tip, of that at the root.
        finest: diameter on the hairline, of that on a scalp full of hair; as ``thinning`` between.
        max_depth: how far below the surface the deepest strands run.
        depth_of_thickness: bound on the same, of the hair's thickness at the root.
        depth_power: exponent of an even draw: higher puts more strands near the surface.
        flyaways: fraction of strands that run above the surface.
        flyaway_height: mean of how far.
        hanging: hair that reaches this far below the ears is long: its strands end where it ends.
        short_length: length of short hair, in thicknesses at its root.
        least_length: added to it.
        long_length: of long hair, as far as its locks go (20 cm).
        lifted_from: place along a strand from which on it stands out with its lock.
        length_spread: standard deviation of the logarithm of lengths.
        overshoot: mean of how far strands come out of the hair's surface; max_overshoot: the most.
        hair_in_photo: share of hair in what is seen of the person, below which a photo shows that there is no strand.
        before_skin: a point as far behind the skin or farther is not shown by the photo (12 mm): strands stand on the
            head at rest, not on that with the expression of the photo.
        tone_place: place along a strand, from root to tip, where the hair's map says how light it is.
        tone_spread: standard deviation of the logarithm of a single strand's lightness where no photo shows it, against
            that of the map; max_tone_spread: the most, for hair that is all but black.
        shown_tone: most that a photo adds to a strand's colour where it does not see it, against the tones of the map.
        deep_tone: lightness of the deepest strands.
    """

    count: int = 20000
    min_coverage: float = 0.35
    thinning: tuple[float, float] = (0.3, 0.7)
    root_slack: float = 0.006
    sampled: int = 10
    budget: int = 350_000
    min_points: int = 4
    max_points: int = 64
    points_of_wave: float = 7.0
    max_spacing: float = 0.018
    typical_length: float = 0.75
    width: float = 0.0011
    tip: float = 0.1
    finest: float = 0.2
    max_depth: float = 0.03
    depth_of_thickness: float = 0.7
    depth_power: float = 2.5
    flyaways: float = 0.06
    flyaway_height: float = 0.004
    hanging: float = 0.05
    short_length: float = 3.0
    least_length: float = 0.03
    long_length: float = 0.5
    lifted_from: float = 0.3
    length_spread: float = 0.25
    overshoot: float = 0.003
    max_overshoot: float = 0.008
    hair_in_photo: float = 0.9
    before_skin: float = 0.03
    tone_place: float = 0.8
    tone_spread: float = 1.0
    max_tone_spread: float = 0.4
    shown_tone: float = 1.5
    deep_tone: float = 0.6


@dataclass(frozen=True)
class StylingSettings:
    """Locks and curls.

    Attributes:
        strands_in_lock: mean number of strands that gather around one of them.
        gathering: most by which a strand's tip comes to that of its lock.
        gathering_power: exponent of the way along the strand, by which it gathers.
        parting: distances between a strand and that of its lock over which it leaves the lock (12 to 25 mm).
        curly: coherence of a photo's hair below which its strands are curls, and above which they wave as measured.
        curl_amplitude: of curls (4 mm); curl_pitch: of theirs (25 mm).
        max_amplitude: of curls (8 mm).
        of_height: most amplitude against the height above the skin: near it hair lies flat.
        min_pitch: of curls (8 mm).
        spread: standard deviation of the logarithm of a strand's amplitude and a lock's pitch.
        phase_spread: standard deviation of a strand's phase within its lock, radians.
        straight_root: from the root to full amplitude, in pitches.
        flatness: amplitude toward the surface and away from it, of that along it.
    """

    strands_in_lock: int = 30
    gathering: float = 0.7
    gathering_power: float = 1.5
    parting: tuple[float, float] = (0.03, 0.06)
    curly: tuple[float, float] = (0.45, 0.75)
    curl_amplitude: float = 0.01
    curl_pitch: float = 0.06
    max_amplitude: float = 0.02
    of_height: float = 0.2
    min_pitch: float = 0.02
    spread: float = 0.25
    phase_spread: float = 0.5
    straight_root: float = 0.5
    flatness: float = 0.6


@dataclass(frozen=True)
class RibbonSettings:
    """How strands and the surface beneath them are drawn.

    Attributes:
        ends: height over which long strands end above the lower edge of pictures (25 mm).
        lock: angle around the head within which strands end together, radians.
        lock_share: fraction of the height that is common to a lock.
        taper: height above its end over which a strand grows thinner (5 mm).
        surface_ends: up to which fraction of what is each strand's own the surface is left away.
        tuck: fraction of its distance from the neck's axis by which hair is drawn in at that edge.
        tuck_height: height above the edge from which on it is (5 cm).
        neck_depth: z of the neck's axis there, world frame.
        near: distance within which points of strands cover a vertex of the surface.
        covering: number of them that covers it entirely.
        retreat: how far a covered surface lies under its place (1.6 mm).
    """

    ends: float = 0.06
    lock: float = 0.12
    lock_share: float = 0.4
    taper: float = 0.012
    surface_ends: float = 0.5
    tuck: float = 0.2
    tuck_height: float = 0.12
    neck_depth: float = -0.12
    near: float = 0.02
    covering: int = 12
    retreat: float = 0.004
