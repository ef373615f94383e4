"""Data-parallel prompt tuning, for one process or several: ``torchrun ... OUT`` trains each case.

Names of cases after ``OUT`` choose some. `CASES` maps a name to a function that trains a prompt
from a fixed start on a fixed global batch and returns it; each process takes its share of it.
"""

import os
import sys
import tempfile
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


def average(weight):
    """The mean over the processes of a gradient that FSDP was told to leave alone."""
    dist.all_reduce(weight.grad)
    weight.grad /= dist.get_world_size()


def fsdp_frozen_model():
    """The frozen model is sharded; the prompt is whole, and its gradient averaged by hand."""
    lm = prompt_tuned("persistence")
    weight = lm.soft_prompt.weight
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
    train(lm, [weight], lambda: average(weight))
    return weight


def fsdp_whole_prompt_tuned():
    """FSDP shards the prompt with the module that reads it, and resizes its storage."""
    lm = prompt_tuned("persistence")
    from torch.distributed.fsdp import fully_shard

    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(lm, mesh=mesh)
    sharded = lm.soft_prompt.weight
    assert len(sharded.to_local()) == N // dist.get_world_size()
    train(lm, [sharded])
    return sharded.full_tensor()


def fsdp1_whole_prompt_tuned():
    """The same with FSDP's first version."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    lm = FullyShardedDataParallel(
        prompt_tuned("persistence"), device_id=torch.device("cpu"), use_orig_params=True
    )
    weight = lm.module.soft_prompt.weight
    # Shared out with all other parameters, it may lie with one process alone.
    numbers = torch.tensor(weight.numel())
    dist.all_reduce(numbers)
    assert numbers == N * DIM
    train(lm, [weight])
    with FullyShardedDataParallel.summon_full_params(lm):
        return weight.detach().clone()


def fsdp1_frozen_model():
    """The same with FSDP's first version."""
    lm = prompt_tuned("persistence")
    weight = lm.soft_prompt.weight
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    sharded = FullyShardedDataParallel(
        lm,
        device_id=torch.device("cpu"),
        ignored_states=[weight],
        auto_wrap_policy=ModuleWrapPolicy({type(lm.model.model.layers[0])}),
    )
    shards = [p for p in sharded.parameters() if p is not weight]
    assert all(p.ndim == 1 for p in shards)
    whole = sum(p.numel() for p in tiny_model().parameters())
    assert sum(p.numel() for p in shards) < 0.6 * whole
    train(sharded, [weight], lambda: average(weight))
    return weight


def peft_model():
    import peft

    from tsloss_fast.prompt.peft import add_tsloss

    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=N)
    model = peft.get_peft_model(tiny_model(), config)
    weight = model.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        weight.copy_(start())
    return model, weight, add_tsloss(model, tsl.TSLoss(lambda_ts=WEIGHT))


def fsdp_whole_peft_model():
    """FSDP shards the prompt too; the encoder's output, which TSLoss takes, is whole."""
    model, weight, _ = peft_model()
    if rank_and_world()[1] == 1:
        train(model, [weight])
        return weight
    from torch.distributed.fsdp import fully_shard

    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(model, mesh=mesh)
    sharded = model.prompt_encoder["default"].embedding.weight
    assert len(sharded.to_local()) == N // dist.get_world_size()
    train(model, [sharded])
    whole = sharded.full_tensor()
    MONITORED["fsdp-whole-peft-model"] = monitored(model, sharded), monitored(whole)
    return whole


def fsdp1_whole_peft_model():
    """The same with FSDP's first version, wrapped by PEFT's policy, as accelerate does."""
    from peft.utils.other import fsdp_auto_wrap_policy
    from torch.distributed.fsdp import FullyShardedDataParallel

    os.environ["FSDP_TRANSFORMER_CLS_TO_WRAP"] = "LlamaDecoderLayer"

    def wrapped(use_orig_params):
        model, _, _ = peft_model()
        return FullyShardedDataParallel(
            model,
            device_id=torch.device("cpu"),
            auto_wrap_policy=fsdp_auto_wrap_policy(model),
            use_orig_params=use_orig_params,
        )

    sharded = wrapped(use_orig_params=True)
    weight = sharded.module.prompt_encoder["default"].embedding.weight
    assert weight.numel() == N * DIM // dist.get_world_size()
    train(sharded, [weight])
    refused = monitored(sharded, weight, wrapped(use_orig_params=False))
    with FullyShardedDataParallel.summon_full_params(sharded):
        MONITORED["fsdp1-whole-peft-model"] = refused, monitored(weight)
        return weight.detach().clone()


