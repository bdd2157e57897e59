"""Moving average, stop on NaN and the due date of a checkpoint, without training."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mindvis.errors import ConfigError, MindVisError
from mindvis.tasks.callbacks import EMA, StopOnNaN, is_transductive
from mindvis.tasks.schedule import ema_decay


class Toy(nn.Module):
    """Two layers, of which the second is averaged."""

    device = torch.device("cpu")
    ancestors: tuple[str, ...] = ()

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def averaged_parameters(self):
        return {n: p for n, p in self.named_parameters() if n.startswith("second.")}


def weights(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def test_average_is_applied_and_taken_back():
    toy, ema = Toy(), EMA(0.9)
    before = toy.second.bias.detach().clone()
    ema.update(toy)
    with torch.no_grad():
        toy.second.bias += 1
        toy.first.bias += 1
    ema.update(toy)
    trained = weights(toy)
    with ema.applied(toy):
        expected = before + (1 - ema_decay(1, 0.9))
        torch.testing.assert_close(toy.second.bias.detach(), expected)
        assert torch.equal(toy.first.bias, trained["first.bias"])
    assert all(torch.equal(p, trained[name]) for name, p in toy.named_parameters())


def test_average_comes_back_when_the_block_fails():
    toy, ema = Toy(), EMA(0.9)
    ema.update(toy)
    with torch.no_grad():
        toy.second.bias += 1
    trained = weights(toy)
    with pytest.raises(ZeroDivisionError), ema.applied(toy):
        raise ZeroDivisionError
    assert torch.equal(toy.second.bias, trained["second.bias"])


def test_average_is_updated_by_optimiser_step_not_by_batch():
    toy, ema = Toy(), EMA(0.9)
    trainer = SimpleNamespace(global_step=0)
    ema.on_fit_start(trainer, toy)
    for trainer.global_step in (0, 0, 1, 1, 2):
        ema.on_train_batch_end(trainer, toy)
    assert ema.updates == 2


def test_average_continues_from_its_state():
    toy, ema, other = Toy(), EMA(0.9), EMA(0.9)
    ema.update(toy)
    other.load_state_dict(ema.state_dict())
    with torch.no_grad():
        toy.second.weight *= 2
    ema.update(toy)
    other.update(toy)
    assert torch.equal(ema.averages["second.weight"], other.averages["second.weight"])
    assert set(ema.averages) == {"second.weight", "second.bias"}


def test_decay_out_of_range():
    with pytest.raises(
        ConfigError, match=r"ema\.decay is 1\.0; expected 0 or more, and less than 1"
    ):
        EMA(1.0)


def losses(*values, every=50):
    """Let the callback see losses, one a batch."""
    callback = StopOnNaN()
    trainer = SimpleNamespace(log_every_n_steps=every, current_epoch=4, global_step=31)
    for index, value in enumerate(values):
        callback.on_train_batch_end(trainer, None, {"loss": torch.tensor(value)}, None, index)
    callback.on_train_epoch_end(trainer, None)


def test_nan_anywhere_in_the_epoch_stops_the_run():
    losses(1.0, 2.0, 3.0)
    with pytest.raises(MindVisError, match="became NaN or infinite in epoch 4, by step 31"):
        losses(1.0, float("nan"), 3.0)
    with pytest.raises(MindVisError, match=r"expected a finite loss; lower --model.lr"):
        losses(1.0, float("inf"), every=2)


def test_test_rows_make_a_run_transductive():
    assert not is_transductive(Toy(), SimpleNamespace(sees_test=False))
    assert is_transductive(Toy(), SimpleNamespace(sees_test=True))
