"""Recordings as the original code's are laid out, of ``statement`` on another configuration than theirs.

Five views, the photo at position 2, elevations, three levels, other widths and heads, an autoencoder that shrinks by
four, pictures of 64 pixels. What the recordings of the original code prove to the bit (rays, noise levels, the real
vocabulary) is not recorded again.
"""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spinmeround.diffusion.model.pose_map import pose_maps
from spinmeround.diffusion.sampling import schedules
from tests.diffusion import tiny
from tests.diffusion.statement import Unet, Vae, euler, guided_step, normals_step, text_tokens

POSES = ((0, 0), (10, 72), (-15, 144), (20, 216), (5, 288))
"""The model's own turns about x and y, degrees."""
GIVEN, SCALE, STEPS, NORMALS_STEPS, SEED = 2, 2.0, 3, 2, 7
SIZE, SMALLER = 64, 4
HEADS, TEXT_HEADS, WIDTH = 4, 8, 576
WORDS = ("photo", "of", "a", "id", "person")


def config() -> dict:
    """The configuration, with the text encoder apart as the published code has it."""
    made = copy.deepcopy(tiny.CONFIG)
    made["model"]["params"]["scale_factor"] = 0.2
    made["model"]["params"]["network_config"]["params"] |= {
        "model_channels": 32,
        "channel_mult": [1, 2, 3],
        "attention_resolutions": [4, 2, 1],
        "num_res_blocks": 2,
        "num_heads": HEADS,
        "context_dim": WIDTH,
    }
    made["model"]["params"]["first_stage_config"]["params"]["ddconfig"] |= {"ch_mult": [1, 2, 2], "num_res_blocks": 2}
    vocabulary = len(_vocabulary())
    made["text_encoder"] |= {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": TEXT_HEADS,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
    return made


def record(folder: Path) -> None:
    """Writes all files."""
    looks = config()
    tensors = _weights(looks)
    torch.save({"state_dict": tensors}, folder / "spmr.ckpt")
    encoder, tokenizer = folder / "models" / "encoder", folder / "tokenizer"
    encoder.mkdir(parents=True)
    tokenizer.mkdir()
    (encoder / "config.json").write_text(json.dumps(looks.pop("text_encoder")), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"inference_config": looks}), encoding="utf-8")
    (tokenizer / "vocab.json").write_text(json.dumps(_vocabulary()), encoding="utf-8")
    (tokenizer / "merges.txt").write_text("#version: 0.2\n" + "\n".join(_merges()) + "\n", encoding="utf-8")

    unet, vae = Unet(tensors, heads=lambda _width: HEADS), Vae(tensors, scale=0.2)
    with torch.inference_mode():
        identity = _identity(tensors)
        _write(folder, "identity", identity)
        _write(folder, "unet", _unet(unet))
        _write(folder, "vae", _vae(vae))
        _write(folder, "cfg_step", _guided_steps(unet, identity))
        _write(folder, "pipeline", _pipeline(unet, vae, identity))


def photo_guidance() -> float:
    """The step of the published size, 8 × 64 × 64 latents, for the mean over these fewer ones."""
    return 1e5 * (SIZE / SMALLER / 64) ** 2


def _weights(looks: dict) -> dict[str, Tensor]:
    """Random ones; biases and the scales of norms as well, so that none can stand for another unnoticed."""
    draw = torch.Generator().manual_seed(5)
    return {
        key: value + 0.2 * torch.randn(value.shape, generator=draw).half() if value.ndim == 1 else value
        for key, value in tiny.tensors(looks, seed=5).items()
    }


