"""A whole step of prompt tuning as one CUDA graph: model, exact TSLoss, backward and optimizer.

Run as ``python examples/step_as_graph.py``; needs a CUDA device of compute capability 8.0. The
model is a small frozen transformer with random weights, for what is shown is the time of a step.
"""

import argparse
import sys
import time

import torch
from torch import nn

import tsloss_fast as tsl

N, D, VOCABULARY, BATCH, LENGTH = 100, 512, 1000, 8, 64

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--steps", type=int, default=200, help="steps of each way (200)")
steps = parser.parse_args().steps
if not torch.cuda.is_available():
    sys.exit("This example needs a CUDA device.")

torch.manual_seed(0)
layer = nn.TransformerEncoderLayer(D, 8, 4 * D, dropout=0.0, batch_first=True, norm_first=True)
model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).cuda().requires_grad_(False)
table = torch.randn(VOCABULARY, D, device="cuda")
text = torch.randint(VOCABULARY, (BATCH, LENGTH), device="cuda")
mask = nn.Transformer.generate_square_subsequent_mask(N + LENGTH, device="cuda")
ts_loss = tsl.TSLoss(h1="device")


def start() -> tuple[nn.Parameter, torch.optim.Optimizer]:
    """The same prompt each time, and an optimizer that a graph can capture."""
    rows = torch.randn(N, D, generator=torch.Generator().manual_seed(1)).cuda()
    prompt = nn.Parameter(rows)
    return prompt, torch.optim.AdamW([prompt], lr=1e-3, capturable=True)


def step(prompt: nn.Parameter, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """One step; nothing in it waits for the device."""
    optimizer.zero_grad(set_to_none=True)
    rows = torch.cat((prompt.expand(BATCH, -1, -1), table[text]), dim=1)
    logits = model(rows, mask=mask)[:, N - 1 : -1] @ table.T
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), text.flatten()) + ts_loss(prompt)
    loss.backward()
    optimizer.step()
    return loss.detach()


def seconds_a_step(run) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


prompt, optimizer = start()
side = torch.cuda.Stream()
side.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(side):
    # The first steps compile kernels and allocate what lasts.
    for _ in range(3):
        step(prompt, optimizer)
    called = seconds_a_step(lambda: step(prompt, optimizer))
torch.cuda.current_stream().wait_stream(side)

prompt, optimizer = start()
with torch.cuda.stream(side):
    step(prompt, optimizer)
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph, stream=side):
    loss = step(prompt, optimizer)
replayed = seconds_a_step(graph.replay)

print(f"{torch.cuda.get_device_name()}: {1e3 * called:.2f} ms a step as it is called")
print(f"{1e3 * replayed:.2f} ms a step as one replay of a graph; loss now {loss.item():.4f}")
print(f"a cloud had more classes than there is room for: {bool(ts_loss.h1_overflow.any())}")
