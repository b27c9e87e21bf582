"""Who it is, as the network is told: a sentence with one word replaced by the face (Arc2Face, arXiv 2403.11641)."""

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

SENTENCE, _WORD = "photo of a id person", "id"
"""Arc2Face's prompt, and the word in it that the face takes the place of."""
_LENGTH = 77
"""Words CLIP's text encoder takes."""


@dataclass(frozen=True)
class Sentence:
    """The sentence as numbers of a vocabulary.

    Attributes:
        words: the sentence itself, begin and end included, before it is filled up.
        id_word: the number that stands for the face.
        begin, end: of the vocabulary; the end also fills up what is shorter than 77.
    """

    words: tuple[int, ...]
    id_word: int
    begin: int
    end: int

    def ids(self) -> Int[Tensor, "1 77"]:
        """The sentence."""
        return self._filled(self.words)

    def empty_ids(self) -> Int[Tensor, "1 77"]:
        """No sentence: what guidance leads away from."""
        return self._filled((self.begin,))

    def _filled(self, words: Sequence[int]) -> Int[Tensor, "1 77"]:
        return torch.tensor([[*words, *[self.end] * (_LENGTH - len(words))]])


PUBLISHED = Sentence(words=(49406, 1125, 539, 320, 1014, 2533, 49407), id_word=1014, begin=49406, end=49407)
"""By the vocabulary of CLIP ViT-L/14: the sentence never changes, so no tokenizer is needed."""


def read_sentence(tokenizer: Path) -> Sentence:
    """The sentence by another vocabulary.

    Args:
        tokenizer: folder with ``vocab.json`` and ``merges.txt``.

    Raises:
        WeightsError: the folder has no vocabulary that knows the words.
    """
    from transformers import CLIPTokenizer

    try:
        reader = CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True)
        words = tuple(int(word) for word in reader(SENTENCE).input_ids)
        (id_word,) = reader(_WORD, add_special_tokens=False).input_ids
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"no CLIP vocabulary in {tokenizer} that has {_WORD!r} as one word: {error}") from error
    return Sentence(words, int(id_word), begin=words[0], end=words[-1])


@torch.inference_mode()
def identity_tokens(
    encoder: CLIPTextModel, ids: Int[Tensor, "n 77"], *, identity: Float[Tensor, "n e"], id_word: int
) -> Float[Tensor, "n 77 d"]:
    """What the encoder makes of sentences in which the word for the face is the face.

    Args:
        identity: unit ArcFace embeddings, filled up with zeros to the width of the encoder.
        id_word: where ``ids`` has this, ``identity`` stands instead; sentences without it ignore ``identity``.
    """
    width = encoder.config.hidden_size
    weight = next(encoder.parameters())
    face = functional.pad(identity, (0, width - identity.shape[-1])).to(weight)
    is_face = (ids == id_word).to(weight.device)

    def put_face(_module: torch.nn.Module, _inputs: tuple[Tensor, ...], words: Tensor) -> Tensor:
        return torch.where(is_face[..., None], face[:, None], words)

    handle = encoder.get_input_embeddings().register_forward_hook(put_face)
    try:
        return encoder(input_ids=ids.to(weight.device)).last_hidden_state.float()
    finally:
        handle.remove()
