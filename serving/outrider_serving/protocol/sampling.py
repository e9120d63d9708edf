"""Sampling on the wire: the draft guesses by the target's rule, so it has to know all of it."""

from __future__ import annotations

from outrider_serving.engine.sampling import Sampling
from outrider_serving.protocol.errors import ProtocolError
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb

LEAST_TOP_P = 2.0**-126  # float32's smallest with all its digits


def sampling_to_message(sampling: Sampling) -> pb.Sampling:
    return pb.Sampling(
        temperature=sampling.temperature,
        # As a float32 it is not to become 0, which nobody samples by.
        top_p=max(sampling.top_p, LEAST_TOP_P),
        seed=sampling.seed % 2**64,
        top_k=min(sampling.top_k, 2**32 - 1),
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        biased_tokens=[token for token, _ in sampling.logit_bias],
        biases=[bias for _, bias in sampling.logit_bias],
        min_tokens=min(sampling.min_tokens, 2**32 - 1),
        end_tokens=sampling.end_tokens,
    )


def sampling_from_message(message: pb.Sampling) -> Sampling:
    """Raises ProtocolError for what no target samples by."""
    if len(message.biased_tokens) != len(message.biases):
        raise ProtocolError("biased_tokens and biases of a Sampling differ in length")
    try:
        return Sampling(
            temperature=message.temperature,
            top_p=message.top_p,
            seed=message.seed,
            top_k=message.top_k,
            min_p=message.min_p,
            presence_penalty=message.presence_penalty,
            frequency_penalty=message.frequency_penalty,
            # What a message does not say arrives as 0.
            repetition_penalty=message.repetition_penalty or 1.0,
            logit_bias=tuple(zip(message.biased_tokens, message.biases, strict=True)),
            min_tokens=message.min_tokens,
            end_tokens=tuple(message.end_tokens),
        )
    except ValueError as error:
        raise ProtocolError(f"sampling is out of range: {error}") from None
