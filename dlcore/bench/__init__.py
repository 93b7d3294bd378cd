"""What ``dlcore bench`` does: cases made from the rows, every engine in a process of its own, results as files."""
