"""What ``dlcore roofline`` does: the roofs of this machine, and how far below them each operation is."""
