"""Rules that say, for every array of MinD-Vis' own numbers, what of ours it is compared with."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from tests.models.upstream import arrays, close
from tests.tolerances import NETWORK


class Golden:
    """A file of MinD-Vis' numbers that remembers which of its arrays a check has read."""

    def __init__(self, path):
        self._file = np.load(path, allow_pickle=False)
        self.files = self._file.files
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return self._file[name]

    def expected(self, name):
        """An array to compare with, which does not count as read."""
        return self._file[name]

    def tensor(self, name):
        return torch.from_numpy(self[name])

    def tensors(self, prefix):
        """Arrays below a prefix, as tensors."""
        return arrays(self, prefix)


@dataclass(frozen=True)
class Rule:
    """What is done with the arrays whose name fits: exactly one rule fits each array."""

    pattern: str
    check: Callable[[Golden, str], None] | None = None
    reason: str = ""

    def fits(self, name):
        return re.fullmatch(self.pattern, name) is not None


class Rules:
    """The rules of one file, or of several that hold the same arrays."""

    def __init__(self, *files):
        self.files = files
        self.rules = []

    def equals(self, pattern, tolerance=NETWORK):
        """Our value, which the function gives, is the array's: max |a - b| / max |b|."""

        def add(ours):
            def check(golden, name):
                assert close(ours(golden, name), golden.expected(name), tolerance)

            self.rules.append(Rule(pattern, check))
            return ours

        return add

    def shows(self, pattern):
        """The function asserts something of ours that the array says."""

        def add(check):
            self.rules.append(Rule(pattern, check))
            return check

        return add

    def feeds(self, pattern, output):
        """The array is read by the check of another."""

        def check(golden, name):
            self.of(output).check(golden, output)
            assert name in golden.read

        self.rules.append(Rule(pattern, check))

    def leaves_out(self, pattern, reason):
        """The array has no counterpart here, for a reason."""
        self.rules.append(Rule(pattern, reason=reason))

    def all_of(self, name):
        return [rule for rule in self.rules if rule.fits(name)]

    def of(self, name):
        (rule,) = self.all_of(name)
        return rule
