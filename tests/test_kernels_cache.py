"""Compiled kernels on disk: the cache and packs. No compiler takes part."""

import dataclasses
import hashlib
import json
import multiprocessing
import subprocess
import sys

import pytest

from dlcore.kernels import binary as storage
from dlcore.kernels import compile as compiling
from dlcore.kernels.binary import Binary
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import ARCHES, Call, In, Launch, Out, View
from dlcore.kernels.specialise import specialise

KEY = "ab" * 32
CUBIN = bytes(range(256)) * 100
MADE = Binary("family.file:kernel", "sm_90", "kernel", 128, 1024, parameters=(8, 4, 8, 8), registers=32, cubin=CUBIN)


@jit
def scale_kernel(x, out, n, BLOCK: tl.constexpr):
    """Enough of a kernel to have a key."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, i < n) * 2, i < n)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A cache and packs of the test's own."""
    monkeypatch.setenv("DLCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DLCORE_KERNELS", raising=False)
    storage.forget_packs()
    compiling._memory.clear()
    yield
    storage.forget_packs()
    compiling._memory.clear()


def wanted(arch="sm_90", n=1024):
    """A specialised kernel."""
    from dlcore import dtypes

    view = View((n,), dtypes.float32, (1,))
    launch = Launch(scale_kernel, (1,), {"x": In(0), "out": Out(0), "n": n, "BLOCK": 1024})
    arch = ARCHES.get(arch) or ARCHES["sm_80"]._replace(name=arch)
    return specialise(launch, Call((view,), (view,), (), (), arch))[0]


def test_what_is_stored_comes_back():
    assert storage.cached(KEY) is None
    storage.store(KEY, MADE)
    assert storage.cached(KEY) == MADE
    assert storage.cached(KEY).cubin == CUBIN


@pytest.mark.parametrize("damage", ["torn", "empty", "flipped", "foreign"])
def test_a_damaged_entry_counts_as_absent(damage):
    storage.store(KEY, MADE)
    path = storage._entry(KEY)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-1] ^= 1
    path.write_bytes({"torn": data[: len(data) // 2], "empty": b"", "foreign": b"\x7fELF" * 100}.get(damage, data))
    assert storage.cached(KEY) is None
    storage.store(KEY, MADE)
    assert storage.cached(KEY) == MADE


def _store_often(number):
    made = dataclasses.replace(MADE, cubin=bytes([number]) * 200_000)
    for _ in range(20):
        storage.store(KEY, made)
        found = storage.cached(KEY)
        assert found is not None and len(set(found.cubin)) == 1


def test_two_processes_may_write_the_same_entry():
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_store_often, args=(n,)) for n in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0, 0]
    assert not list(storage._entry(KEY).parent.glob(".*")), "a temporary file was left behind"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DLCORE_CACHE", str(tmp_path / "file" / "below"))
    storage.store(KEY, MADE)
    assert storage.cached(KEY) is None


def test_a_pack_is_found_before_the_cache(tmp_path, monkeypatch):
    want = wanted()
    other = dataclasses.replace(MADE, registers=99)
    assert storage.write_packs(tmp_path / "pack", [(want.key, other)]) == {tmp_path / "pack" / "sm_90.pack": 1}
    storage.store(want.key, MADE)
    assert compiling.binary(want) == MADE
    compiling._memory.clear()
    monkeypatch.setenv("DLCORE_KERNELS", str(tmp_path / "pack"))
    assert compiling.binary(want) == other


def test_a_pack_grows_or_is_replaced(tmp_path):
    storage.write_packs(tmp_path, [("a" * 64, MADE)])
    (path,) = storage.write_packs(tmp_path, [("b" * 64, MADE)])
    assert storage.Pack(path).index.kernels.keys() == {"a" * 64, "b" * 64}
    storage.write_packs(tmp_path, [("c" * 64, MADE)], keep=False)
    assert storage.Pack(path).index.kernels.keys() == {"c" * 64}


def test_each_architecture_has_a_pack_that_names_its_compilers(tmp_path, monkeypatch):
    both = {a: dataclasses.replace(MADE, arch=a, compiler=f"ptxas for {a}") for a in ("sm_80", "sm_90")}
    storage.write_packs(tmp_path, [(KEY, binary) for binary in both.values()])
    monkeypatch.setenv("DLCORE_KERNELS", str(tmp_path))
    for arch, binary in both.items():
        assert storage.packed(KEY, arch) == binary
        assert storage.Pack(tmp_path / f"{arch}.pack").index.compilers == [f"ptxas for {arch}"]
    assert storage.packed(KEY, "sm_120") is None


def test_a_pack_of_many_kernels_is_read_block_by_block(tmp_path):
    """Each binary comes back, also one that is larger than a block; the file does not depend on the order given."""
    sizes = [1, 70_000, 300_000, 90_000, 100_000, 20]
    many = {f"{k:064x}": dataclasses.replace(MADE, name=f"k{k % 2}", cubin=bytes([k]) * n) for k, n in enumerate(sizes)}
    (path,) = storage.write_packs(tmp_path, many.items())
    pack, content = storage.Pack(path), path.read_bytes()
    assert 1 < len(pack.index.blocks) < len(sizes)
    assert {key: pack.read(key) for key in many} == many and pack.read("none") is None
    storage.write_packs(tmp_path, reversed(many.items()), keep=False)
    assert path.read_bytes() == content


def test_a_damaged_pack_is_said(tmp_path, monkeypatch):
    (path,) = storage.write_packs(tmp_path, [(KEY, MADE)])
    monkeypatch.setenv("DLCORE_KERNELS", str(tmp_path))
    whole = path.read_bytes()
    for place in (0, len(storage.PACK) + 3, len(storage.PACK) + 90, len(whole) - 40):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        storage.forget_packs()
        with pytest.raises(ValueError, match=r"sm_90\.pack.*(damaged|is no pack of kernels)"):
            storage.packed(KEY, "sm_90")
    for length in (0, 10, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        storage.forget_packs()
        with pytest.raises(ValueError, match=r"sm_90\.pack"):
            storage.packed(KEY, "sm_90")
    path.unlink()
    storage.forget_packs()
    with pytest.raises(ValueError, match="has no pack of kernels"):
        storage.packed(KEY, "sm_90")


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": 5},
        {"kernels": {KEY: 5}},
        {"kernels": {KEY: [7, 0, 10]}},
        {"kernels": {KEY: [-1, 0, 10]}},
        {"kernels": {KEY: [0, 0, 2**40]}},
        {"kernels": {KEY: [0, -5, 10]}},
        {"kernels": {KEY: [0, 0, 10]}},
        {"blocks": [[0, 0, 0, ""]]},
        {"blocks": [[-1, 10, 10, ""]]},
        {"blocks": [[0, 2**60, 2**60, ""]]},
        {"arch": None},
        {"more": 1},
    ],
)
def test_an_index_that_cannot_be_is_said(tmp_path, monkeypatch, change):
    monkeypatch.setenv("DLCORE_KERNELS", str(tmp_path))
    (path,) = storage.write_packs(tmp_path, [(KEY, MADE)])
    _, line, body = path.read_bytes().split(b"\n", 2)
    line = json.dumps(json.loads(line) | change).encode() + b"\n"
    path.write_bytes(storage.PACK + hashlib.sha256(line).hexdigest().encode() + b"\n" + line + body)
    storage.forget_packs()
    with pytest.raises(ValueError, match=r"sm_90\.pack"):
        storage.packed(KEY, "sm_90")


