"""Metrics of two processes, padded by their sampler, are those of one."""

import os
import socket

import pytest
import torch
import torch.multiprocessing as mp

from mindvis.errors import ConfigError, DataError
from mindvis.metrics import functional as M
from mindvis.metrics.classes import (
    MeanSquaredError,
    NWayAccuracy,
    PixelCorrelation,
    StructuralSimilarity,
    TwoWayIdentification,
)

SAMPLES, DRAWS, CLASSES = 7, 2, 12  # 7 samples on 2 processes: the sampler repeats one


def data():
    """The same in every process: pictures (samples, draws, ...), truths, opinions, targets."""
    generator = torch.Generator().manual_seed(3)
    truths = torch.rand(SAMPLES, 3, 9, 8, generator=generator)
    noise = torch.rand(SAMPLES, DRAWS, 3, 9, 8, generator=generator)
    opinions = torch.rand(SAMPLES, DRAWS, CLASSES, generator=generator)
    target = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    return 0.5 * truths[:, None] + 0.5 * noise, truths, opinions, target


def update_all(metrics, samples):
    pictures, truths, opinions, target = data()
    ids = torch.tensor(samples)
    for draw in range(DRAWS):
        draws = torch.full_like(ids, draw)
        for name in ("mse", "ssim", "correlation"):
            metrics[name].update(pictures[ids, draw], truths[ids], ids, draws)
        metrics["n_way"].update(opinions[ids, draw], target[ids], ids, draws)
    metrics["two_way"].update(pictures[ids, 0], truths[ids], ids)


def build():
    return {
        "mse": MeanSquaredError(),
        "ssim": StructuralSimilarity(),
        "correlation": PixelCorrelation(),
        "n_way": NWayAccuracy(5, 2),
        "two_way": TwoWayIdentification(),
    }


def expected():
    pictures, truths, opinions, target = data()
    return {
        "mse": M.mse(pictures, truths[:, None]).mean().item(),
        "ssim": torch.stack([M.ssim(pictures[:, d], truths) for d in range(DRAWS)]).mean().item(),
        "correlation": M.pixel_correlation(pictures, truths[:, None]).mean().item(),
        "n_way": M.n_way_accuracy(opinions, target[:, None].expand(-1, DRAWS), 5, 2).mean().item(),
        "two_way": M.two_way_identification(
            M.feature_correlation(pictures[:, 0], truths)
        ).mean().item(),
    }  # fmt: skip


def process(rank, port, queue):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    metrics = build()
    # as DistributedSampler deals: every second sample, the first again at the end
    padded = [*range(SAMPLES), 0]
    for batch in (padded[rank::2][:3], padded[rank::2][3:]):
        update_all(metrics, batch)
    queue.put((rank, {name: metric.compute().item() for name, metric in metrics.items()}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_agree_with_the_pure_functions_on_all_samples():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")
    queue = context.SimpleQueue()
    workers = [context.Process(target=process, args=(rank, port, queue)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for _ in workers:
        found = queue.get()[1]
        assert found == pytest.approx(expected(), abs=1e-6)


def test_one_process_that_scores_a_sample_twice_counts_it_once():
    metrics = build()
    update_all(metrics, [0, 1, 2])
    update_all(metrics, [2, 3, 4, 5, 6, 0])
    got = {name: metric.compute().item() for name, metric in metrics.items()}
    assert got == pytest.approx(expected(), abs=1e-6)


def test_samples_weigh_the_same_whatever_their_draws():
    metric = NWayAccuracy(5)
    opinions = torch.eye(CLASSES)[[0, 0, 1]]
    metric.update(
        opinions, torch.tensor([0, 0, 5]), torch.tensor([7, 7, 3]), torch.tensor([0, 1, 0])
    )
    ids, means = metric.per_sample()
    assert ids.tolist() == [3, 7]
    assert means[1] == 1.0
    assert metric.compute() == pytest.approx(means.mean())
    metric.reset()
    assert torch.isnan(metric.compute())


def test_scores_without_ids_and_single_samples_are_refused():
    with pytest.raises(
        DataError, match=r"\(2,\) scores, \(3,\) ids and \(3,\) draws; expected one"
    ):
        MeanSquaredError().update(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.arange(3))
    metric = TwoWayIdentification()
    metric.update(torch.rand(1, 4), torch.rand(1, 4), torch.tensor([0]))
    with pytest.raises(ConfigError, match="1 stimulus; expected at least 2"):
        metric.compute()
