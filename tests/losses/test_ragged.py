"""Losses of clouds of different sizes, as their mean over what each cloud has alone."""

import math

import pytest
import torch
from clouds import cloud
from torch.autograd import gradcheck

from tsloss_fast import TSLoss, losses, reference, rips_persistence, total_persistence

SIZES = (9, 0, 3, 1, 14, 2)
MODES = ("persistence", "surrogate")


def by_their_mean(x):
    """A metric in which each distance depends on all of its cloud's."""
    D = torch.cdist(x, x)
    return D / (1 + D.mean())


OPTIONS = (
    {},
    {"scale": "mean"},
    {"reduction": "none"},
    {"lambda_ts": 0.3, "beta_h1": 2.5, "h1_power": 1.5},
    {"tau": 0.5, "alpha": 3.0, "lambda_repel": 2.0, "self_pairs": True},
    {"detach_scales": True, "scale": "mean"},
    {"metric": "cityblock"},
    {"metric": by_their_mean},
)


def some_clouds(dtype=torch.float64, sizes=SIZES):
    return [cloud("circle", max(m, 1), 3, seed, dtype)[:m] for seed, m in enumerate(sizes)]


def padded(clouds, more=2):
    x = torch.full((len(clouds), max(map(len, clouds)) + more, 3), math.nan, dtype=clouds[0].dtype)
    for rows, each in zip(x, clouds, strict=True):
        rows[: len(each)] = each
    return x, torch.tensor(list(map(len, clouds)))


class Loops(losses.TopologicalLoss):
    """A loss that the engine does not fuse, of two terms."""

    def terms(self, x):
        h0, h1 = rips_persistence(x)
        return {"h0": h0.deaths.sum(-1), "h1": total_persistence(h1, p=2)}


def of_each(loss, clouds):
    """Losses and gradients of each cloud alone; 0 for one without points."""
    values, slopes = [], []
    for one in clouds:
        one = one.clone().requires_grad_()
        value = loss(one) if len(one) else one.sum()
        value.backward()
        values.append(value.detach())
        slopes.append(one.grad)
    return torch.stack(values), slopes


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


def check(loss, clouds):
    """A list, a jagged tensor and a padded batch give what the clouds give one by one."""
    values, slopes = of_each(loss, clouds)
    share = 1 / len(clouds) if loss.reduction == "mean" else 1
    expected = values.mean() if loss.reduction == "mean" else values
    leaves = [x.clone().requires_grad_() for x in clouds]
    found = loss(leaves)
    close(found.detach(), expected)
    found.sum().backward()
    for leaf, slope in zip(leaves, slopes, strict=True):
        close(leaf.grad, share * slope)
    x, lengths = padded(clouds)
    x.requires_grad_()
    for call in (loss, lambda x, lengths: loss.start(x, lengths).result()):
        found = call(x, lengths=lengths)
        close(found.detach(), expected)
        x.grad = None
        found.sum().backward()
        for b, slope in enumerate(slopes):
            close(x.grad[b, : len(slope)], share * slope)
            assert x.grad[b, len(slope) :].eq(0).all()
    y = torch.nested.nested_tensor(clouds, layout=torch.jagged, requires_grad=True)
    found = loss(y)
    close(found.detach(), expected)
    found.sum().backward()
    close(y.grad.values(), share * torch.cat(slopes))


def option_id(options):
    return ", ".join(f"{key} {getattr(value, '__name__', value)}" for key, value in options.items())


@pytest.mark.parametrize("options", OPTIONS, ids=option_id)
@pytest.mark.parametrize("mode", MODES)
def test_tsloss_is_the_mean_of_each_cloud_alone(mode, options):
    check(TSLoss(mode, **options), some_clouds())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [None, "mean"])
def test_matrices_of_different_sizes(mode, scale):
    """In the exact loss with edges that are missing, which no mean counts."""
    matrices = [torch.cdist(x, x, p=1) for x in some_clouds()]
    if mode == "persistence":
        matrices = [D.masked_fill(D > 1.9, math.inf) for D in matrices]
    loss = TSLoss(mode, metric="precomputed", scale=scale, reduction="none")
    expected = [loss(D) if len(D) else torch.tensor(0.0).double() for D in matrices]
    close(loss(matrices), torch.stack(expected))
    padded_matrices = torch.full((len(matrices), 16, 16), math.nan, dtype=torch.float64)
    for rows, D in zip(padded_matrices, matrices, strict=True):
        rows[: len(D), : len(D)] = D
    lengths = torch.tensor(SIZES)
    leaf = padded_matrices.requires_grad_()
    found = loss(leaf, lengths=lengths)
    close(found.detach(), torch.stack(expected))
    found.sum().backward()
    for b, D in enumerate(matrices):
        alone = D.clone().requires_grad_()
        if len(D):
            loss(alone).backward()
            close(leaf.grad[b, : len(D), : len(D)], alone.grad)
        assert leaf.grad[b, len(D) :].eq(0).all()
    with pytest.raises(ValueError, match=r"^prompt\[1\]: expected a distance matrix"):
        loss([matrices[0], matrices[0][:3]])


