"""Text conditioning: a prompt in which one token is replaced by the identity (Arc2Face, arXiv 2403.11641)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from spinmeround.errors import WeightsError

if TYPE_CHECKING:
    from transformers import CLIPTextModel

PROMPT, _ID_WORD = "photo of a id person", "id"
"""Arc2Face's prompt, and the word in it that the identity replaces."""
_LENGTH = 77
"""Tokens of CLIP's text encoder."""


@dataclass(frozen=True)
class Prompt:
    """The prompt as token ids of a vocabulary.

    Attributes:
        words: of the prompt, begin and end included, before padding.
        id_word: the token that the identity replaces.
        begin, end: of the vocabulary; the end is also the padding.
    """

    words: tuple[int, ...]
    id_word: int
    begin: int
    end: int

    def token_ids(self) -> Int[Tensor, "1 77"]:
        """Return the ids of the prompt."""
        return self._padded(self.words)

    def empty_token_ids(self) -> Int[Tensor, "1 77"]:
        """Return the ids of the empty prompt, for the unconditional prediction."""
        return self._padded((self.begin,))

    def _padded(self, words: Sequence[int]) -> Int[Tensor, "1 77"]:
        return torch.tensor([[*words, *[self.end] * (_LENGTH - len(words))]])


PUBLISHED_PROMPT = Prompt(words=(49406, 1125, 539, 320, 1014, 2533, 49407), id_word=1014, begin=49406, end=49407)
"""In the vocabulary of CLIP ViT-L/14: the prompt never changes, so that no tokenizer is needed."""


def read_prompt(tokenizer: Path) -> Prompt:
    """Tokenize the prompt with another vocabulary.

    Args:
        tokenizer: folder with ``vocab.json`` and ``merges.txt``.

    Raises:
        WeightsError: the folder has no vocabulary with the id as one word.
    """
    from transformers import CLIPTokenizer

    try:
        reader = CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True)
        words = tuple(int(word) for word in reader(PROMPT).input_ids)
        (id_word,) = reader(_ID_WORD, add_special_tokens=False).input_ids
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"no CLIP vocabulary in {tokenizer} that has {_ID_WORD!r} as one word: {error}") from error
    return Prompt(words, int(id_word), begin=words[0], end=words[-1])


@torch.inference_mode()
def encode_prompt(
    encoder: CLIPTextModel, ids: Int[Tensor, "n 77"], *, identity: Float[Tensor, "n e"], id_word: int
) -> Float[Tensor, "n 77 d"]:
    """Encode prompts with the identity in the place of one token.

    Args:
        ids: of the prompts.
        identity: unit ArcFace embeddings, padded with zeros to the width of the encoder.
        id_word: the token of ``ids`` that ``identity`` replaces; prompts without it ignore ``identity``.
    """
    width = encoder.config.hidden_size
    weight = next(encoder.parameters())
    face = functional.pad(identity, (0, width - identity.shape[-1])).to(weight)
    is_face = (ids == id_word).to(weight.device)

    def insert_face(_module: torch.nn.Module, _inputs: tuple[Tensor, ...], words: Tensor) -> Tensor:
        return torch.where(is_face[..., None], face[:, None], words)

    handle = encoder.get_input_embeddings().register_forward_hook(insert_face)
    try:
        return encoder(input_ids=ids.to(weight.device)).last_hidden_state.float()
    finally:
        handle.remove()
