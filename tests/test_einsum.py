"""einsum: random expressions against NumPy's, gradients, recordings, what it costs, and what it refuses."""

import itertools
import string

import numpy as np
import pytest

import dlcore as dl
from dlcore import testing
from dlcore.dtypes import float64
from dlcore.ops import contraction

LETTERS = "abcde"


def drawn(rng):
    """An equation and its operands: names twice and shared, ellipses, lengths of 1 and 0, any strides."""
    sizes = {k: int(rng.choice([0, 1, 2, 3, 4], p=[0.03, 0.17, 0.3, 0.3, 0.2])) for k in LETTERS}
    behind = [int(n) for n in rng.integers(1, 4, rng.integers(0, 3))]
    parts, arrays = [], []
    for _ in range(int(rng.choice([1, 2, 2, 3, 4, 7]))):
        names = list(rng.choice(list(LETTERS), int(rng.integers(0, 4))))
        shape = [sizes[k] for k in names]
        if behind and rng.random() < 0.6:
            at, first = int(rng.integers(0, len(names) + 1)), int(rng.integers(0, len(behind) + 1))
            shape[at:at] = [n if rng.random() < 0.8 else 1 for n in behind[first:]]
            names.insert(at, "...")
        order = rng.permutation(len(shape))
        array = rng.standard_normal([shape[d] for d in order]).transpose(np.argsort(order))
        parts, arrays = [*parts, "".join(names)], [*arrays, array]
    equation = ",".join(parts)
    if rng.random() < 0.7:
        out = [k for k in LETTERS if k in equation and rng.random() < 0.5]
        rng.shuffle(out)
        out.insert(int(rng.integers(0, len(out) + 1)), "..." if "..." in equation else "")
        equation += "->" + "".join(out)
    return equation, arrays


@pytest.mark.parametrize("seed", range(8))
def test_random_expressions(seed):
    rng, agreed = np.random.default_rng(seed), 0
    for _ in range(60):
        equation, arrays = drawn(rng)
        try:
            want = np.einsum(equation, *arrays)
        except ValueError:  # NumPy refuses it: an implicit output of more axes than shapes allow, ...
            continue
        for optimize in (True, False):
            got = np.asarray(dl.einsum(equation, *map(dl.from_numpy, arrays), optimize=optimize))
            assert got.shape == want.shape, equation
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9, err_msg=equation)
        agreed += 1
    assert agreed > 30


def test_lists_name_axes_as_numpy_does():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(24.0).reshape(2, 3, 4)
    for given in ((a, [0, 1], b, [0, 1, 2], [2, 0]), (a, [3, 1], b, [3, 1, 0]), (a, [0, 1], b, [..., 1, 2], [..., 2])):
        tensors = [dl.tensor(x) if isinstance(x, np.ndarray) else x for x in given]
        np.testing.assert_array_equal(np.asarray(dl.einsum(*tensors)), np.einsum(*given))


def gradients(function, arrays):
    tensors = [dl.tensor(x) for x in arrays]
    for t in tensors:
        t.requires_grad = True
    out = function(*tensors)
    first = dl.grad([(out * out * out).sum()], tensors, create_graph=True)
    second = dl.grad([sum((g * g).sum() for g in first)], tensors)
    return [np.asarray(g.detach()) for g in (*first, *second)]


@pytest.mark.parametrize("equation, shapes, by_hand", [
    ("ij,jk->ik", [(3, 4), (4, 5)], lambda a, b: a @ b),
    ("ii->i", [(4, 4)], lambda a: a.reshape(16)[::5]),
    ("bqhd,bkhd->bhqk", [(2, 3, 2, 4), (2, 5, 2, 4)], lambda q, k: q.permute((0, 2, 1, 3)) @ k.permute((0, 2, 3, 1))),
    ("ij,ij->i", [(3, 4), (3, 4)], lambda a, b: (a * b).sum(1)),
    ("ijk,jl,kl->il", [(2, 3, 4), (3, 5), (4, 5)],
     lambda a, b, c: (a.reshape(2, 3, 4, 1) * b.reshape(1, 3, 1, 5) * c.reshape(1, 1, 4, 5)).sum((1, 2))),
])  # fmt: skip
def test_gradients_are_those_of_the_product_by_hand(equation, shapes, by_hand):
    arrays = [np.random.default_rng(3).standard_normal(s) for s in shapes]
    got = gradients(lambda *x: dl.einsum(equation, *x), arrays)
    want = gradients(by_hand, arrays)
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-10)