def test_a_longest_edge_for_clouds_of_different_sizes():
    clouds, loss = some_clouds(), TSLoss(max_edge_length=0.9, reduction="none")
    expected = [loss(x) if len(x) else torch.tensor(0.0).double() for x in clouds]
    x, lengths = padded(clouds)
    for found in (loss(clouds), loss(x, lengths=lengths)):
        close(found, torch.stack(expected))


@pytest.mark.parametrize("scale", [None, "mean"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_loss_of_ones_own_gets_each_cloud_by_itself(scale, reduction):
    check(Loops(0.7, scale, reduction), some_clouds())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [None, "mean"])
def test_as_the_reference(mode, scale):
    clouds = some_clouds()
    x, lengths = padded(clouds)
    for reduction in ("mean", "none"):
        options = {"scale": scale, "reduction": reduction}
        expected, terms = reference.TSLoss(mode, **options)(clouds, return_terms=True)
        for arguments in ((clouds, True), (x, True, lengths)):
            found, found_terms = TSLoss(mode, **options)(*arguments)
            close(found, expected)
            assert found_terms.keys() == terms.keys()
            for name, term in terms.items():
                close(found_terms[name], term)
        close(reference.TSLoss(mode, **options)(x, lengths=lengths), expected)


@pytest.mark.parametrize("mode", MODES)
def test_surrogate_and_persistence_losses_too(mode):
    clouds, loss = some_clouds(), losses.tsloss.LOSSES[mode]()
    assert loss(clouds) == TSLoss(mode)(clouds)


@pytest.mark.parametrize("mode", MODES)
def test_compiled_and_mapped_as_eager(mode):
    x, lengths = padded(some_clouds())
    loss = TSLoss(mode, reduction="none")
    expected = loss(x, lengths=lengths)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    leaf = x.clone().requires_grad_()
    found = compiled(leaf, lengths=lengths)
    close(found.detach(), expected)
    found.sum().backward()
    one = TSLoss(mode)
    close(torch.func.vmap(lambda x, m: one(x, lengths=m))(x, lengths), expected)
    slopes = torch.func.vmap(torch.func.grad(lambda x, m: one(x, lengths=m)))(x, lengths)
    eager = x.clone().requires_grad_()
    loss(eager, lengths=lengths).sum().backward()
    close(leaf.grad, eager.grad)
    close(slopes, eager.grad)
    _, along = torch.func.jvp(lambda x: loss(x, lengths=lengths).sum(), (x,), (torch.ones_like(x),))
    close(along, eager.grad.sum())


@pytest.mark.parametrize("mode", MODES)
def test_gradcheck(mode):
    x, lengths = padded(some_clouds(sizes=(6, 1, 4)))
    x = x.nan_to_num(3.0).requires_grad_()
    assert gradcheck(lambda x: TSLoss(mode)(x, lengths=lengths), x)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_dtypes(mode, dtype):
    clouds = [x.to(dtype).requires_grad_() for x in some_clouds()]
    loss = TSLoss(mode)(clouds)
    assert loss.dtype == torch.float32
    loss.backward()
    exact = TSLoss(mode)([x.detach().double() for x in clouds])
    assert abs(loss - exact) <= 1e-5 * exact
    for x in clouds:
        assert x.grad.dtype == dtype
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("mode", MODES)
def test_batches_without_a_cloud(mode):
    none, lengths = torch.empty(0, 4, 3), torch.empty(0, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^prompt: expected at least one cloud"):
        TSLoss(mode)(none, lengths=lengths)
    assert TSLoss(mode, reduction="none")(none, lengths=lengths).shape == (0,)
    with pytest.raises(ValueError, match=r"^prompt: expected at least one cloud"):
        Loops()(none, lengths=lengths)
    assert Loops(reduction="none")(none, lengths=lengths).shape == (0,)
