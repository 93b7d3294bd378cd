"""What ``dlcore verify`` does: every kernel of this machine held against references, and fuzzed."""
