"""Data-parallel prompt tuning, for one process or several: ``torchrun ... OUT`` trains each case.

`CASES` maps a name to a function that trains a prompt from a fixed start on a fixed global batch
and returns it; each process takes its share of the batch.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_lm import DIM, WORDS, tiny_model
from torch.nn.parallel import DistributedDataParallel

import tsloss_fast as tsl

N, ROWS, LENGTH, STEPS = 6, 8, 9, 6
WEIGHT = 5.0  # of TSLoss, so that leaving it out would show


def rank_and_world():
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def global_batch(step, same_counts):
    """ROWS sequences; their targets begin at the same place, or each at its own."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(3, len(WORDS), (ROWS, LENGTH), generator=generator)
    labels = ids.clone()
    for row in range(ROWS):
        labels[row, : 3 if same_counts else 1 + row] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def my_share(batch):
    rank, world = rank_and_world()
    return {name: x.chunk(world)[rank] for name, x in batch.items()}


def start():
    return torch.randn(N, DIM, generator=torch.Generator().manual_seed(1))


def prompt_tuned(mode):
    soft_prompt = tsl.SoftPrompt(N, DIM, init=start())
    return tsl.PromptTunedLM(tiny_model(), soft_prompt, tsl.TSLoss(mode, lambda_ts=WEIGHT))


def train(model, parameters, after_backward=lambda: None):
    optimizer = torch.optim.AdamW(parameters, lr=0.02)
    for step in range(STEPS):
        optimizer.zero_grad()
        model(**my_share(global_batch(step, same_counts=True))).loss.backward()
        after_backward()
        optimizer.step()


def ddp(mode):
    lm = prompt_tuned(mode)
    wrapped = DistributedDataParallel(lm) if rank_and_world()[1] > 1 else lm
    train(wrapped, [lm.soft_prompt.weight])
    return lm.soft_prompt.weight


def fsdp_frozen_model():
    """The frozen model is sharded; the prompt is whole, and its gradient averaged by hand."""
    lm = prompt_tuned("persistence")
    weight = lm.soft_prompt.weight

    def average():
        dist.all_reduce(weight.grad)
        weight.grad /= dist.get_world_size()

    if rank_and_world()[1] == 1:
        train(lm, [weight])
        return weight
    from torch.distributed.fsdp import fully_shard

    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in lm.model.model.layers:
        fully_shard(layer, mesh=mesh)
    # The root is what is called, for PromptTunedLM looks up embeddings before it calls the model.
    fully_shard(lm, mesh=mesh, ignored_params={weight})
    shard = lm.model.model.layers[0].mlp.up_proj.weight.to_local()
    assert len(shard) * dist.get_world_size() == 24  # intermediate_size of the tiny model
    train(lm, [weight], average)
    return weight


def peft_model():
    import peft

    from tsloss_fast.integrations.peft import add_tsloss

    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=N)
    model = peft.get_peft_model(tiny_model(), config)
    weight = model.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        weight.copy_(start())
    add_tsloss(model, tsl.TSLoss(lambda_ts=WEIGHT))
    return model, weight


def fsdp_whole_peft_model():
    """FSDP shards the prompt too; the encoder's output, which TSLoss takes, is whole."""
    model, weight = peft_model()
    if rank_and_world()[1] == 1:
        train(model, [weight])
        return weight
    from torch.distributed.fsdp import fully_shard

    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(model, mesh=mesh)
    sharded = model.prompt_encoder["default"].embedding.weight
    assert len(sharded.to_local()) == N // dist.get_world_size()
    train(model, [sharded])
    return sharded.full_tensor()


def trainer(accumulate):
    """Trainer with unequal numbers of targets, which it sums over processes and micro-batches."""
    from transformers import Trainer, TrainingArguments

    model, weight = peft_model()
    rows = global_batch(0, same_counts=False)
    arguments = TrainingArguments(
        "unused",
        max_steps=STEPS,
        per_device_train_batch_size=ROWS // accumulate // rank_and_world()[1],
        gradient_accumulation_steps=accumulate,
        learning_rate=0.02,
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    data = [{name: x[row] for name, x in rows.items()} for row in range(ROWS)]
    Trainer(model, arguments, train_dataset=data).train()
    return weight


CASES = {
    "ddp-persistence": lambda: ddp("persistence"),
    "ddp-surrogate": lambda: ddp("surrogate"),
    "fsdp-frozen-model": fsdp_frozen_model,
    "fsdp-whole-peft-model": fsdp_whole_peft_model,
    "trainer": lambda: trainer(1),
    "trainer-accumulating": lambda: trainer(2),
}


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    prompts = {name: case().detach().clone() for name, case in CASES.items()}
    torch.save(prompts, Path(sys.argv[1]) / f"rank_{os.environ['RANK']}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
