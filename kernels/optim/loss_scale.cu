// The scale of the next step's loss: after `interval` finite steps in a row it grows, after one that is not it shrinks.
//
// One thread. Some 42 bytes: the launch is all of its time.
//
// Versions: 1, this one: unmeasured, not yet run on hardware.
#include "../common/order.cuh"

__global__ void __launch_bounds__(32)
update_scale(float* scale, long long* good, long long* skipped, const unsigned char* finite, double growth,
             double backoff, long long interval) {
  after_previous();
  if (threadIdx.x != 0) return;
  if (*finite == 0) {
    *scale = static_cast<float>(*scale * backoff);
    *good = 0;
    ++*skipped;
  } else if (++*good >= interval) {
    const double grown = *scale * growth;
    if (grown <= 3.4028234663852886e38) *scale = static_cast<float>(grown);  // the largest float32
    *good = 0;
  }
}
