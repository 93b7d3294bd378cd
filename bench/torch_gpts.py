"""The GPTs of `bench.gpts` as users of PyTorch write them; `size` is one of its sizes."""

from torch import nn
from torch.nn import functional as F


def norm(size):
    return nn.RMSNorm(size.width, 1e-5, False) if size.plain else nn.LayerNorm(size.width)


def linear(size, inputs, outputs):
    return nn.Linear(inputs, outputs, bias=not size.plain)


class Attention(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.heads = size.heads
        self.qkv, self.out = linear(size, size.width, 3 * size.width), linear(size, size.width, size.width)

    def forward(self, x, cache=None, position=0):
        b, t, w = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if cache is not None:
            end = position + t
            cache[0][:, :, position:end], cache[1][:, :, position:end] = k, v
            k, v = cache[0][:, :, :end], cache[1][:, :, :end]
        x = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
        return self.out(x.transpose(1, 2).reshape(b, t, w))


class MLP(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.activation = F.relu if size.plain else F.gelu
        self.up, self.down = linear(size, size.width, 4 * size.width), linear(size, 4 * size.width, size.width)

    def forward(self, x):
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = norm(size), Attention(size), norm(size), MLP(size)

    def forward(self, x, cache=None, position=0):
        x = x + self.attention(self.norm1(x), cache, position)
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.token_embedding = nn.Embedding(size.vocabulary, size.width)
        self.position_embedding = nn.Embedding(size.context, size.width)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = norm(size)
        self.head = nn.Linear(size.width, size.vocabulary, bias=False) if size.plain else None

    def forward(self, tokens, caches=None, position=0):
        t = tokens.shape[1]
        x = self.token_embedding(tokens) + self.position_embedding.weight[position : position + t]
        for k, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[k], position)
        x = self.norm(x)
        return x @ self.token_embedding.weight.T if self.head is None else self.head(x)
