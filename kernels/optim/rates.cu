// The learning rates of a step from a table: settings[:, 0] = rates[min(position, steps - 1)]; position += 1.
//
// One block. A few hundred bytes: the launch is all of its time. Launches of the step behind it read the settings.
//
// Versions: 1, this one: unmeasured, not yet run on hardware.
#include "../common/order.cuh"

// Strides in elements.
__global__ void __launch_bounds__(256)
scheduled_rates(double* settings, long long* position, const double* rates, long long settings_stride,
                long long rates_row, long long rates_column, long long steps, long long groups) {
  after_previous();
  const long long at = *position, row = at < 0 ? 0 : at < steps - 1 ? at : steps - 1;
  for (long long g = threadIdx.x; g < groups; g += 256)
    settings[g * settings_stride] = rates[row * rates_row + g * rates_column];
  __syncthreads();  // all have read the position
  if (threadIdx.x == 0) *position = at + 1;
}
