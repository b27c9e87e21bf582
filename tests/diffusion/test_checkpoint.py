"""Weight files: what is read, what is refused and in which words, and that a saved folder is the same model."""

from __future__ import annotations

import json
import pickle

import pytest
import torch

from spinmeround.cli.convert import main as spmr_convert
from spinmeround.diffusion.model import checkpoint, networks
from spinmeround.diffusion.model.architecture import (
    build_text_encoder,
    build_unet,
    build_vae,
    from_published,
    published,
)
from spinmeround.diffusion.pipeline import SpinMeRoundPipeline
from spinmeround.errors import InputError, OutputError, ResourceError, WeightsError
from tests.diffusion import tiny

UNET_KEY = "model.diffusion_model.out.2.weight"
VAE_KEY = "first_stage_model.encoder.mid.attn_1.q.weight"
TEXT_KEY = "conditioner.embedders.0.encoder.text_model.final_layer_norm.weight"


@pytest.fixture(scope="module")
def state():
    return tiny.tensors()


def opened(folder, state, config=tiny.CONFIG):
    file, look = tiny.write(folder, state, config)
    return networks.from_single_file(file, config=look)


def all_tensors(parts) -> dict:
    return {
        f"{name}.{key}": value
        for name in ("unet", "vae", "text_encoder")
        for key, value in getattr(parts, name).state_dict().items()
    }


def same(one, other) -> bool:
    a, b = all_tensors(one), all_tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_published_model_has_the_published_size():
    look = published()
    millions = [
        sum(p.numel() for p in build(look).parameters()) / 1e6 for build in (build_unet, build_vae, build_text_encoder)
    ]
    assert millions == pytest.approx([859.96, 83.65, 123.06], abs=0.01)


