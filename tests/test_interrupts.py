"""Ctrl-C, SIGTERM and errors in the middle of a run: what is saved, restored and raised."""

import os
import signal
import threading

import pytest
from fits import LABELS, PressCtrlC, Script, X, fit, network, same, weights

import dlcore as dl
from dlcore import _C
from dlcore.train import Callback, Checkpoint, EarlyStopping, History


def test_ctrl_c_leaves_a_checkpoint_of_the_last_step(tmp_path):
    model, press = network(), PressCtrlC(2, 3)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        KeyboardInterrupt, match=r"stopped in epoch 2 of 3 after 3 of 5 batches; .*saved in .*m.st"
    ) as stop:
        fit(model, validation=(X, LABELS), callbacks=[press, Checkpoint(tmp_path / "m.st")])
    history = stop.value.history
    assert isinstance(history, History) and history.interrupted and len(history) == 1
    assert same(weights(model), press.at)
    assert same(weights(dl.load(network(), tmp_path / "m.st")), press.at)
    assert signal.getsignal(signal.SIGINT) is handler and all(m.training for m in model.modules())


def test_ctrl_c_with_save_best_keeps_the_best_file(tmp_path):
    model, script = network(), Script([1, 2, 3])
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[script, PressCtrlC(3, 1), Checkpoint(tmp_path / "m", save_best=True)])
    assert same(weights(dl.load(network(), tmp_path / "m")), script.seen[0])


def test_ctrl_c_restores_the_best_weights_when_asked():
    model, script = network(), Script([1, 2, 3])
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[script, PressCtrlC(2, 1), EarlyStopping(restore_best=True)])
    assert same(weights(model), script.seen[0])


def test_a_second_ctrl_c_acts_at_once():
    from dlcore.train.interrupt import Interrupt

    with pytest.raises(KeyboardInterrupt), Interrupt(History()) as interrupt:
        interrupt.hold()
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second was held back too")


def test_ctrl_c_after_the_last_check_is_not_lost():
    from dlcore.train.interrupt import Interrupt

    history = History()
    with pytest.raises(KeyboardInterrupt), Interrupt(history) as interrupt:
        interrupt.hold()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_before_the_first_step_acts_at_once():
    model, handler = network(), signal.getsignal(signal.SIGINT)
    before = weights(model)

    class Begin(Callback):
        ended = False

        def on_train_begin(self, run):
            signal.raise_signal(signal.SIGINT)

        def on_train_end(self, run):
            self.ended = True

    begin = Begin()
    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(model, callbacks=[begin])
    assert begin.ended and stopped.value.history.interrupted and len(stopped.value.history) == 0
    assert same(weights(model), before) and signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_that_somebody_swallows_ends_the_run_all_the_same():
    model, begin = network(), Callback()
    calls = []

    def forward(x):
        if not calls:  # the dry run that looks for memory, or the first step
            calls.append(1)
            try:
                signal.raise_signal(signal.SIGINT)
            except BaseException:
                calls.append(2)
        return type(model).forward(model, x)

    model.forward = forward
    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(model, callbacks=[begin])
    assert calls and stopped.value.history.interrupted and len(stopped.value.history) == 0


def test_sigterm_ends_as_ctrl_c_does(tmp_path):
    class Terminate(Callback):
        def on_batch_end(self, run):
            if (run.epoch, run.batch) == (2, 3):
                os.kill(os.getpid(), signal.SIGTERM)
                self.at = weights(run.model)

    model, terminate = network(), Terminate()
    with pytest.raises(SystemExit) as end:
        fit(model, callbacks=[terminate, Checkpoint(tmp_path / "m.st")])
    assert end.value.code == 143 and end.value.history.interrupted
    assert same(weights(model), terminate.at)
    assert same(weights(dl.load(network(), tmp_path / "m.st")), terminate.at)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_error_ends_callbacks_properly():
    ended = []

    class End(Callback):
        def on_batch_end(self, run):
            raise RuntimeError("from a callback")

        def on_train_end(self, run):
            ended.append(run.history.interrupted)

    with pytest.raises(RuntimeError, match="from a callback"):
        fit(network(), callbacks=[End()])
    assert ended == [False]


def test_fit_works_in_another_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(network())))
    thread.start()
    thread.join()
    assert len(results[0]) == 3


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_what_ends_a_call_is_not_hidden_by_asking_python(kind):
    """A function whose calls C++ answers is asked in Python after errors that it words itself, and no others."""

    def interrupted(*arguments):
        raise kind("stop")

    def refused(*arguments):
        raise ValueError("not so")

    with pytest.raises(kind, match="stop"):
        _C.Shaped(interrupted, dl.concat, lambda x: "hidden")(dl.ones(2))
    assert _C.Shaped(refused, dl.concat, lambda x: "worded")(dl.ones(2)) == "worded"