def test_it_replays():
    @dl.capture
    def step(a, b):
        return dl.einsum("bij,bjk->bki", a, b)

    for seed in range(4):
        rng = np.random.default_rng(seed)
        a, b = rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 5, 2))
        np.testing.assert_allclose(np.asarray(step(dl.tensor(a), dl.tensor(b))), np.einsum("bij,bjk->bki", a, b))
    assert step.recordings == 1


@pytest.mark.parametrize("equation, shapes", [
    ("ij,jk->ik", [(4, 5), (5, 6)]), ("ij,kj->ki", [(4, 5), (6, 5)]), ("bhqd,bhkd->bhqk", [(2, 3, 4, 5)] * 2),
    ("bqhd,bkhd->bhqk", [(2, 4, 3, 5)] * 2), ("bhqk,bkhd->bqhd", [(2, 3, 4, 6), (2, 6, 3, 5)]),
    ("bij,jk->bik", [(3, 4, 5), (5, 6)]), ("ij,ij->", [(4, 5)] * 2), ("ij,ij->i", [(4, 5)] * 2),
    ("nchw,oc->nohw", [(2, 3, 4, 4), (5, 3)]), ("i,j->ij", [(4,), (5,)]),
])  # fmt: skip
def test_common_products_are_one_operation_without_copies(equation, shapes):
    operands = tuple(dl.tensor(np.ones(s, np.float32)) for s in shapes)
    plan = contraction._of_equation(equation, contraction.BEST, *operands)
    assert len(plan.steps) == 1
    step = plan.steps[0]
    for x, actions in zip((operands[step.left], operands[step.right]), (step.before_left, step.before_right),
                          strict=True):
        acted = contraction._acted(x, actions)
        assert acted.data_ptr == x.data_ptr, f"{equation}: an operand is copied"


def test_the_order_of_contraction_is_the_cheapest():
    def cost(*shapes):
        out = dl.einsum("ab,bc,cd->ad", *(dl.ones(s) for s in shapes))
        plan = contraction._of_equation("ab,bc,cd->ad", contraction.BEST, *map(dl.ones, shapes))
        assert out.shape == (shapes[0][0], shapes[2][1])
        return {plan.steps[0].left, plan.steps[0].right}

    assert cost((2, 50), (50, 50), (50, 50)) == {0, 1}
    assert cost((50, 50), (50, 50), (50, 2)) == {1, 2}


def test_many_operands():
    letters = string.ascii_letters[:9]
    equation = ",".join(a + b for a, b in itertools.pairwise(letters)) + "->" + letters[0] + letters[-1]
    matrices = [np.random.default_rng(k).standard_normal((3, 3)) for k in range(8)]
    got = np.asarray(dl.einsum(equation, *map(dl.tensor, matrices)))
    np.testing.assert_allclose(got, np.linalg.multi_dot(matrices), rtol=1e-9)


def test_numbers_integers_and_dtypes():
    i = dl.tensor([1, 2, 3], dtype="int8")
    assert dl.einsum("i,i->", i, i).dtype is dl.int8 and dl.einsum("i->", i).item() == 6
    assert dl.einsum(",i->i", 2.0, i).dtype is dl.float32
    assert dl.einsum("i,i->", i, dl.tensor(np.ones(3))).dtype is float64
    assert dl.einsum(",", 2, 3).item() == 6
    assert dl.einsum("ij->ji", [[1.0, 2.0]]).shape == (2, 1)


X, V = np.ones((2, 3)), np.ones(3)