def test_names_agree_with_the_libraries_own(state):
    """diffusers converts checkpoints laid out like this one too, in another way."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    look = from_published(tiny.CONFIG)
    theirs = convert_ldm_unet_checkpoint(dict(state), dict(look.unet))
    ours = checkpoint.unet_names(build_unet(look).state_dict(), blocks=1)
    assert theirs.keys() == ours.keys()
    assert all(theirs[key] is state[ours[key]] for key in ours)
    theirs = convert_ldm_vae_checkpoint(dict(state), dict(look.vae))
    ours = checkpoint.vae_names(build_vae(look).state_dict(), levels=4)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key].flatten(), state[ours[key]].flatten()) for key in ours)


def test_convert_save_and_reload_change_nothing(tmp_path, state):
    file, look = tiny.write(tmp_path / "published", state)
    assert spmr_convert([str(file), "--out", str(tmp_path / "folder"), "--config", str(look), "--quiet"]) == 0
    once = networks.from_single_file(file, config=look)
    again = networks.load(tmp_path / "folder")
    assert same(once, again)
    assert once.prompt == again.prompt
    assert next(again.unet.parameters()).dtype == torch.float16  # as in the checkpoint
    networks.save(again, tmp_path / "folder")  # over itself
    assert same(once, networks.load(tmp_path / "folder"))


def test_the_libraries_open_the_folder(tmp_path, state):
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    parts = opened(tmp_path / "published", state)
    networks.save(parts, tmp_path / "folder")
    index = json.loads((tmp_path / "folder" / "model_index.json").read_text(encoding="utf-8"))
    assert index["_class_name"] == "SpinMeRoundPipeline"
    with torch.inference_mode(False):
        for kind, name in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"), (CLIPTextModel, "text_encoder")):
            assert index[name][1] == kind.__name__
            theirs = kind.from_pretrained(
                tmp_path / "folder" / name, local_files_only=True, torch_dtype=torch.float16
            ).state_dict()
            ours = getattr(parts, name).state_dict()
            assert theirs.keys() == ours.keys()
            assert all(torch.equal(theirs[key], ours[key]) for key in ours)


@pytest.mark.parametrize("layout", ["text_model.", "", "encoder.text_model."])
def test_text_encoder_of_either_transformers(tmp_path, state, layout):
    long = checkpoint.TEXT_PREFIX + "encoder.text_model."
    renamed = {key.replace(long, checkpoint.TEXT_PREFIX + layout): value for key, value in state.items()}
    renamed[f"{checkpoint.TEXT_PREFIX}{layout}embeddings.position_ids"] = torch.arange(77)[None]
    assert same(opened(tmp_path / "a", renamed), opened(tmp_path / "b", state))


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_text_encoder_beside_the_checkpoint(tmp_path, state, kind):
    from safetensors.torch import save_file

    whole = opened(tmp_path / "whole", state)
    without = {key: value for key, value in state.items() if not key.startswith(checkpoint.TEXT_PREFIX)}
    with pytest.raises(WeightsError, match=r"without a text encoder.*models.encoder.*Arc2Face"):
        opened(tmp_path / "apart", without)
    encoder = tmp_path / "apart" / "models" / "encoder"
    encoder.mkdir(parents=True)
    prefix = checkpoint.TEXT_PREFIX + "encoder."
    weights = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    (encoder / "config.json").write_text(json.dumps(tiny.TEXT_ENCODER), encoding="utf-8")
    if kind == "bin":
        torch.save(weights, encoder / "pytorch_model.bin")
    else:
        save_file(weights, encoder / "model.safetensors")
    assert same(opened(tmp_path / "apart", without), whole)


@pytest.mark.parametrize("key", [UNET_KEY, VAE_KEY, TEXT_KEY])
def test_a_missing_key_is_named(tmp_path, state, key):
    less = {name: value for name, value in state.items() if name != key}
    with pytest.raises(WeightsError, match=rf"lacks .*{key.split('.')[-2]}\.weight"):
        opened(tmp_path, less)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "first_stage_model.", checkpoint.TEXT_PREFIX])
def test_an_unknown_key_is_named(tmp_path, state, prefix):
    with pytest.raises(WeightsError, match=r"has unknown .*surplus\.weight"):
        opened(tmp_path, {**state, f"{prefix}surplus.weight": torch.zeros(1)})


@pytest.mark.parametrize("key", [UNET_KEY, VAE_KEY, TEXT_KEY])
def test_a_misshapen_key_is_named_with_both_shapes(tmp_path, state, key):
    with pytest.raises(WeightsError, match=r"another shape at .*\(\[7, 7\], not \["):
        opened(tmp_path, {**state, key: torch.zeros(7, 7, dtype=torch.float16)})


def test_only_the_first_few_keys_are_named(tmp_path, state):
    less = {key: value for key, value in state.items() if ".time_embed." not in key and ".out." not in key}
    with pytest.raises(WeightsError, match=r"lacks [^,]+, [^,]+, [^,]+, [^,]+ and \d+ more; is it the published"):
        opened(tmp_path, less)


@pytest.mark.parametrize("key", [UNET_KEY, VAE_KEY, TEXT_KEY])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path, state, key, value):
    spoilt = state[key].clone()
    spoilt.view(-1)[0] = value
    with pytest.raises(WeightsError, match=r"has NaN or infinity at .*weight; download or copy it again"):
        opened(tmp_path, {**state, key: spoilt})


def test_a_pickle_that_wants_to_run_code_does_not(tmp_path, capsys):
    mark = tmp_path / "it-ran"

    class Evil:
        def __reduce__(self):
            return mark.touch, ()

    file = tmp_path / "spmr.ckpt"
    torch.save({"state_dict": {"weight": Evil()}}, file)
    with pytest.raises(WeightsError, match=r"more than tensors \(getattr\), which could run code"):
        checkpoint.read_pickle(file)
    for protocol in (0, 2, 5):
        file.write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=protocol))
        with pytest.raises(WeightsError):
            checkpoint.read_pickle(file)
    assert spmr_convert([str(file), "--out", str(tmp_path / "folder")]) == WeightsError.exit_code
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not mark.exists()
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"is empty \(0 bytes\); download"),
        (b"PK\x03\x04 cut short", "is cut short or damaged"),
        (b"<html>\nnot found</html>", r"is no checkpoint \(a text that begins with '<html>'\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "begins with 'version https://git-lfs"),
        (b"text", "is no checkpoint"),
        (b"\x93NUMPY\x01\x00", "neither zip nor pickle"),
        (b"\x80\x02N.", "is cut short or damaged"),
        (b"\x80\x02}q", "is cut short or damaged"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, content, told):
    file = tmp_path / "spmr.ckpt"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"spmr\.ckpt.*{told}"):
        checkpoint.read_pickle(file)


def test_files_that_cannot_be_opened(tmp_path, monkeypatch):
    def refused(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    file, _ = tiny.write(tmp_path, {"a": torch.zeros(1)})
    monkeypatch.setattr(torch, "load", refused)
    with pytest.raises(WeightsError, match="cannot be read: permission denied"):
        checkpoint.read_pickle(file)
    with pytest.raises(WeightsError, match="is a folder; give the checkpoint itself"):
        checkpoint.read_pickle(tmp_path)


@pytest.mark.parametrize("loaded", [{}, [1, 2], {"state_dict": {}}, {"epoch": 3}, {5: torch.zeros(1)}])
def test_files_without_tensors(tmp_path, loaded):
    torch.save(loaded, tmp_path / "spmr.ckpt")
    with pytest.raises(WeightsError):
        checkpoint.read_pickle(tmp_path / "spmr.ckpt")


def test_a_cut_checkpoint(tmp_path, state):
    file, _ = tiny.write(tmp_path, state)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match=r"is cut short or damaged \(.*\); download or copy it again"):
        checkpoint.read_pickle(file)


def test_absent_files(tmp_path):
    with pytest.raises(WeightsError, match="no checkpoint at"):
        networks.from_single_file(tmp_path / "spmr.ckpt")
    with pytest.raises(WeightsError, match="spmr-convert"):
        networks.load(tmp_path)


def test_a_spoilt_folder(tmp_path, state):
    networks.save(opened(tmp_path / "published", state), tmp_path / "folder")
    weights = tmp_path / "folder" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="anew with spmr-convert"):
        networks.load(tmp_path / "folder")
    weights.unlink()
    with pytest.raises(WeightsError, match=r"no \.safetensors"):
        networks.load(tmp_path / "folder")


def test_a_folder_of_something_else(tmp_path, state):
    parts = opened(tmp_path / "published", state)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(OutputError, match="holds other files"):
        networks.save(parts, tmp_path / "mine")
    (tmp_path / "mine" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}', encoding="utf-8")
    with pytest.raises(WeightsError, match="StableDiffusionPipeline, not a SpinMeRoundPipeline"):
        networks.load(tmp_path / "mine")


def test_whole_numbers_are_no_weights(tmp_path, state):
    with pytest.raises(WeightsError, match=rf"whole numbers .* {UNET_KEY}"):
        opened(tmp_path, {**state, UNET_KEY: state[UNET_KEY].long()})


def test_numbers_are_counted_without_reading_them(tmp_path, state):
    parts = opened(tmp_path / "published", state)
    networks.save(parts, tmp_path / "folder")
    expected = sum(value.numel() for value in all_tensors(parts).values())
    assert checkpoint.count_numbers(tmp_path / "folder") == expected
    assert checkpoint.count_numbers(tmp_path / "published" / "spmr.ckpt") == expected


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory"), OSError(12, "no memory")])
@pytest.mark.parametrize("where", ["torch.load", "safetensors.torch.save_file"])
def test_converting_without_memory_is_one_line(tmp_path, state, monkeypatch, capsys, where, error):
    def fails(*_args, **_kwargs):
        raise error

    file, look = tiny.write(tmp_path / "published", state)
    monkeypatch.setattr(where, fails)
    command = [str(file), "--out", str(tmp_path / "folder"), "--config", str(look)]
    assert spmr_convert(command) == ResourceError.exit_code
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "not enough memory to convert" in told
    assert "close other programs" in told
    assert [entry.name for entry in tmp_path.iterdir()] == ["published"]


def test_converting_can_be_stopped(tmp_path, state, monkeypatch, capsys):
    def stopped(*_args, **_kwargs):
        raise KeyboardInterrupt

    file, look = tiny.write(tmp_path / "published", state)
    monkeypatch.setattr("safetensors.torch.save_file", stopped)
    assert spmr_convert([str(file), "--out", str(tmp_path / "folder"), "--config", str(look)]) == 130
    assert capsys.readouterr().err == "spmr-convert: stopped; no half-written file was left behind\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["published"]


def test_configurations_that_do_not_fit(tmp_path, state):
    broken = json.loads(json.dumps(tiny.CONFIG))
    broken["model"]["params"]["network_config"]["params"]["in_channels"] = 12
    with pytest.raises(InputError, match="12 input and 8 output channels"):
        opened(tmp_path / "a", state, broken)
    del broken["model"]["params"]["network_config"]["params"]["model_channels"]
    with pytest.raises(InputError, match="'model_channels'"):
        opened(tmp_path / "b", state, broken)
    file, look = tiny.write(tmp_path / "c", state)
    with pytest.raises(InputError, match=r"cannot read the model configuration .*no such file"):
        networks.from_single_file(file, config=tmp_path / "none.json")
    for text, told in (("{", "is no JSON or TOML"), ("[1]", "cannot be used"), ('{"model": 5}', "cannot be used")):
        look.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=f"the model configuration .*{told}"):
            networks.from_single_file(file, config=look)


@pytest.mark.parametrize(
    ("name", "value"),
    [("model_channels", 33), ("model_channels", "x"), ("channel_mult", []), ("context_dim", "a"), ("num_heads", 0)],
)
def test_networks_that_cannot_be_built(tmp_path, state, name, value):
    broken = json.loads(json.dumps(tiny.CONFIG))
    broken["model"]["params"]["network_config"]["params"][name] = value
    with pytest.raises(InputError, match=r"the model configuration (cannot be used|describes no networks)"):
        opened(tmp_path, state, broken)


@pytest.mark.parametrize("text", ["[]", "{", '{"foo": 1}', '{"in_channels": "x"}'])
def test_a_folder_with_a_broken_configuration(tmp_path, state, text):
    networks.save(opened(tmp_path / "published", state), tmp_path / "folder")
    (tmp_path / "folder" / "unet" / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match="make the folder anew with spmr-convert"):
        networks.load(tmp_path / "folder")


def test_parts_that_do_not_fit_each_other(tmp_path):
    narrow = {**tiny.CONFIG, "text_encoder": {**tiny.TEXT_ENCODER, "hidden_size": 64, "vocab_size": 600}}
    with pytest.raises(WeightsError, match=r"listens to width 512, the encoder has 64; .*512.*64; .*word 49407.*600"):
        opened(tmp_path, tiny.tensors(narrow), narrow)


def test_pipeline_opens_both_kinds(tmp_path, state):
    file, look = tiny.write(tmp_path / "published", state)
    once = SpinMeRoundPipeline.from_single_file(file, config=look)
    once.save_pretrained(tmp_path / "folder")
    again = SpinMeRoundPipeline.from_pretrained(tmp_path / "folder")
    assert same(once.parts, again.parts)
    assert {p.dtype for p in once.parts.unet.parameters()} == {torch.float32}
