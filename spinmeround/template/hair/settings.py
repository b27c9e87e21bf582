"""Numbers of the hair model, one frozen dataclass for each step.

Lengths are in head units (1 unit is 0.41 m, so 0.01 is about 4 mm) unless a suffix says otherwise. Cosines are those of
the angle between a surface normal and the direction to the camera: 1 faces the camera, 0 lies on the occluding contour.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CoverageSettings:
    """Where hair grows: observations of the photos, smoothed over the mesh, with the scalp as the prior.

    Attributes:
        facing_slack: added to the cosine, so that hair seen beside the head counts for skin just beyond the contour.
        facing_power: exponent of the cosine in the weight of an observation.
        matte_gain: with ``matte_offset`` turns alpha into a weight, ``gain * alpha - offset`` clipped to [0, 1].
        matte_offset: with a gain of 2, pixels of the matte's soft edge (alpha below 0.3) do not count.
        beyond_outline: so far beyond the person's outline its nearest pixel says what a vertex shows, in sides of the
            crop.
        observation_weight: of a vertex that is seen frontally, against ``prior_weight_on_scalp`` and ``smoothness``.
        prior_weight_on_scalp: of the prior on the anatomical scalp.
        prior_weight_elsewhere: of the prior (no hair) on all other skin; higher, so that no hair spreads to unseen skin
            in front of the ears or below the nape.
        mirrored_weight: of an observation on the other side of the head, where a vertex is not seen itself.
        smoothness: weight of the mesh's Laplacian.
        patch_coverage: coverage from which a vertex belongs to a patch of hair.
        min_patch_fraction: patches of fewer vertices, against the largest patch, are specks and are dropped.
        certain_scalp: value of the scalp mask from which baldness is judged; its soft border is left out.
        min_seen_weight: weight from which a vertex of the scalp counts as seen.
        min_contour_weight: the same on the occluding contour, where all weights are small.
        contour_cosine: absolute cosine below which a vertex counts as on the occluding contour.
        min_seen_vertices: with fewer seen vertices nothing is said about baldness.
        min_contour_vertices: with fewer contour vertices the contour is not used.
        hairy_scalp: mean coverage of the visible scalp from which the head does not count as bald at all.
        min_hat: fraction of the visible scalp under headwear from which a head wears a hat.
        hairy_quantile: of the coverage of what the hat leaves visible of the scalp, by which it is judged then.
        bald_range: by so much less coverage it counts as bald entirely.
    """

    facing_slack: float = 0.1
    facing_power: float = 1.5
    matte_gain: float = 2
    matte_offset: float = 0.6
    beyond_outline: float = 0.04
    observation_weight: float = 4
    prior_weight_on_scalp: float = 0.05
    prior_weight_elsewhere: float = 0.3
    mirrored_weight: float = 0.5
    smoothness: float = 1.2
    patch_coverage: float = 0.4
    min_patch_fraction: float = 0.05
    certain_scalp: float = 0.7
    min_seen_weight: float = 0.2
    min_contour_weight: float = 0.05
    contour_cosine: float = 0.45
    min_seen_vertices: int = 20
    min_contour_vertices: int = 10
    hairy_scalp: float = 0.35
    min_hat: float = 0.2
    hairy_quantile: float = 0.9
    bald_range: float = 0.25


@dataclass(frozen=True)
class EarSettings:
    """Whether hair covers an ear.

    Attributes:
        mask: value of the ear's soft mask from which a vertex belongs to the ear.
        min_visible_fraction: of the vertices of an ear's lower half that a photo must nearly see to say whether hair
            covers it.
        doubt: fractions of hair so near to one half do not tell whether hair covers an ear.
        min_covered_fraction: of the ear that hair must cover before the ear is flattened.
        clearance: hair nearer to the outline of a bare ear, seen from the side, than this is left out (3 mm).
        outline_step: resolution of the outline (1 mm).
    """

    mask: float = 0.3
    min_visible_fraction: float = 0.15
    doubt: float = 0.25
    min_covered_fraction: float = 0.5
    clearance: float = 0.0075
    outline_step: float = 0.0025


@dataclass(frozen=True)
class ThicknessSettings:
    """Thickness of the hair: measured on occluding contours, interpolated by a membrane plus thin plate.

    Attributes:
        contour_cosine: absolute cosine below which a vertex is near enough to the contour to measure at.
        trace_step: distance between samples from the skin outward.
        max_thickness: end of the trace, and bound on the result.
        min_measured: measurements are clipped to at least this.
        max_measured: measurements are clipped to at most this.
        lower_bound_weight: of a measurement that the photo's border cuts off, against 1 for a complete one.
        min_weight: weight from which a vertex counts as measured.
        default: thickness where nothing at all is measured.
        bare_coverage: coverage below which the thickness is held at 0.
        bare_weight: of that constraint.
        bare_rings: beyond so many rings of bare vertices it is 0 for certain.
        measured_weight: of a measurement.
        prior_weight: of the typical thickness at vertices without a measurement: behind, hair is as short as beside.
        min_typical: lower bound of the typical thickness, the median of the measurements.
        max_typical: upper bound of the typical thickness.
        ridge: added to the diagonal so that the system stays regular.
        membrane: weight of the Laplacian.
        thin_plate: weight of the squared Laplacian.
        hairline_coverage: coverage below which skin is outside the hairline.
        hairline_fraction: of the full thickness that hair has on the hairline itself.
        rise_distance: distance behind the hairline over which hair reaches its full thickness.
        nape_fraction: of the full thickness that hair has on the lower hairline behind the ears.
        nape_rise_distance: distance above it over which hair reaches its full thickness (8 cm).
        sure_scalp: value of the scalp mask from which the contour tells stubble; ears stand out beside its border.
        stubble_cosine: absolute cosine below which a vertex is near enough to the contour to tell stubble.
        stubble: median thickness on the contour below which hair is stubble (3 mm).
        min_stubble_vertices: with fewer measured vertices hair is none.
    """

    contour_cosine: float = 0.35
    trace_step: float = 0.002
    max_thickness: float = 0.2
    min_measured: float = 0.002
    max_measured: float = 0.16
    lower_bound_weight: float = 0.3
    min_weight: float = 0.2
    default: float = 0.02
    bare_coverage: float = 0.3
    bare_weight: float = 2.0
    bare_rings: int = 6
    measured_weight: float = 0.3
    prior_weight: float = 0.03
    min_typical: float = 0.006
    max_typical: float = 0.08
    ridge: float = 1e-6
    membrane: float = 0.3
    thin_plate: float = 3.0
    hairline_coverage: float = 0.4
    hairline_fraction: float = 0.25
    rise_distance: float = 0.08
    nape_fraction: float = 0.05
    nape_rise_distance: float = 0.2
    sure_scalp: float = 0.7
    stubble_cosine: float = 0.15
    stubble: float = 0.0075
    min_stubble_vertices: int = 100


@dataclass(frozen=True)
class HairVolumeSettings:
    """The signed-distance volume and the mesh that is extracted from it.

    Attributes:
        voxel: spacing of the volume (3.7 mm).
        margin_voxels: room around the hair, so that its surface closes inside the volume.
        truncation: distances are clipped to plus and minus this before they are blurred.
        blur_voxels: standard deviation of the blur that removes the steps of the voxels.
        min_covered_vertices: heads with fewer covered vertices are bald.
        shell_under_hanging: thickness of the shell where hair hangs, on the sides of the head.
        shell_under_hanging_on_top: what is added to it above the middle of the hair; upward: sines of the
            elevation above it between which it is.
        union_radius: of the rounding where parts of the hair meet (6.6 mm).
        plane_distance: below it the distance to the tangent plane is taken, above it that to the nearest vertex.
        shell_from_coverage: coverage from which the shell begins to rise from below the skin.
        shell_coverage_range: by so much more coverage it has its full thickness.
        shell_above_skin: added to the thickness, so that thin hair is not lost between voxels.
        shell_below_skin: how far under the skin the shell lies where there is no hair.
        max_below_skin: faces with no vertex above this depth under the skin are hidden and are dropped.
        min_component_faces: smaller connected components are dropped.
        min_component_fraction: so are components of fewer faces than this fraction of all.
    """

    voxel: float = 0.009
    margin_voxels: int = 4
    truncation: float = 0.06
    blur_voxels: float = 0.9
    min_covered_vertices: int = 50
    shell_under_hanging: float = 0.025
    shell_under_hanging_on_top: float = 0.1
    upward: tuple[float, float] = (-0.1, 0.5)
    union_radius: float = 0.016
    plane_distance: float = 0.02
    shell_from_coverage: float = 0.35
    shell_coverage_range: float = 0.3
    shell_above_skin: float = 0.003
    shell_below_skin: float = 0.012
    max_below_skin: float = 0.008
    min_component_faces: int = 200
    min_component_fraction: float = 0.05


@dataclass(frozen=True)
class CarvingSettings:
    """What a photo carves away from the volume.

    Attributes:
        border_px: side of the square by which the observed area is eroded; along the photo's border mattes are not
            reliable.
        silhouette_slack: how far outside the silhouette hair may still be.
        max_hair: value of the hair matte below which a pixel of the person shows no hair.
        median_px: side of the median filter that removes speckles of the matte, odd.
        before_middle: how far before the depth of the world's origin hair in front of the body may come.
        depth_slack: how far in front of the visible skin carving begins.
    """

    border_px: int = 5
    silhouette_slack: float = 0.004
    max_hair: float = 0.4
    median_px: int = 7
    before_middle: float = 0.02
    depth_slack: float = 0.004


@dataclass(frozen=True)
class HangingHairSettings:
    """Hair that hangs below the shell, measured in the plane through the ears that faces the camera.

    Attributes:
        min_length: hair that ends less than this below the ear lobes is left to the shell.
        min_width: hair beside the head counts as hanging from this width on (12 mm).
        front: depth of hanging hair in front of the plane through the ears.
        min_half_axis: lower bound of the half axes of an ellipse, so that none is degenerate.
        behind_ears: how far behind the middle of the ears hair ends that is swept back.
        swept_back_rounding: radius at which the front of swept-back hair is rounded; it has no sharp edge.
        row_step: distance between measured heights.
        column_step: distance between samples across.
        half_width: of the measured strip, to either side of the head.
        end_height: height above the lower end over which hair widens to its full width.
        end_narrowing: fraction of its width that hair loses at the lower end.
        side_rows: half widths are medians over so many rows: a lock that sticks out is no curtain.
        side_blur_rows: standard deviation of the smoothing of the half widths over the rows.
        back_blur_rows: the same for the depth of the back.
        skull_band: vertices within this height of a row count for its half width.
        back_band: the same for its depth; behind: fraction of that depth from which the scalp is the back of the head.
        neck_half_width: lower bound of the half width below the middle of the scalp.
        back_standing_off: how far hair stands off behind, of how far it does on the side where it does less.
        back_lean: fraction of its depth that the back of the hair loses over ``lean_height``.
        lean_height: height below the widest place of the skull over which the back of the hair leans in.
    """

    min_length: float = 0.05
    min_width: float = 0.03
    front: float = 0.06
    min_half_axis: float = 1e-3
    behind_ears: float = 0.03
    swept_back_rounding: float = 0.04
    row_step: float = 0.006
    column_step: float = 0.004
    half_width: float = 0.6
    end_height: float = 0.08
    end_narrowing: float = 0.25
    side_rows: int = 15
    side_blur_rows: float = 3
    back_blur_rows: float = 2
    skull_band: float = 0.015
    back_band: float = 0.02
    behind: float = 0.8
    neck_half_width: float = 0.13
    back_standing_off: float = 0.5
    back_lean: float = 0.25
    lean_height: float = 0.4


@dataclass(frozen=True)
class OutlineSettings:
    """What of the outline of hair is too fine for a surface.

    Attributes:
        gap: diameter of the smallest disc that fits into a gap between tufts (16 mm).
        tuft: of the smallest disc that fits into a tuft (12 mm).
    """

    gap: float = 0.04
    tuft: float = 0.03


@dataclass(frozen=True)
class InflationSettings:
    """Hair beside the head, as thick as it is wide.

    Attributes:
        behind_centre: how far behind the head's centre the plane of the ears lies in a photo (1.6 cm).
        nape_behind_ears: how far behind the ears the hair of the nape is (4 cm).
        below_ears: depths below the head's centre between which hair becomes that of the nape.
        radius: largest half thickness (4 cm).
        taper: distance behind the bare head's outline over which the thickness falls to 0.
        thinnest: taken off the half thickness, so that a single strand has none.
        far: value of the distance where there is no such hair.
    """

    behind_centre: float = 0.04
    nape_behind_ears: float = 0.1
    below_ears: tuple[float, float] = (0.08, 0.2)
    radius: float = 0.1
    taper: float = 0.06
    thinnest: float = 0.004
    far: float = 0.06


@dataclass(frozen=True)
class PhotoProjectionSettings:
    """How far a photo is trusted to show a surface.

    Attributes:
        erosion_px: side of the square by which the matte is eroded; blur_px: standard deviation that softens it.
        facing: cosines of normal and line of sight between which trust grows from 0 to 1.
        matte: values of the eroded matte between which it does.
        depth_tolerance: a point this far behind the nearest surface still counts as seen, head units.
    """

    erosion_px: int = 5
    blur_px: float = 2.0
    facing: tuple[float, float] = (0.15, 0.65)
    matte: tuple[float, float] = (0.5, 0.9)
    depth_tolerance: float = 0.02


@dataclass(frozen=True)
class HairColourSettings:
    """Colour of hair and headwear: projected from the photos, and what of it is continued.

    Attributes:
        min_weight: texels with less weight show no colour.
        blend_gain: how soon the photo's strands replace synthesised ones as the weight grows.
        blend_blur_texels: standard deviation of that blend.
        observed_weight: weight from which a texel counts as observed in the report.
        base_blurs_texels: standard deviations of the blurs that extend the colour of headwear, widest first.
    """

    min_weight: float = 1e-3
    blend_gain: float = 1.6
    blend_blur_texels: float = 2
    observed_weight: float = 0.3
    base_blurs_texels: tuple[float, ...] = (160.0, 70.0, 28.0, 10.0)


@dataclass(frozen=True)
class UnseenColourSettings:
    """Colour of hair that no photo shows; lengths in texels of the map (0.6 mm).

    Attributes:
        min_trust: weight of the photos from which a texel says how light hair is.
        lit_quantiles: of the lightness of seen hair, between which hair begins to count as lit, and does so entirely.
        min_lit: fraction of that from which hair counts for the typical colour at a height, and of all hair.
        band_texels: rows whose typical colour is found at once.
        lit_blur_texels: standard deviation around the head over which lit hair is continued.
        height_blur_texels: most standard deviation of the same up and down.
        near_blurs_texels: standard deviations over which all seen hair is continued, widest first.
        prior_weight: of the colour at the next coarser scale.
        overall_weight: of the typical colour of all hair, against the fraction of a height at which lit hair is seen.
        min_chroma: of a mean colour, below which its hue says nothing.
        form_blur_texels: standard deviation of the blur of normals by which hair is shaded.
        black: least lightness of which a logarithm is taken.
        contrast: bounds of the standard deviation of the logarithm of lightness by which shading is scaled.
        sky: logarithm of the lightness of what faces up, against sideward, in such standard deviations.
        shine: the same in the middle of the highlight.
        dark: lightness of hair below which that is the greater the darker it is; darkest_gain: at most by this factor.
        gloss: exponent of the highlight.
        white: fraction of the light that is thrown back without taking the hair's colour.
        lit: heights of the unit normal between which light from above reaches strands.
        least_sideward: bound on the horizontal part of a unit normal by which it is divided.
    """

    min_trust: float = 0.3
    lit_quantiles: tuple[float, float] = (0.05, 0.3)
    min_lit: float = 0.5
    band_texels: int = 32
    lit_blur_texels: float = 110.0
    height_blur_texels: float = 50.0
    near_blurs_texels: tuple[float, ...] = (70.0, 28.0, 10.0)
    prior_weight: float = 0.1
    overall_weight: float = 0.02
    min_chroma: float = 6.0
    form_blur_texels: float = 12.0
    black: float = 0.02
    contrast: tuple[float, float] = (0.18, 0.35)
    sky: float = 0.6
    shine: float = 1.5
    dark: float = 0.16
    darkest_gain: float = 2.2
    gloss: float = 16.0
    white: float = 0.5
    lit: tuple[float, float] = (-0.2, 0.3)
    least_sideward: float = 0.3


@dataclass(frozen=True)
class StrandSettings:
    """Synthesis of strands: line integral convolution of noise in bands of width.

    Attributes:
        widths_texels: of strands and of locks: each band holds what a blur of this standard deviation removes. Finer
            strands would flicker between views of 512 pixels, in which a texel is about a pixel.
        widest: variation of the tone so many times wider than a band's strands is left out of it.
        min_pixels: of hair from which the contrast of strands can be measured.
        min_matte: value of the hair matte from which a pixel is certainly hair.
        erosion_px: side of the square by which that area is eroded.
        coherence: of the photo's hair, between which it goes from curls to combed hair.
        short_length: of streaks of curls, in texels (2 cm).
        long_length: the same of combed hair (15 cm).
        min_finer_contrast: least contrast of a band against the next wider one: a photo blurs the finest strands away.
        max_coarse_contrast: most contrast of a band against the next finer one: the rest is shading of the hair's form,
            and looks like folds of cloth where it is put elsewhere.
        undirected_coarse: fraction of the contrast that the two widest bands keep in curls.
        straight_rad: standard deviation of the angle of straight strands around the direction of growth, radians.
        curly_rad: what curls add to it.
        wave_of_pitch: distance over which the angle varies, in pitches of the photo's waves.
        min_band_matte: value of the blurred mask from which a pixel is far enough inside the hair to measure at.
        colour_matte: value of the mask from which a pixel is used for the colour of strands.
        quantile_range: quantiles of lightness that are matched; the ends are bits of skin and of background.
        n_quantiles: how many quantiles are matched.
    """

    widths_texels: tuple[float, ...] = (1.3, 2.2, 3.8, 6.4)
    widest: float = 3.0
    min_pixels: int = 400
    min_matte: float = 0.85
    erosion_px: int = 3
    coherence: tuple[float, float] = (0.45, 0.75)
    short_length: float = 30.0
    long_length: float = 250.0
    min_finer_contrast: float = 0.75
    max_coarse_contrast: float = 0.6
    undirected_coarse: float = 0.5
    straight_rad: float = 0.1
    curly_rad: float = 0.5
    wave_of_pitch: float = 0.25
    min_band_matte: float = 0.8
    colour_matte: float = 0.9
    quantile_range: tuple[float, float] = (0.02, 0.98)
    n_quantiles: int = 97
