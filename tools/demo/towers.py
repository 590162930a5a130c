"""The networks of the demo model, and how their weights are stored.

A stored weight is small on disk and float32 in the computation: the graph widens it with Cast, Sub and Mul, which
an engine does once, on loading. So every processor computes the same, and no integer kernel is involved. Bytes are
unsigned, because TensorRT takes signed ones only before DequantizeLinear.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize
from torch.nn.utils import parametrize
from transformers import BertModel

TOP_CLASSES = 10  # as in the ConSE paper
PADDING_BIAS = -1e4  # added to the attention of padding: exp() of it is 0, and float16 can hold it


class Bytes(nn.Module):
    """A weight kept in bytes, 128 for zero, with one scale a row (an output channel); computed with in float32."""

    def forward(self, rows: Tensor, scale: Tensor) -> Tensor:
        return (rows.float() - 128) * scale

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = weight.abs().amax(dim=1, keepdim=True) / 127  # [out, 1]
        return (torch.round(weight / scale) + 128).to(torch.uint8), scale


class Half(nn.Module):
    """A weight kept as float16, and computed with in float32."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.float()

    def right_inverse(self, weight: Tensor) -> tuple[Tensor]:
        return (weight.half(),)


class Table(nn.Module):
    """A table of vectors kept as Bytes; only the rows that are looked up become float32."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, scale = Bytes().right_inverse(weight)
        self.rows = nn.Buffer(rows)
        self.scale = nn.Buffer(scale)

    def forward(self, ids: Tensor) -> Tensor:
        return Bytes()(embedding(ids, self.rows), embedding(ids, self.scale))


def store_small(network: nn.Module) -> None:
    """Round the weights to what the artifact stores: bytes for matrices, float16 for convolutions."""
    for module in list(network.requires_grad_(False).modules()):
        if isinstance(module, nn.Linear):
            parametrize.register_parametrization(module, "weight", Bytes())
        elif isinstance(module, nn.Conv2d):
            parametrize.register_parametrization(module, "weight", Half())


class SentenceEncoder(nn.Module):
    """all-MiniLM-L6-v2 as sentence-transformers runs it: the mean of the token vectors, of unit length."""

    def __init__(self, bert: BertModel, context_length: int) -> None:
        super().__init__()
        table = bert.embeddings
        self.words = Table(table.word_embeddings.weight)
        places = table.position_embeddings.weight[:context_length]
        self.places = nn.Buffer(places + table.token_type_embeddings.weight[0])  # every token is of type 0
        self.norm = table.LayerNorm
        self.layers = bert.encoder

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        count = token_ids.shape[1]
        real = torch.arange(count, dtype=torch.int32) < lengths[:, None]  # [N, L]
        bias = torch.where(real, 0.0, PADDING_BIAS)[:, None, None, :]  # [N, 1, 1, L]
        hidden = self.norm(self.words(token_ids) + self.places[:count])  # [N, L, D]
        hidden = self.layers(hidden, attention_mask=bias).last_hidden_state
        return normalize((hidden * real[:, :, None]).sum(dim=1))  # a sum points where the mean points


class TextTower(nn.Module):
    """token_ids int32 [N, L], lengths int32 [N] -> embedding float32 [N, D]."""

    def __init__(self, encoder: SentenceEncoder, mean: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.mean = nn.Buffer(mean)

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        return normalize(self.encoder(token_ids, lengths) - self.mean)


class ImageTower(nn.Module):
    """pixels uint8 [N, S, S, 3] -> embedding float32 [N, D]; `classes` [1000, D] are centred."""

    def __init__(self, classifier: nn.Module, classes: Tensor) -> None:
        super().__init__()
        self.classifier = classifier
        self.classes = Table(classes)

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels.float().permute(0, 3, 1, 2) - 127) / 128  # the scaling of its training
        weights, classes = self.classifier(x).softmax(dim=1).topk(TOP_CLASSES)  # [N, 10] each
        return normalize((weights[:, :, None] * self.classes(classes)).sum(dim=1))
