"""The typed SpeculativeModel. Generated from the CRD in crds/ by `make generate`: do not edit."""

# ruff: noqa: E501

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class ObjectMeta(BaseModel):
    """
    What every Kubernetes object says of itself; fields not named here are kept as they are.
    """

    model_config = ConfigDict(
        extra="allow",
        populate_by_name=True,
        frozen=True,
    )
    name: str
    """
    Name of the resource within its namespace.
    """
    namespace: str | None = None
    """
    Absent: that of the command or the context.
    """
    uid: str | None = None
    """
    Identity that the API server gave.
    """
    generation: int | None = None
    """
    Counts the changes of spec.
    """
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Model(BaseModel):
    """
    Which model this role runs.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    uri: Annotated[str, Field(max_length=1024, min_length=1, pattern="^(hf|pvc|s3|oci|file)://")]
    """
    Where the model is: hf://org/name (a model mirror is looked up before the hub), pvc://claim/path, s3://bucket/prefix, oci://image or file:///path (a folder in the container).
    """
    revision: Annotated[str | None, Field(max_length=128, min_length=1, pattern="^[A-Za-z0-9._/-]+$")] = None
    """
    Commit, tag or branch of an hf:// model. Absent: the hub's default branch. Name a commit where every replica must run the same weights.
    """


class KvCache(BaseModel):
    """
    How much memory the keys and values of all running sequences may take, and the prefixes that are kept for later requests. The pool never grows beyond it: what does not fit waits. Absent: a share of the memory that is free once the model is loaded, half of it on CPUs and nine tenths on a GPU.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    memory: int | str | None = None
    """
    Bytes of the pool, as a quantity such as 4Gi.
    """
    fraction: Annotated[float | None, Field(ge=0.01, le=1.0)] = None
    """
    Share of the memory that is free once the model is loaded, up to 1.
    """


class Resources(BaseModel):
    """
    Compute resources of the container, as in a pod. When target and draft both ask for hardware of their own (a whole number of CPUs, or a GPU) the draft runs ahead while the target verifies; otherwise the two share hardware and take turns.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    requests: Annotated[dict[str, int | str] | None, Field(max_length=16)] = None
    """
    Quantities that are set aside for the container, by resource name.
    """
    limits: Annotated[dict[str, int | str] | None, Field(max_length=16)] = None
    """
    Quantities that the container cannot exceed, by resource name. GPUs are asked for here, for example nvidia.com/gpu with the value 1.
    """


class Target(BaseModel):
    """
    The model that is served. It verifies every proposed token, and its choice is what clients get.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    model: Model
    """
    Which model this role runs.
    """
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """
    Number format of weights and arithmetic. auto takes what the model was saved in. bfloat16 is faster, float32 gives exactly the tokens of plain decoding.
    """
    max_model_len: Annotated[int | None, Field(alias="maxModelLen", ge=16, le=16777216)] = None
    """
    Longest sequence in tokens, prompt and answer together. Absent: the model's own context length.
    """
    max_num_seqs: Annotated[int, Field(alias="maxNumSeqs", ge=1, le=1024)] = 8
    """
    Sequences that one replica decodes at once; requests beyond it wait.
    """
    replicas: Annotated[int, Field(ge=0, le=256)] = 1
    """
    Pods of this role. On one machine (`outrider up`) only one is run.
    """
    kv_cache: Annotated[KvCache | None, Field(alias="kvCache")] = None
    """
    How much memory the keys and values of all running sequences may take, and the prefixes that are kept for later requests. The pool never grows beyond it: what does not fit waits. Absent: a share of the memory that is free once the model is loaded, half of it on CPUs and nine tenths on a GPU.
    """
    resources: Resources = Resources()
    """
    Compute resources of the container, as in a pod. When target and draft both ask for hardware of their own (a whole number of CPUs, or a GPU) the draft runs ahead while the target verifies; otherwise the two share hardware and take turns.
    """
    max_queue: Annotated[int, Field(alias="maxQueue", ge=0, le=65536)] = 256
    """
    Requests that may wait for a place in one replica. A request beyond them is answered at once with 429 and Retry-After; 0 lets none wait.
    """
    max_batched_tokens: Annotated[int, Field(alias="maxBatchedTokens", ge=16, le=65536)] = 512
    """
    Tokens of one forward pass, those of prompts that are read and those of running answers together. More reads prompts faster; fewer lets running answers wait less for them.
    """
    quantization: Literal["int8", "fp8"] | None = None
    """
    Stores the weights in 8 bits: int8 or fp8. It saves memory and time and it changes the model: what is served is the quantized target's text. Absent: the weights as they are.
    """
    tensor_parallel_size: Annotated[int, Field(alias="tensorParallelSize", ge=1, le=16)] = 1
    """
    Ranks over which one replica spreads the model's layers, each on a GPU of its own, or, without GPUs, as a process with its share of the CPUs.
    """


