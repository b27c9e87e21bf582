"""The SpinMeRound pipeline: photos to views, all three passes of the paper, from one checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.diffusion.inputs import Conditioning, ModelViews, Pose, Sampling, identity_problem
from spinmeround.diffusion.model import networks
from spinmeround.diffusion.model.latents import LatentCodec
from spinmeround.diffusion.model.networks import Networks
from spinmeround.diffusion.model.placement import (
    DevicePlacement,
    on_device,
    out_of_memory_explained,
    place_text_encoder,
    place_unet,
    place_vae,
)
from spinmeround.diffusion.model.pose_map import model_angles_deg
from spinmeround.diffusion.model.text import encode_prompt
from spinmeround.diffusion.model.unet import MultiViewUNet
from spinmeround.diffusion.sampling.cost import Meter, total_rows
from spinmeround.diffusion.sampling.loop import Embeddings
from spinmeround.diffusion.sampling.passes import JointPass, plan, same
from spinmeround.diffusion.sampling.run import Noise, Run, seeded_noise
from spinmeround.errors import InputError
from spinmeround.types import Progress, no_progress

_AS_PUBLISHED = DevicePlacement()
_SAMPLING = Sampling()


class SpinMeRoundPipeline:
    """The ``ViewSampler`` with the published weights.

    Args:
        parts: networks in the precision that ``placement`` says; they are moved to its device.
    """

    def __init__(self, parts: Networks, *, placement: DevicePlacement = _AS_PUBLISHED) -> None:
        self.parts = parts
        self.placement = placement
        place_unet(parts.unet, placement)
        place_vae(parts.vae, placement)
        place_text_encoder(parts.text_encoder, placement)
        self.unet = MultiViewUNet(parts.unet)
        self.codec = LatentCodec(parts.vae)

    @classmethod
    def from_single_file(
        cls, path: Path | str, *, config: Path | None = None, placement: DevicePlacement = _AS_PUBLISHED
    ) -> SpinMeRoundPipeline:
        """Load ``spmr.ckpt`` as published; see ``networks.from_single_file``."""
        with out_of_memory_explained(placement):
            parts = networks.from_single_file(
                Path(path), config=config, dtype=torch.float32, unet_dtype=placement.dtype
            )
            return cls(parts, placement=placement)

    @classmethod
    def from_pretrained(cls, folder: Path | str, *, placement: DevicePlacement = _AS_PUBLISHED) -> SpinMeRoundPipeline:
        """Load a folder that ``spmr-convert`` or ``save_pretrained`` made; see ``networks.load``."""
        with out_of_memory_explained(placement):
            parts = networks.load(Path(folder), dtype=torch.float32, unet_dtype=placement.dtype)
            return cls(parts, placement=placement)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the folder that ``from_pretrained`` reads, in the precision the networks are in."""
        networks.save(self.parts, Path(folder))

    @torch.inference_mode()
    def __call__(
        self,
        conditioning: Conditioning,
        poses: Sequence[Pose],
        *,
        seed: int,
        sampling: Sampling = _SAMPLING,
        progress: Progress = no_progress,
    ) -> ModelViews:
        """Sample views of the person from each of ``poses``; see ``ViewSampler``."""
        sampling.check()
        problem = identity_problem(conditioning.identity)
        if problem is not None:
            raise InputError(problem)
        photos = self._photos(conditioning)
        passes = plan(conditioning.poses, poses, views_at_once=sampling.views_at_once)
        meter = Meter(total_rows(len(photos), passes, sampling), progress)
        with out_of_memory_explained(self.placement, views_at_once=sampling.views_at_once):
            identity = torch.from_numpy(conditioning.identity).float()[None]
            run = self.run(identity, photos=photos, sampling=sampling, noise=seeded_noise(seed), meter=meter)
            photo_normals, latents = _all_passes(run, photos, conditioning.poses, passes)
            return _decode(run, poses, conditioning, latents, photo_normals, unet_passes=meter.done)

    def run(
        self,
        identity: Float[Tensor, "1 e"],
        *,
        photos: Float[Tensor, "n 3 height width"],
        sampling: Sampling,
        noise: Noise,
        meter: Meter,
    ) -> Run:
        """Make a run in the model's own terms, for another order, other angles or other noise than ``__call__`` has."""
        height, width = photos.shape[-2:]
        return Run(
            self.unet,
            self.codec,
            placement=self.placement,
            embeddings=self.embeddings(identity),
            sampling=sampling,
            latent_size=(height // self.codec.downscale, width // self.codec.downscale),
            noise=noise,
            meter=meter,
        )

    def embeddings(self, identity: Float[Tensor, "1 e"]) -> Embeddings:
        """Encode the prompt with the identity, and the empty prompt."""
        prompt, encoder = self.parts.prompt, self.parts.text_encoder
        with on_device(encoder, self.placement):
            cond, uncond = (
                encode_prompt(encoder, ids, identity=identity, id_word=prompt.id_word).to(self.placement.device)
                for ids in (prompt.token_ids(), prompt.empty_token_ids())
            )
        return Embeddings(cond, uncond)

    def _photos(self, conditioning: Conditioning) -> Float[Tensor, "n 3 height width"]:
        """Convert the photos to the autoencoder's input.

        Raises:
            InputError: their number or size does not fit.
        """
        rgb = conditioning.rgb
        if len(rgb) != len(conditioning.poses):
            raise InputError(f"{len(rgb)} photos but {len(conditioning.poses)} directions: give one for each")
        multiple = self.codec.downscale * 2 ** (len(self.parts.unet.config["block_out_channels"]) - 1)
        if any(side < multiple or side % multiple for side in rgb.shape[1:3]):
            raise InputError(
                f"photos of {rgb.shape[2]} × {rgb.shape[1]} pixels: sides must be multiples of {multiple}, "
                "and the published model learned 512 × 512"
            )
        if not np.isfinite(rgb).all():
            raise InputError("a photo has values that are not finite")
        return torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2).float() * 2 - 1