def monitored(*sources):
    """What TopologyMonitor says of each source: the record's shape, or an error."""
    with tempfile.TemporaryDirectory() as folder:
        monitor = tsl.TopologyMonitor(Path(folder, "topology.jsonl"))
        said = []
        for source in sources:
            try:
                record = monitor(0, source)
                said.append(record and record["shape"])
            except (TypeError, ValueError) as error:
                said.append(str(error))
        return said


def accelerated():
    """A loop with accelerate, which wraps the model and shares out the batches."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, weight, _ = peft_model()
    rows = [
        {name: x[row] for name, x in global_batch(step, same_counts=True).items()}
        for step in range(STEPS)
        for row in range(ROWS)
    ]
    size = ROWS // accelerator.num_processes
    wrapped, optimizer, loader = accelerator.prepare(
        model,
        torch.optim.AdamW([weight], lr=0.02),
        torch.utils.data.DataLoader(rows, batch_size=size),
    )
    for batch in loader:
        optimizer.zero_grad()
        accelerator.backward(wrapped(**batch).loss)
        optimizer.step()
    return weight


def trainer(accumulate, model, weight, handle=None, own_loss=False):
    """Trainer with unequal numbers of targets, which it sums over processes and micro-batches.

    TSLoss is attached to it by its `handle`, where that is given. With `own_loss` it drops
    outputs.loss, as the trainers of TRL do, and builds it from logits.
    """
    from transformers import Trainer, TrainingArguments

    class OwnLoss(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            logits = model(**inputs).logits[:, N:-1].flatten(0, 1)
            labels = inputs["labels"][:, 1:].flatten()
            total = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
            return total / num_items_in_batch * self.accelerator.num_processes

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
    running = (OwnLoss if own_loss else Trainer)(model, arguments, train_dataset=data)
    if handle is not None:
        handle.attach(running)
    running.train()
    return weight


def trainer_of_module(accumulate):
    lm = prompt_tuned("persistence")
    return trainer(accumulate, lm, lm.soft_prompt.weight)


# What TopologyMonitor says of a sharded prompt, and of the whole one, by case.
MONITORED = {}

CASES = {
    "ddp-persistence": lambda: ddp("persistence"),
    "ddp-surrogate": lambda: ddp("surrogate"),
    "fsdp-frozen-model": fsdp_frozen_model,
    "fsdp-whole-prompt-tuned": fsdp_whole_prompt_tuned,
    "fsdp1-whole-prompt-tuned": fsdp1_whole_prompt_tuned,
    "fsdp-whole-peft-model": fsdp_whole_peft_model,
    "fsdp1-frozen-model": fsdp1_frozen_model,
    "fsdp1-whole-peft-model": fsdp1_whole_peft_model,
    "accelerate": accelerated,
    "trainer": lambda: trainer(1, *peft_model()[:2]),
    "trainer-accumulating": lambda: trainer(2, *peft_model()[:2]),
    "trainer-attached": lambda: trainer(2, *peft_model()),
    "trainer-attached-own-loss": lambda: trainer(2, *peft_model(), own_loss=True),
    "trainer-of-module": lambda: trainer_of_module(1),
    "trainer-of-module-accumulating": lambda: trainer_of_module(2),
}


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    out, *names = sys.argv[1:]
    prompts = {name: CASES[name]().detach().clone() for name in names or CASES}
    prompts["monitored"] = MONITORED
    torch.save(prompts, Path(out) / f"rank_{os.environ['RANK']}.pt")
    dist.destroy_process_group()
    # Seen once in 21 runs: on its way out a process aborts over a thread of gloo's, and torchrun
    # takes that for a failure of both.
    os._exit(0)


if __name__ == "__main__":
    main()