class Draft(BaseModel):
    """
    The smaller model that proposes tokens. It needs the target's tokenizer. Absent: no draft model; speculation.fallback says what drafts instead.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    model: Model
    """
    Which model this role runs.
    """
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """
    Number format of weights and arithmetic. auto takes what the model was saved in. bfloat16 is faster, float32 gives exactly the tokens of plain decoding.
    """
    max_model_len: Annotated[int | None, Field(alias="maxModelLen", ge=16, le=16777216)] = None
    """
    Longest sequence in tokens, prompt and answer together. Absent: the model's own context length.
    """
    max_num_seqs: Annotated[int, Field(alias="maxNumSeqs", ge=1, le=1024)] = 8
    """
    Sequences that one replica decodes at once; requests beyond it wait.
    """
    replicas: Annotated[int, Field(ge=0, le=256)] = 1
    """
    Pods of this role. The target spreads its sequences over them. On one machine (`outrider up`) each is a process.
    """
    kv_cache: Annotated[KvCache | None, Field(alias="kvCache")] = None
    """
    How much memory the keys and values of all running sequences may take, and the prefixes that are kept for later requests. The pool never grows beyond it: what does not fit waits. Absent: a share of the memory that is free once the model is loaded, half of it on CPUs and nine tenths on a GPU.
    """
    resources: Resources = Resources()
    """
    Compute resources of the container, as in a pod. When target and draft both ask for hardware of their own (a whole number of CPUs, or a GPU) the draft runs ahead while the target verifies; otherwise the two share hardware and take turns.
    """
    quantization: Literal["int8"] | None = None
    """
    Stores the weights in 8 bits. It changes the speed only: whatever a draft proposes, the text is the target's. Absent: the weights as they are.
    """


class Speculation(BaseModel):
    """
    How far and how wide the draft rides ahead. It changes the speed, never the text, as long as tolerance is 0.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    mode: Literal["Auto", "Always", "Off"] = "Auto"
    """
    Auto speculates while it pays, Always also when it does not, "Off" decodes plainly and runs no draft. Write "Off" in quotes: YAML reads a bare Off as false.
    """
    max_depth: Annotated[int, Field(alias="maxDepth", ge=1, le=64)] = 8
    """
    Most tokens that one branch of a proposed tree runs ahead.
    """
    max_branches: Annotated[int, Field(alias="maxBranches", ge=1, le=16)] = 4
    """
    Most alternatives that are proposed at one position.
    """
    max_nodes: Annotated[int, Field(alias="maxNodes", ge=1, le=256)] = 32
    """
    Most tokens of one proposed tree, all branches together; the target verifies them in one pass.
    """
    min_probability: Annotated[float, Field(alias="minProbability", ge=0.0, le=1.0)] = 0.02
    """
    Branches are pruned when the draft holds them for less probable than this, between 0 (none pruned) and 1.
    """
    tolerance: Annotated[float, Field(ge=0.0, le=10.0)] = 0
    """
    How much less likely than the target's own choice a proposed token may be and still be taken, in nats. Above 0 the text is no longer exactly the target's; every token so taken is counted. 0, the default, takes none.
    """
    draft_patience: Annotated[
        str | None, Field(alias="draftPatience", max_length=16, min_length=2, pattern="^[0-9]+(\\.[0-9]+)?(us|ms|s)$")
    ] = None
    """
    Longest time that a step of the target waits for a tree of the draft, for example 50ms; 0s never waits. Absent: the target weighs the wait against what the tree is expected to earn.
    """
    fallback: Literal["NGram", "None"] = "NGram"
    """
    What drafts where no draft model does. NGram proposes what followed the same words earlier in the text, which costs nothing. None decodes plainly.
    """


class Endpoint(BaseModel):
    """
    Where clients reach the model, over the OpenAI-compatible HTTP API.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """
    Port of the target's Service, and of this machine under `outrider up`.
    """


class Spec(BaseModel):
    """
    What is wanted.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    target: Target
    """
    The model that is served. It verifies every proposed token, and its choice is what clients get.
    """
    draft: Draft | None = None
    """
    The smaller model that proposes tokens. It needs the target's tokenizer. Absent: no draft model; speculation.fallback says what drafts instead.
    """
    speculation: Speculation = Speculation()
    """
    How far and how wide the draft rides ahead. It changes the speed, never the text, as long as tolerance is 0.
    """
    endpoint: Endpoint = Endpoint()
    """
    Where clients reach the model, over the OpenAI-compatible HTTP API.
    """


class Condition(BaseModel):
    """
    One aspect of the model's state.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    type: Annotated[str, Field(max_length=316, pattern="^[A-Za-z][A-Za-z0-9]*$")]
    """
    Which aspect, for example Ready.
    """
    status: Literal["True", "False", "Unknown"]
    """
    Whether it holds.
    """
    observed_generation: Annotated[int | None, Field(alias="observedGeneration", ge=0)] = None
    """
    The metadata.generation that this condition speaks of.
    """
    last_transition_time: Annotated[AwareDatetime, Field(alias="lastTransitionTime")]
    """
    When status last changed.
    """
    reason: Annotated[str, Field(max_length=1024, pattern="^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$")]
    """
    One word for programs that says why.
    """
    message: Annotated[str, Field(max_length=32768)]
    """
    A line for people that says why.
    """


class Status(BaseModel):
    """
    What is there, as last seen by the operator.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    observed_generation: Annotated[int | None, Field(alias="observedGeneration", ge=0)] = None
    """
    The metadata.generation that this status speaks of.
    """
    url: Annotated[str | None, Field(max_length=1024)] = None
    """
    Where clients inside the cluster reach the model.
    """
    conditions: Annotated[list[Condition] | None, Field(max_length=16)] = None
    """
    State of the model, one condition a type.
    """


class SpeculativeModel(BaseModel):
    """
    A language model served by a target, and a smaller draft model that rides ahead of it and proposes the tokens that the target verifies. The text is the target's own, whatever the draft proposes.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    api_version: Annotated[Literal["outrider.dev/v1alpha1"], Field(alias="apiVersion")]
    """
    The version of this API, outrider.dev/v1alpha1.
    """
    kind: Literal["SpeculativeModel"]
    """
    Always SpeculativeModel.
    """
    metadata: ObjectMeta
    """
    What every Kubernetes object says of itself; fields not named here are kept as they are.
    """
    spec: Spec
    """
    What is wanted.
    """
    status: Status | None = None
    """
    What is there, as last seen by the operator.
    """
