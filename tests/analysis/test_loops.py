"""The longest loops of a run: their rows and tokens, in the analysis and in its table."""

import csv
import json

import pytest
import torch
from clouds import cloud

import tsloss_fast as tsl
from tsloss_fast.analysis.loops import MOST_LOOPS, longest_loops
from tsloss_fast.analysis.run import analyze


def ring(n=12, radius=1.0):
    angle = torch.arange(n) * (2 * torch.pi / n)
    return radius * torch.stack((angle.cos(), angle.sin()), dim=-1)


def test_the_loop_of_a_ring_is_the_ring():
    (_, h1), cycles = tsl.representative_cycles(ring())
    (loop,) = longest_loops(h1, cycles)
    (walk,) = loop.walks
    steps = {(b - a) % 12 for a, b in zip(walk, [*walk[1:], walk[0]], strict=True)}
    assert sorted(walk) == list(range(12))
    assert steps in ({1}, {11})
    assert (loop.birth, loop.death) == (h1.births.item(), h1.deaths.item())
    assert {*loop.birth_edge} == {walk[0], walk[1]}


def test_the_longest_come_first_and_no_more_than_the_limit():
    x = cloud("gaussian", 60, 3, dtype=torch.float32)
    (_, h1), cycles = tsl.representative_cycles(x)
    assert len(h1.births) > MOST_LOOPS
    loops = longest_loops(h1, cycles)
    assert [loop.lifetime for loop in loops] == pytest.approx(
        h1.lifetimes.sort(descending=True).values[:MOST_LOOPS].tolist()
    )
    D = tsl.pairwise_distances(x)
    for loop in loops:
        edges = [
            (a, b) for walk in loop.walks for a, b in zip(walk, [*walk[1:], walk[0]], strict=True)
        ]
        assert max(D[a, b].item() for a, b in edges) == pytest.approx(loop.birth)
        assert loop.birth_edge in edges or loop.birth_edge[::-1] in edges


def test_a_cycle_may_be_several_closed_walks():
    (_, h1), _ = tsl.representative_cycles(ring())
    two = torch.tensor([[0, 1], [1, 2], [0, 2], [5, 6], [6, 7], [5, 7]])
    (loop,) = longest_loops(h1, [two])
    assert [sorted(walk) for walk in loop.walks] == [[5, 6, 7], [0, 1, 2]]
    assert sorted(loop.rows) == [0, 1, 2, 5, 6, 7]


class OneLetter:
    """A tokenizer whose tokens are a, b, c and so on; the last one has no text."""

    def convert_ids_to_tokens(self, token):
        return None if token == 12 else chr(97 + token)

    def decode(self, ids, clean_up_tokenization_spaces):
        return self.convert_ids_to_tokens(ids[0])


class Table(torch.nn.Module):
    """A model that is its embedding."""

    def __init__(self, rows):
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(rows)

    def get_input_embeddings(self):
        return self.table


@pytest.fixture
def folder(tmp_path):
    for epoch, x in enumerate((torch.ones(8, 2), ring(8), torch.cat((ring(8), ring(4) + 9)))):
        torch.save(x, tmp_path / f"soft_prompt_epoch_{epoch}.pt")
    return tmp_path


def read(folder):
    with (folder / "analysis" / "loops.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_line_for_each_loop(folder):
    result = analyze(folder, progress=False)
    assert [len(topology.loops) for topology in result.topologies] == [0, 1, 2]
    lines = read(folder)
    assert [(line["epoch"], line["loop"]) for line in lines] == [("1", "1"), ("2", "1"), ("2", "2")]
    loops = [loop for topology in result.topologies for loop in topology.loops]
    for line, loop in zip(lines, loops, strict=True):
        assert line["rows"] == " ".join(map(str, loop.rows))
        for name in ("birth", "death", "lifetime"):
            assert float(line[name]) == pytest.approx(getattr(loop, name), rel=1e-6)
    assert sorted(map(int, lines[2]["rows"].split())) == [8, 9, 10, 11]
    assert "tokens" not in lines[0]


def test_the_tokens_of_a_loop_stand_in_the_order_of_its_rows(folder):
    table = torch.cat((ring(8), ring(4) + 9, torch.full((1, 2), 50.0)))
    analyze(folder, loaded=(Table(table[[*range(8), 12, 9, 10, 11, 8]]), OneLetter()),
            progress=False)  # fmt: skip
    for line in read(folder):
        rows = list(map(int, line["rows"].split()))
        # Row 8 is the token without a text.
        wanted = [None if row == 8 else chr(97 + row) for row in rows]
        assert json.loads(line["tokens"]) == wanted
        assert line["distances"].split() == ["0"] * len(rows)
