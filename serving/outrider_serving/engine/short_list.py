"""A draft's output layer over the tokens that are likely to come at all.

The output layer is a large part of a small model: 27 % of the bytes that a forward of Qwen2.5's 0.5B reads. Most of its
rows are for tokens that hardly ever come, and a draft may miss one: the target still says it. FR-Spec
(arXiv:2502.14856) keeps a list by frequency in a corpus. Here it needs no corpus: tokenizers number their tokens in the
order in which they were merged, which is nearly that of frequency, and what the list lacks joins it when it is seen, in
a prompt or in an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import torch
from transformers import PreTrainedModel

# Of the answers of a 1.5B model to Spec-Bench, 98 % of the tokens are among so many or in their prompt. The layer then
# takes 3.5 ms where all 152k tokens take 10.5 (896 wide, bfloat16, two cores).
LISTED = 49152
# Tokenizers put what they added, such as the end of a turn, at the end.
ADDED = 512
# Seen lately. They cost 2 % of a level at most.
SEEN = 2048
# The share of an answer's tokens that were not listed, over some hundred: from the first on, misses cost more than the
# whole layer (a text in a script whose tokens come late); under the second the list is tried again.
MOST_MISSED, FEW_MISSED = 0.06, 0.03
RATE = 1 / 128


class ShortList(torch.nn.Module):
    """hidden [..., hidden_size] → logits [..., vocabulary], -inf for tokens that are not listed.

    While too many tokens are missed it gives all logits.
    """

    def __init__(self, embedding: torch.nn.Embedding) -> None:
        """embedding: that which the output layer shares its weight with."""
        super().__init__()
        weight = embedding.weight
        self.embedding = embedding
        self.out_features, self.in_features = weight.shape
        self.listed = _linear(torch.cat([weight[:LISTED], weight[-ADDED:]]))
        self.others = _linear(weight[LISTED:-ADDED])
        self._seen: OrderedDict[int, int] = OrderedDict()  # token → its row; seen least lately first
        self._tokens = torch.zeros(SEEN, dtype=torch.long)
        self._rows = torch.zeros(SEEN, self.in_features, dtype=weight.dtype)
        self._missed_share = 0.0
        self.whole = False

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        listed: torch.Tensor = self.listed(hidden)
        if self.whole:
            return torch.cat([listed[..., :LISTED], self.others(hidden), listed[..., LISTED:]], dim=-1)
        logits = listed.new_full((*hidden.shape[:-1], self.out_features), -torch.inf)
        logits[..., :LISTED] = listed[..., :LISTED]
        logits[..., -ADDED:] = listed[..., LISTED:]
        if count := len(self._seen):
            logits[..., self._tokens[:count]] = torch.nn.functional.linear(hidden, self._rows[:count]).to(logits.dtype)
        return logits

    def read(self, prompt: Iterable[int]) -> None:
        """These tokens are likely to come again."""
        self._see({token for token in prompt if self._lacks(token)})

    def answered(self, tokens: Iterable[int]) -> int:
        """The target chose these: they show whether the list will do. Returns how many it lacked."""
        total = 0
        for token in tokens:
            missed = self._lacks(token) and token not in self._seen
            total += missed
            self._missed_share += RATE * (missed - self._missed_share)
            if self._lacks(token):
                self._see({token})
        self.whole = self._missed_share > (FEW_MISSED if self.whole else MOST_MISSED)
        return total

    def _lacks(self, token: int) -> bool:
        return LISTED <= token < self.out_features - ADDED

    def _see(self, tokens: set[int]) -> None:
        new = []
        for token in tokens:
            if token in self._seen:
                self._seen.move_to_end(token)
            else:
                new.append(token)
        for token in new[:SEEN]:
            row = len(self._seen) if len(self._seen) < SEEN else self._seen.popitem(last=False)[1]
            self._seen[token] = row
            self._tokens[row] = token
            self._rows[row] = self.embedding.weight[token]


def _linear(weight: torch.Tensor) -> torch.nn.Linear:
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    return linear


def shorten(model: PreTrainedModel) -> ShortList | None:
    """Replaces the output layer where that pays: on a CPU, which reads all of its weight for a few rows, over a large
    vocabulary, and where the embedding keeps the rows that are not listed. None where it does not.
    """
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    if model.device.type != "cpu" or not isinstance(embedding, torch.nn.Embedding):
        return None
    if embedding.weight is not getattr(output, "weight", None) or len(embedding.weight) < 2 * LISTED:
        return None
    short = ShortList(embedding)
    model.set_output_embeddings(short)
    return short