def _all_passes(
    run: Run, photos: Float[Tensor, "n 3 height width"], poses: Sequence[Pose], passes: Sequence[JointPass]
) -> tuple[Float[Tensor, "n 3 height width"], dict[Pose, Float[Tensor, "c h w"]]]:
    """Run passes A, B and C: return the photos' normals, and latents of every view."""
    angles = _angles(poses)
    normals = run.photo_normals(photos, angles)
    latents = dict(zip(poses, run.photo_latents(photos, normals), strict=True))
    empty = run.empty_latents(photos)
    for number, joint in enumerate(passes, start=1):
        sampled = run.views(
            torch.stack([latents[pose] for pose in joint.given]),
            empty,
            known_angles_deg=_angles(joint.given),
            angles_deg=_angles(joint.sampled),
            message=f"sampling views, pass {number} of {len(passes)}",
        )
        latents |= dict(zip(joint.sampled, sampled, strict=True))
    return normals, latents


def _decode(
    run: Run,
    poses: Sequence[Pose],
    conditioning: Conditioning,
    latents: dict[Pose, Tensor],
    photo_normals: Float[Tensor, "n 3 height width"],
    *,
    unet_passes: int,
) -> ModelViews:
    """Decode pictures of the asked views; a photo's own view is the photo."""
    photo_normals_rgb = _picture(photo_normals)
    rgb, normals = [], []
    for pose in poses:
        own = [i for i, photo in enumerate(conditioning.poses) if same(pose, photo)]
        if own:
            rgb.append(conditioning.rgb[own[0]].astype(np.float32))
            normals.append(photo_normals_rgb[own[0]])
        else:
            (found,) = (value for key, value in latents.items() if same(key, pose))
            colours, shape = run.decode(found[None])
            rgb.append(_picture(colours)[0])
            normals.append(_picture(shape)[0])
    return ModelViews(np.stack(rgb), np.stack(normals), tuple(poses), photo_normals_rgb, unet_passes)


def _angles(poses: Sequence[Pose]) -> Float[Tensor, "v 3"]:
    return torch.from_numpy(model_angles_deg(poses)).float()


def _picture(x: Float[Tensor, "n 3 height width"]) -> Float[np.ndarray, "n height width 3"]:
    return ((x.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).float().cpu().numpy()