def test_a_pack_of_newer_tools_than_the_driver_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_newest_cuda", float("inf"))
    binaries = [(KEY, dataclasses.replace(MADE, compiler="triton 3.9.0, ptxas 13.0")), ("cd" * 32, MADE)]
    storage.write_packs(tmp_path, binaries)
    monkeypatch.setenv("DLCORE_KERNELS", str(tmp_path))
    for version, there in ((12090, False), (13000, True), (13020, True), (14000, True)):
        storage.use_driver(version)
        assert (storage.packed(KEY, "sm_90") is not None) is there
    monkeypatch.setattr(compiling, "can_compile", lambda _: False)
    storage.write_packs(tmp_path, [(wanted().key, binaries[0][1])])
    storage.use_driver(12090)
    with pytest.raises(compiling.CompileError) as caught:
        compiling.binary(wanted())
    text = str(caught.value)
    assert "sm_90.pack has it from the tools of CUDA 13" in text and "update the driver" in text and "\n" not in text


def test_many_are_looked_for_in_packs_before_they_are_compiled(tmp_path, monkeypatch):
    storage.write_packs(tmp_path, [(wanted().key, MADE)])
    monkeypatch.setenv("DLCORE_KERNELS", str(tmp_path))
    monkeypatch.setattr(compiling, "can_compile", lambda _: False)
    there, missing = compiling.compile_many([wanted(), wanted(n=1000)], 2)
    assert there == MADE
    assert isinstance(missing, compiling.CompileError) and "pip install 'dlcore[compile]'" in str(missing)


def test_an_entry_of_another_version_is_compiled_anew():
    other = json.dumps(MADE.head() | {"threads": None}).encode()
    for head in (b'{"cubin": 5}', b"{}", b"[]", b"\xff", other):
        body = head + b"\n" + CUBIN
        storage.write(storage._entry(KEY), storage.MAGIC + hashlib.sha256(body).digest() + body)
        assert storage.cached(KEY) is None


def test_no_binary_and_no_compiler_is_one_sentence(monkeypatch):
    monkeypatch.setattr(compiling, "can_compile", lambda _: False)
    with pytest.raises(compiling.CompileError) as caught:
        compiling.binary(wanted())
    text = str(caught.value)
    assert "no binary for sm_90" in text and "dlcore[compile]" in text and "\n" not in text


def test_code_for_8_0_serves_8_6_and_both_serve_8_9(monkeypatch):
    monkeypatch.setattr(compiling, "can_compile", lambda _: False)
    storage.store(wanted("sm_80").key, MADE)
    assert compiling.binary(wanted("sm_86")) == MADE
    newer = dataclasses.replace(MADE, arch="sm_86")
    storage.store(wanted("sm_86").key, newer)
    assert compiling.binary(wanted("sm_89")) == newer
    with pytest.raises(compiling.CompileError):
        compiling.binary(wanted("sm_90"))


def test_the_key_tells_apart_what_is_compiled_apart():
    assert wanted().key == wanted().key == wanted(n=2048).key
    assert len({wanted(a, n).key for a in ("sm_80", "sm_90") for n in (1, 1024, 1000, 2**40)}) == 8


def test_a_warm_cache_needs_no_compiler(tmp_path):
    """A fresh process that finds its kernel on disk imports no Triton and starts no compiler."""
    storage.store(wanted().key, MADE)
    code = """if True:
        import sys
        sys.path.insert(0, "tests")
        import test_kernels_cache as here
        from dlcore.kernels import compile
        assert compile.binary(here.wanted()).cubin == here.CUBIN
        assert "triton" not in sys.modules and not compile._compiler.cache_info().currsize
        print("warm")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "warm\n", done.stderr