@pytest.mark.parametrize("error, text, given", [
    (ValueError, "einsum: 'ij,jk' is about 2 operands, but 1 are given", ("ij,jk", X)),
    (ValueError, "einsum: '1' in 'i1->i' is neither a letter nor '...'", ("i1->i", X)),
    (ValueError, "einsum: index 'z' of the output of 'ij->z' is in no operand", ("ij->z", X)),
    (ValueError, "einsum: index 'i' stands twice in the output of 'ij->ii'", ("ij->ii", X)),
    (ValueError, "einsum: the output of '...i->i' needs '...', which an operand has", ("...i->i", X)),
    (ValueError, "einsum: '...' stands twice in a part of '......i'", ("......i", X)),
    (dl.ShapeError, "einsum: operand 0 of shape (2, 3) has 2 axes, 'ijk' in 'ijk' names 3", ("ijk", X)),
    (dl.ShapeError, "einsum: index 'j' of 'ij,j->i' has lengths 3 and 2: (2, 3) and (2,)", ("ij,j->i", X, V[:2])),
    (dl.ShapeError, "einsum: index 'i' of 'ii' has lengths 1 and 3: (1, 3)", ("ii", X[:1])),
    (dl.ShapeError, "einsum: a product with 9 axes; a tensor has at most 8",
     ("abcde,fghi->abcdefghi", np.ones((1,) * 5), np.ones((1,) * 4))),
    (dl.DTypeError, "einsum: does not take bool", ("ij", X > 0)),
    (ValueError, "einsum: axis 52; the names of axes are the integers from 0 to 51", (X, [0, 52])),
    (TypeError, "einsum: equation 3 is not a str, and no list of axes follows it", (3,)),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(error, text, given):
    with pytest.raises(error) as raised:
        dl.einsum(*given)
    assert str(raised.value) == text


def test_optimize_is_a_truth_value():
    for wanted in (True, False, "greedy", "optimal"):
        assert dl.einsum("ij,j", X, V, optimize=wanted).tolist() == [3, 3]
    with pytest.raises(ValueError, match="einsum: optimize 'auto' is not one of 'greedy', 'optimal'"):
        dl.einsum("ij", X, optimize="auto")
    with pytest.raises(TypeError, match="einsum: optimize 2 is neither True nor False"):
        dl.einsum("ij", X, optimize=2)


@pytest.mark.parametrize("function, shapes", [
    (lambda x, y: dl.einsum("ij,jk->ik", x, y), [(3, 4), (4, 2)]),
    (lambda x, y: dl.einsum("ij,ij->i", x, y), [(3, 4)] * 2),
    (dl.dot, [(4,), (4,)]), (dl.inner, [(3, 4), (4,)]), (dl.outer, [(3,), (4,)]), (dl.mv, [(3, 4), (4,)]),
    (lambda x, y: dl.tensordot(x, y, 1), [(3, 4), (4, 2)]), (dl.kron, [(2, 3), (3,)]), (dl.vecdot, [(3, 4), (4,)]),
    (dl.cross, [(5, 3), (3,)]), (lambda x, y: dl.addmm(y, x, x), [(4, 4), (4,)]),
    (lambda x, y: dl.linalg.solve(x, y), [(4, 4), (4,)]), (lambda x, y: dl.linalg.solve(x, y), [(2, 4, 4), (4, 3)]),
    (lambda x, y: dl.linalg.solve_triangular(x, y), [(4, 4), (4, 2)]),
    (lambda x, y: dl.linalg.inv(x) @ y, [(4, 4), (4,)]),
    (lambda x, y: dl.linalg.lstsq(x, y)[0], [(6, 3), (6,)]), (lambda x, y: dl.linalg.svdvals(x) * y, [(5, 3), (3,)]),
])  # fmt: skip
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_vmap_gives_what_a_loop_gives(function, shapes, axes):
    rng = np.random.default_rng(2)
    given = [dl.tensor(rng.standard_normal((*([3] if a == 0 else []), *s))) for a, s in zip(axes, shapes, strict=True)]
    got = dl.func.vmap(function, in_axes=axes)(*given)
    one = [[x if a is None else x[k] for a, x in zip(axes, given, strict=True)] for k in range(3)]
    np.testing.assert_allclose(np.asarray(got), np.stack([np.asarray(function(*x)) for x in one]), rtol=1e-8, atol=1e-8)


def test_a_result_is_a_view_where_nothing_is_summed():
    x = dl.tensor(np.arange(9.0).reshape(3, 3))
    assert dl.einsum("ij->ji", x).data_ptr == x.data_ptr
    with testing.guarded():
        np.testing.assert_array_equal(np.asarray(dl.einsum("ii->i", x)), [0, 4, 8])


def test_what_is_kept_of_a_call_is_its_layout():
    x = dl.tensor([[1.0, 2.0], [3.0, 4.0]])
    for scale in (1, 2):  # the second time as it was planned the first
        assert dl.einsum("ij->ji", x * scale).tolist() == [[scale, 3 * scale], [2 * scale, 4 * scale]]
        assert dl.einsum("ij,j->i", x.T, x[0] * scale).tolist() == [7 * scale, 10 * scale]
        made = dl.einsum("i->i", [1, 2])
        assert made.tolist() == [1, 2]
        made.fill_(9)
        assert dl.einsum("->", 3).item() == 3
        assert dl.einsum("i->", dl.tensor([100, 100], dl.int8)).dtype is dl.int8
        with pytest.raises(dl.errors.DTypeError, match="einsum: does not take bool"):
            dl.einsum("i->", dl.tensor([True]))