def _identity(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    numbers = _vocabulary()
    begin, end = numbers["<|startoftext|>"], numbers["<|endoftext|>"]
    sentence = [begin, *(numbers[f"{word}</w>"] for word in WORDS), end]
    ids, none = (torch.tensor([[*words, *[end] * (77 - len(words))]]) for words in (sentence, [begin]))
    face = _drawn(1, 512, seed=1)
    face = face / face.norm()
    face_id = numbers["id</w>"]

    def encode(words: Tensor) -> Tensor:
        return text_tokens(tensors, words, face=face, face_id=face_id, heads=TEXT_HEADS)

    return {
        "id_emb": face,
        "input_ids": ids,
        "input_ids_uncond": none,
        "id_token": torch.tensor([face_id]),
        "cond": encode(ids),
        "uncond": encode(none),
        "mixed": encode(torch.cat([ids, none])),
    }


def _unet(unet: Unet) -> dict[str, Tensor]:
    made = {}
    for name, rows, views, height, width in (("v1", 2, 1, 8, 8), ("v3", 3, 3, 8, 8), ("v2hw", 4, 2, 8, 12)):
        x, context = _drawn(rows, 153, height, width, seed=rows).half(), _drawn(rows, 77, WIDTH, seed=rows + 9).half()
        level = _drawn(rows, seed=rows + 19)
        out = unet(x.float(), level, context.float(), views=views)
        made |= {f"{name}_{k}": v for k, v in (("x", x), ("t", level), ("ctx", context), ("out", out))}
        made[f"{name}_frames"] = torch.tensor(views)
    return made


def _vae(vae: Vae) -> dict[str, Tensor]:
    image, noise = _drawn(2, 3, 32, 48, seed=31).clamp(-1, 1), _drawn(2, 4, 8, 12, seed=32)
    latents = _drawn(2, 4, 8, 12, seed=33)
    encoded, decoded = vae.encode(image, noise), vae.decode(latents)
    return {"image": image, "posterior_noise": noise, "z_scaled": encoded, "z_in": latents, "decoded": decoded}


def _guided_steps(unet: Unet, identity: dict[str, Tensor]) -> dict[str, Tensor]:
    angles = torch.tensor(POSES, dtype=torch.float32)
    rays = _rays(angles, 8)
    mask = torch.ones(len(POSES))
    mask[GIVEN] = 0
    made = {
        "gt_z": _drawn(1, 8, 8, 8, seed=41),
        "empty": _drawn(1, 4, 8, 8, seed=42).repeat(1, 2, 1, 1),
        "mask": mask,
        "angles": angles,
        "scale": torch.tensor(SCALE),
        "cond_images_f32": torch.cat([rays, mask[:, None, None, None].expand(-1, 1, 8, 8)], 1),
        "crossattn": identity["cond"],
        "crossattn_uc": identity["uncond"],
    }
    for k, (sigma, following) in enumerate(torch.tensor([[700.0, 400], [3.7, 2.1], [0.05, 0]])):
        x = _drawn(len(POSES), 8, 8, 8, seed=50 + k) * (1 + sigma**2).sqrt()
        step = _step(unet, x, sigma, made["gt_z"], made["empty"], rays, identity, SCALE)
        made |= {f"{name}_{k}": step[key] for name, key in (("net_x", "seen"), ("net_t", "level"), ("net_out", "out"))}
        made |= {f"x_{k}": x, f"denoised_uc_c_{k}": step["halves"], f"sigmas_{k}": torch.stack([sigma, following])}
        made[f"x_next_{k}"] = euler(x, step["guided"], sigma, following)
    return made


def _pipeline(unet: Unet, vae: Vae, identity: dict[str, Tensor]) -> dict[str, Tensor]:
    size, angles = SIZE // SMALLER, torch.tensor(POSES, dtype=torch.float32)
    picture = (torch.rand(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(60)) * 255).byte()
    photo = picture.permute(2, 0, 1)[None].float() / 127.5 - 1
    draw = torch.Generator().manual_seed(SEED)
    names = {"input_noise": 8, "post_noise_image_for_normals": 4, "normals_noise": 8, "post_noise_image": 4,
             "post_noise_normals": 4, "post_noise_empty": 4}  # fmt: skip
    noise = {name: torch.randn(1, channels, size, size, generator=draw) for name, channels in names.items()}

    latents, rays = vae.encode(photo, noise["post_noise_image_for_normals"]), _rays(torch.zeros(1, 2), size)
    sigmas = schedules.ddpm_sigmas(NORMALS_STEPS)
    x, xs, cleans = noise["normals_noise"] * (1 + sigmas[0] ** 2).sqrt(), [], []
    for sigma, following in pairwise(sigmas):
        clean = normals_step(unet, x, sigma, photo=latents, rays=rays, cond=identity["cond"], step=photo_guidance())
        x = euler(x, clean, sigma, following)
        xs.append(x)
        cleans.append(clean)
    normals = vae.decode(x[:, 4:]).clamp(-1, 1)
    encoded = [vae.encode(photo, noise["post_noise_image"]), vae.encode(normals, noise["post_noise_normals"])]
    z = torch.cat(encoded, 1)
    empty = vae.encode(torch.zeros_like(photo), noise["post_noise_empty"]).repeat(1, 2, 1, 1)

    sigmas = schedules.edm_sigmas(STEPS)
    views = noise["input_noise"].repeat(len(POSES), 1, 1, 1) * (1 + sigmas[0] ** 2).sqrt()
    steps = []
    for sigma, following in pairwise(sigmas):
        step = _step(unet, views, sigma, z, empty, _rays(angles, size), identity, SCALE)
        views = euler(views, step["guided"], sigma, following)
        steps.append(views[:, :, ::2, ::2])
    final = views.clone()
    final[GIVEN] = z[0]
    return {
        **noise,
        **{name: torch.tensor(value) for name, value in (("scale", SCALE), ("num_steps", STEPS), ("seed", SEED),
                                                        ("normals_steps", NORMALS_STEPS), ("input_pos", GIVEN))},
        "image_u8": picture,
        "id_emb": identity["id_emb"],
        "angles": angles,
        "normals_x_steps": torch.stack(xs),
        "normals_x0_steps": torch.stack(cleans),
        "input_normals_f16": normals.half(),
        "z": z,
        "mv_latents": final,
        "mv_x_steps_views": torch.stack(steps),
        "samples_u8": _bytes(vae.decode(final[:, :4])),
        "normals_u8": _bytes(vae.decode(final[:, 4:])),
    }  # fmt: skip


def _step(unet: Unet, x, sigma, clean, empty, rays, identity, scale) -> dict[str, Tensor]:
    cond, uncond = identity["cond"], identity["uncond"]
    return guided_step(unet, x, sigma, given=[GIVEN], clean=clean, empty=empty, rays=rays, cond=cond,
                       uncond=uncond, scale=scale)  # fmt: skip


def _rays(angles: Tensor, size: int) -> Tensor:
    return pose_maps(torch.cat([angles, torch.zeros(len(angles), 1)], 1), height=size, width=size)


def _bytes(pictures: Tensor) -> Tensor:
    return ((pictures[:, :, ::2, ::2].clamp(-1, 1) + 1) * 127.5).round().byte()


def _drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _merges() -> list[str]:
    """How byte pair encoding puts the words together, letter by letter."""
    lines = []
    for word in WORDS:
        letters = [*word[:-1], word[-1] + "</w>"]
        lines += [f"{''.join(letters[:i])} {letters[i]}" for i in range(1, len(letters))]
    return lines


def _vocabulary() -> dict[str, int]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *(line.replace(" ", "") for line in _merges())]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def _write(folder: Path, name: str, arrays: dict[str, Tensor]) -> None:
    np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in arrays.items()})
