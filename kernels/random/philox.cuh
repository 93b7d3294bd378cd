// Philox 4x32-10 for CUDA C++ kernels; philox.py says which words make which element.
#pragma once

struct Words {
  unsigned word[4];
  __device__ unsigned long long pair(int half) const {
    return word[2 * half] | static_cast<unsigned long long>(word[2 * half + 1]) << 32;
  }
};

__device__ inline Words philox(unsigned long long block, unsigned long long seed) {
  unsigned c0 = static_cast<unsigned>(block), c1 = static_cast<unsigned>(block >> 32), c2 = 0, c3 = 0;
  unsigned k0 = static_cast<unsigned>(seed), k1 = static_cast<unsigned>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned high0 = __umulhi(c0, 0xD2511F53u), low0 = c0 * 0xD2511F53u;
    const unsigned high2 = __umulhi(c2, 0xCD9E8D57u), low2 = c2 * 0xCD9E8D57u;
    c0 = high2 ^ c1 ^ k0;
    c1 = low2;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}
