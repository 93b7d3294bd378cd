"""What steps read and do, for test_observe.py: tables of small functions, grouped by kind.

A row of a table of *sources* is (make, read, write): `make()` is something that a step reads, `read(it)` a number or
tensor that comes from it, `write(it)` changes what will be read next. Where every read gives another value, there is no
`write`. A row of a table of *effects* is (make, act, look): `act(it)` leaves something behind that `look(it)` shows.
"""
