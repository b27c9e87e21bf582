"""Numbers of what is measured of hair in a picture, one frozen dataclass for each step.

Lengths are in head units (1 unit is 0.41 m, so 0.01 is about 4 mm) unless a suffix says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BackgroundColourSettings:
    """Which pixels of a hair matte show the background, by colour; lengths in head units.

    Attributes:
        pixel: side of the pixels that are compared (1.6 mm): coarser than a strand.
        inside, certain: values of a matte from which on a pixel belongs to it, and does so with certainty.
        band: hair farther inside the outline is sure until its colour tells otherwise (16 mm).
        deep_quantile: of the depths of hair; deeper hair is sure where all hair is less deep than the band.
        hairline: so far from what is no hair, skin included, hair is sure (3 mm).
        beyond: so far outside the outline only background is seen (4 mm).
        neighbourhood: standard deviation of the window whose colours are counted (25 mm).
        overall: weight of a whole region's colours against those of a window full of it.
        min_pixels: of hair and of background from which they can be compared.
        n_colours: how many typical colours a region has.
        alphas: fractions of hair in a pixel that is not wholly hair.
        sigma_lab: standard deviations in Lab around a typical colour; shading changes lightness most.
        new_to_hair, new_to_background: densities of a colour that the photo shows nowhere else.
        prior_depth: the prior odds of background fall by a factor of e over so much depth inside the outline (8 mm).
        odds: of background, between which the trust in a pixel falls from 1 to 0.
        smooth_px: standard deviation of the blur of the log of those odds.
        rounds: of comparing, each with what the last one left of sure hair.
        piece: diameter of the smallest piece of the matte that is taken out of it (25 mm).
        piece_edge: what is taken out with it around it (1.2 mm).
    """

    pixel: float = 0.004
    inside: float = 0.5
    certain: float = 0.9
    band: float = 0.04
    deep_quantile: float = 0.5
    hairline: float = 0.008
    beyond: float = 0.01
    neighbourhood: float = 0.06
    overall: float = 0.1
    min_pixels: int = 100
    n_colours: int = 12
    alphas: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)
    sigma_lab: tuple[float, float, float] = (10.0, 5.0, 5.0)
    new_to_hair: float = 1e-7
    new_to_background: float = 1e-6
    prior_depth: float = 0.02
    odds: tuple[float, float] = (2.0, 6.0)
    smooth_px: float = 1.0
    rounds: int = 2
    piece: float = 0.06
    piece_edge: float = 0.003


@dataclass(frozen=True)
class OrientedFilterSettings:
    """The bank of oriented filters that measures the strands' orientation in a picture.

    Attributes:
        finest_wavelength: of the filters, and each further level doubles it: a strand clump is half a wavelength wide
            (2.5 mm).
        wavelength_px: of each filter on its own level of the image pyramid; the bank is the same for all.
        n_levels: of the pyramid (2.5, 5 and 10 mm).
        n_orientations: of the filters, each a quadrature pair. With 16 they overlap at half their height.
        across_wavelengths: standard deviation of a filter's envelope across the strands, in wavelengths.
        along_wavelengths: the same along them; longer filters resolve angles finer but smooth curls away.
        reach_deviations: how far a filter reaches, in the standard deviations along the strands: 11 px are filtered
            directly, larger filters by a Fourier transform at thrice the time.
        contrast_wavelengths: standard deviation of the window in which the contrast is normalised.
        min_contrast: standard deviation of luminance below which a window counts as flat; an 8-bit step is 0.004.
        min_relative_contrast: the same against the median over the hair.
        peak_power: exponent of the filters' energies in their mean, above 1 to follow the strongest of two crossing
            orientations.
        smoothing_wavelengths: standard deviation over which the orientations of each level are averaged at last.
        coverage: fraction of a filter's window inside the matte from which confidence begins to rise, and at which it
            is full.
        anisotropy: length of the mean at doubled angle from which confidence begins to rise, and at which it is full.
            White noise has 0.15.
        half_energy: energy at which confidence is halved, against the median over the hair.
    """

    finest_wavelength: float = 0.0061
    wavelength_px: float = 4.0
    n_levels: int = 3
    n_orientations: int = 16
    across_wavelengths: float = 0.4
    along_wavelengths: float = 0.75
    reach_deviations: float = 1.6
    contrast_wavelengths: float = 1.5
    min_contrast: float = 0.004
    min_relative_contrast: float = 0.2
    peak_power: float = 1.5
    smoothing_wavelengths: float = 0.8
    coverage: tuple[float, float] = (0.8, 0.97)
    anisotropy: tuple[float, float] = (0.2, 0.7)
    half_energy: float = 0.1


@dataclass(frozen=True)
class CurlSettings:
    """Waves of strands around the flow of the hair.

    Attributes:
        flow_window: standard deviation of the window whose mean orientation is the flow (12 mm); longer waves than five
            times that are part of it.
        agreement_window: standard deviation of the window in which orientations must agree for coherence (8 mm).
        min_confidence: of the orientation, from which a pixel counts for the waves.
        min_pixels: with fewer nothing is said about them.
        quantile: of the slopes and of their change, by which a sinusoid is fitted; robust where locks cross.
        straight_slope: what slopes straight combed hair shows by its flow around the head, radians; taken off.
        agreement: mean resultant length, confidence included, that counts as no coherence, and as full.
    """

    flow_window: float = 0.0292
    agreement_window: float = 0.0195
    min_confidence: float = 0.2
    min_pixels: int = 400
    quantile: float = 0.75
    straight_slope: float = 0.1
    agreement: tuple[float, float] = (0.1, 0.8)
