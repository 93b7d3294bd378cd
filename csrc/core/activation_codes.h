// Activations a fused kernel may apply to its result. Shared with dlcore/ops/activation.py.
//
// common/math.inl has, for each code, `activate<code>(x)` and `activate_grad<code>(saved, dout)`: every kernel that
// applies an activation uses these functions, so a fused result has the same bits as the separate one.
#pragma once

namespace dlcore {

enum class Activation : int { none, relu, sigmoid, tanh, gelu, gelu_tanh };

// What `activate_grad` needs besides dout: the result where that suffices, else the value before the activation.
constexpr bool grad_needs_input(Activation code) { return code >= Activation::gelu; }

}  // namespace dlcore
