// Recurrent layers over whole sequences: LSTM, GRU and the plain RNN, one layer in one direction, and their gradients.
// Letters: T steps, B rows of the batch, H units, P the width of the state h (H but for projections).
//
// Bound by arithmetic, 2 G H P operations for each row and step (G gates: 4, 3, 1), with few rows by the weights, which
// the second-level cache delivers anew at every step. So weights are packed once, as the tiles read them: all gates of
// a vector of units side by side, so that nonlinearities are computed while a tile's sums are in the first-level cache.
// Rows depend on each other at no step: threads share them out and walk through all steps without waiting for each
// other. Only where there are fewer rows than threads and the weights are large do they share the units, and meet at
// each step. Sums over steps (gradients of weights) are left to matmul, as one product over all of them.
//
// Operands of 16 bits are widened; states, cells and sums are in the compute type.
#include "common/dtypes.inl"
#include "common/math.inl"
#include "matmul/tile.inl"
#include "matmul/pack.inl"
#include "recurrent/panels.inl"
#include "recurrent/walk.inl"
#include "recurrent/lanes.inl"
#include "recurrent/lstm.inl"
#include "recurrent/gru.inl"
#include "recurrent/rnn.inl"

static const Kernel kernels[] = {
    {"recurrent:lstm_forward", lstm_forward, kAllContiguous},
    {"recurrent:lstm_backward", lstm_backward, kAllContiguous},
    {"recurrent:gru_forward", gru_forward, kAllContiguous},
    {"recurrent:gru_backward", gru_backward, kAllContiguous},
    {"recurrent:rnn_forward", rnn_forward, kAllContiguous},
    {"recurrent:rnn_backward", rnn_backward, kAllContiguous},
};
