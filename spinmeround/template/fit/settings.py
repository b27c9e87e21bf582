"""Numbers of the head fit, one frozen dataclass for each step.

Lengths are in head units (0.01 is about 4 mm) unless a suffix says otherwise; *eye distances* are distances between the
centres of the two eyes in the photo. Cosines are those of the angle between a surface normal and the line of sight: 1
faces the camera, 0 lies on the occluding contour.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PriorSettings:
    """Priors of the maximum a posteriori fit, as standard deviations. Principal components of shape have 1.

    Those of expressions are in ``expression_prior``.

    Attributes:
        camera_distance: mean of the camera's distance: portraits are taken from about 1.1 m.
        log_distance_sigma: of its logarithm: rarely from two thirds or 1.5 of that.
        local_shape_sigma: of the parameters that change one place of the face.
        lower_lip: mean of the parameter of the lower lip's height. The mean head's is .14 of the distance between the
            outer corners of the eyes; people's is .105 to .14 (Farkas 1994: 9.4 of 89 mm for North Americans of
            European descent; Virdi, Wertheim and Naini 2019: 13.7 of 96 mm for Kenyans), and this makes it .115.
        mirror_sigma: of the difference between the parameters of a mirrored pair.
        principal_limit: bound on the absolute value of a principal component, standard deviations.
        local_limit: bound on the absolute value of a local parameter.
    """

    camera_distance: float = 2.7
    log_distance_sigma: float = 0.2
    local_shape_sigma: float = 0.3
    lower_lip: float = -0.6
    mirror_sigma: float = 0.1
    principal_limit: float = 3.0
    local_limit: float = 1.0


@dataclass(frozen=True)
class FitStage:
    """One stage of the fit; each frees what the earlier ones have given a good start.

    Attributes:
        steps: of Levenberg-Marquardt.
        shape_free: whether the shape is fitted; otherwise only poses and expressions are.
        slide: whether landmarks of the face's contour may slide along it.
        silhouette: whether the silhouette of bare skin is fitted.
        edges: whether the mouth's opening is matched to the visible edges of the lips.
    """

    steps: int
    shape_free: bool
    slide: bool
    silhouette: bool
    edges: bool


@dataclass(frozen=True)
class Elasticity:
    """Regularisation of a free-form displacement.

    Attributes:
        stiffness: weight of the bending energy, the squared Laplacian.
        rest_sigma: standard deviation of a displacement around zero, head units.
        mirror_sigma: standard deviation of a displacement around its mirror image, head units.
    """

    stiffness: float
    rest_sigma: float
    mirror_sigma: float


@dataclass(frozen=True)
class FitSettings:
    """Course of the whole fit.

    Attributes:
        stages: of the parametric fit, in their order.
        final_steps: of Levenberg-Marquardt over poses and expressions once the head has its personal displacement.
        front: vertices behind this z of the mean head get no free-form displacement: no photo constrains them.
        personal_weight: of the photos in the personal displacement, against its regularisation.
        corrective_weight: of one photo in the corrective of its expression.
        personal: regularisation of the personal displacement.
        corrective: of the corrective of one photo's expression: softer, and it need not be symmetric.
        corrective_max_sigma: no landmark's place on the model counts as less certain than this in the corrective: where
            landmarks are not met, the texture slides.
        lip_pressure: so much nearer to each other than on the mean head lips meet, head units: otherwise teeth show
            between lips of another shape.
        guide_vertices: eyes, teeth and tongue follow the mean of so many nearest vertices of the skin.
        max_error: mean landmark error beyond which the fit is refused, eye distances.
    """

    stages: tuple[FitStage, ...] = (
        FitStage(steps=6, shape_free=False, slide=False, silhouette=False, edges=False),
        FitStage(steps=8, shape_free=True, slide=True, silhouette=False, edges=False),
        FitStage(steps=12, shape_free=True, slide=True, silhouette=True, edges=True),
    )
    final_steps: int = 5
    front: float = -0.05
    personal_weight: float = 20.0
    corrective_weight: float = 40.0
    personal: Elasticity = Elasticity(stiffness=5e4, rest_sigma=0.012, mirror_sigma=0.005)
    corrective: Elasticity = Elasticity(stiffness=8e3, rest_sigma=0.03, mirror_sigma=1.0)
    corrective_max_sigma: float = 0.015
    lip_pressure: float = 0.0012
    guide_vertices: int = 60
    max_error: float = 0.2


@dataclass(frozen=True)
class LandmarkSettings:
    """Residuals of the landmarks.

    Attributes:
        detector_sigma: noise of a detected landmark, eye distances; adds to the uncertainty of its place on the model.
        weight: of each landmark: the detector's errors on one face are correlated, so about seven count as one.
        iris_weight: factor on the irises' centres: nothing else constrains the gaze.
        facing_offset: with ``facing_range`` turns the cosine into a weight, ``(cosine + offset) / range``.
        facing_range: landmarks that face away further than the offset have the least weight.
        min_facing_weight: that least weight.
        along_contour: weight of errors along the face's contour against those across it.
        hidden_cosine: cosine below which a contour landmark is taken for the occluding contour's.
        contour_cosine: absolute cosine below which a vertex lies on the occluding contour.
        contour_reach: a landmark is matched to vertices of the contour within this distance of its place.
        robust_sigmas: errors beyond so many standard deviations count ever less (Cauchy).
    """

    detector_sigma: float = 0.012
    weight: float = 0.15
    iris_weight: float = 8.0
    facing_offset: float = 0.15
    facing_range: float = 0.45
    min_facing_weight: float = 0.1
    along_contour: float = 0.3
    hidden_cosine: float = 0.25
    contour_cosine: float = 0.2
    contour_reach: float = 0.12
    robust_sigmas: float = 3.0


@dataclass(frozen=True)
class LipEdgeSettings:
    """Search for the visible edges of the lips.

    Attributes:
        reach: vertices within this distance of the line on which the lips meet may be the edge, head units.
        aside: ... if they are no further than this beside the landmark.
        sigma: standard deviation of the edge's place on the model, head units: it is seen, not guessed.
    """

    reach: float = 0.025
    aside: float = 0.006
    sigma: float = 0.003


@dataclass(frozen=True)
class SilhouetteSettings:
    """Residuals of the silhouette.

    Attributes:
        sigma: standard deviation of the matte's edge, eye distances.
        total_weight: bound on the weight of all points together: neighbours are correlated, and a long neck must not
            outweigh the face.
        reach: the matte's edge is searched for within this distance of the model's silhouette, eye distances.
        hair_thickness: of the shortest hair: under hair the head must stay so far inside the matte.
        neck_below_chin: points further below the chin are left out: there collars hide the skin.
        robust_sigmas: errors beyond so many standard deviations count ever less (Cauchy).
    """

    sigma: float = 0.015
    total_weight: float = 15.0
    reach: float = 0.3
    hair_thickness: float = 0.012
    neck_below_chin: float = 0.08
    robust_sigmas: float = 3.0


@dataclass(frozen=True)
class MatteEdgeSettings:
    """Search for the edge of the matte along the normals of the silhouette.

    Attributes:
        size_px: side of the square picture in which the model's silhouette is drawn.
        blur_px: standard deviation of the blur that its normals are measured after, pixels of that picture.
        inside: value of a matte from which a pixel belongs to it.
        mostly: value of the hair or clothes matte from which on an edge is not one of skin.
        behind_half_pixels: how far inside the edge hair and clothes are looked up, half pixels of that picture.
        before_half_pixels: how far outside the edge the photo must reach.
        min_observed: value of the interpolated mask of observed pixels from which a point lies in the photo.
    """

    size_px: int = 256
    blur_px: float = 2.0
    inside: float = 0.5
    mostly: float = 0.4
    behind_half_pixels: tuple[float, ...] = (2.0, 5.0)
    before_half_pixels: float = 4
    min_observed: float = 0.99


@dataclass(frozen=True)
class SolverSettings:
    """Damping of Levenberg-Marquardt.

    Attributes:
        first_damping: against the diagonal of the normal equations.
        min_damping: lower bound.
        increase: factor on the damping after a step that raises the cost.
        decrease: divisor of the damping after a step that lowers it.
        max_attempts: so many failing steps in a row end the fit.
        min_diagonal: lower bound of the diagonal that the damping is multiplied with.
    """

    first_damping: float = 1e-3
    min_damping: float = 1e-7
    increase: float = 8
    decrease: float = 6
    max_attempts: int = 6
    min_diagonal: float = 1e-9


@dataclass(frozen=True)
class FreeFormSettings:
    """Free-form displacement.

    Attributes:
        max_length: no vertex moves further than this, head units (6 mm).
        touching: skin vertices within this distance of each other that no edges join touch, head units.
        closed_sigma: standard deviation of the change of the gap between touching vertices, head units.
    """

    max_length: float = 0.015
    touching: float = 0.004
    closed_sigma: float = 0.0003
