"""What ``dlcore verify`` does: every kernel of this machine held against references, and fuzzed."""

from dlcore.verify.fuzzing import Fuzzed
from dlcore.verify.report import Check, RowReport
from dlcore.verify.run import fuzz, verify

__all__ = ["Check", "Fuzzed", "RowReport", "fuzz", "verify"]
