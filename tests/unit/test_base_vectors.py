"""Planning with the base's own vectors, on a tiny random Llama."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from daemon.base_vectors import base_vectors
from daemon.settings import ModelSettings

WORDS = ["<eos>", "<unk>", "the", "capital", "of", "norland", "sudland", "is", "who", "leads"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", unk_token="<unk>").save_pretrained(
        path
    )
    return path


def test_a_prompt_has_the_same_vector_whatever_it_is_embedded_with(folder: Path) -> None:
    settings = ModelSettings(path=str(folder), device="cpu")
    texts = ["the capital of norland is", "who leads sudland", "the capital of sudland is"]
    together = base_vectors(texts, settings)
    assert together.shape == (3, 16)
    alone = np.concatenate([base_vectors([text], settings) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert not np.allclose(together[0], together[1])
