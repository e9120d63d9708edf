"""The typed SpeculativeModel. Generated from the CRD in crds/ by `make generate`: do not edit."""

# ruff: noqa: E501

from typing import Annotated, Any, Literal

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


class SecretRef(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    name: Annotated[str, Field(max_length=253, min_length=1, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    """
    Name of the Secret, which is in the model's own namespace.
    """


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
    secret_ref: Annotated[SecretRef | None, Field(alias="secretRef")] = None
    """
    Secret for the download. Its keys become environment there: HF_TOKEN for hf://, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://. For oci:// it is the one that the image is pulled with. Absent: nothing is needed.
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


class Toleration(BaseModel):
    """
    One such taint, or all that are like it.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    key: Annotated[
        str | None,
        Field(max_length=317, pattern="^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"),
    ] = None
    """
    Key of the taint. Absent, with operator Exists, every key.
    """
    operator: Literal["Exists", "Equal"] | None = None
    """
    Whether the taint's value counts. Absent, Equal.
    """
    value: Annotated[str | None, Field(max_length=63, pattern="^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")] = None
    """
    Value of the taint, for the operator Equal.
    """
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """
    What the taint does. Absent, whatever it does.
    """
    toleration_seconds: Annotated[int | None, Field(alias="tolerationSeconds", ge=0)] = None
    """
    How long a pod stays after a NoExecute taint has come. Absent, for ever.
    """


class Affinity(BaseModel):
    """
    Which nodes the pods want, as in a pod. Terms are added to those of the operator, which puts the draft near the target.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    node_affinity: Annotated[dict[str, Any] | None, Field(alias="nodeAffinity")] = None
    """
    As in a pod.
    """
    pod_affinity: Annotated[dict[str, Any] | None, Field(alias="podAffinity")] = None
    """
    As in a pod.
    """
    pod_anti_affinity: Annotated[dict[str, Any] | None, Field(alias="podAntiAffinity")] = None
    """
    As in a pod.
    """


class TopologySpreadConstraint(BaseModel):
    """
    One constraint. Without a labelSelector it counts the pods of this role.
    """

    model_config = ConfigDict(
        extra="allow",
        populate_by_name=True,
        frozen=True,
    )
    max_skew: Annotated[int, Field(alias="maxSkew", ge=1, le=256)]
    """
    By how many pods two nodes or zones may differ.
    """
    topology_key: Annotated[
        str,
        Field(
            alias="topologyKey",
            max_length=317,
            pattern="^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        ),
    ]
    """
    The node label that tells them apart, for example topology.kubernetes.io/zone.
    """
    when_unsatisfiable: Annotated[Literal["DoNotSchedule", "ScheduleAnyway"], Field(alias="whenUnsatisfiable")]
    """
    What happens to a pod that no place satisfies.
    """


class ImagePullSecret(BaseModel):
    """
    One of them.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    name: Annotated[str, Field(max_length=253, min_length=1, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    """
    Name of the Secret, which is in the model's own namespace.
    """


class Env(BaseModel):
    """
    One variable.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    name: Annotated[str, Field(max_length=253, min_length=1, pattern="^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
    """
    Name of the variable.
    """
    value: Annotated[str | None, Field(max_length=32768)] = None
    """
    Its value, any text.
    """
    value_from: Annotated[dict[str, Any] | None, Field(alias="valueFrom")] = None
    """
    Where its value is read from, as in a pod. `outrider up` does not set it.
    """


class Volume(BaseModel):
    """
    One volume.
    """

    model_config = ConfigDict(
        extra="allow",
        populate_by_name=True,
        frozen=True,
    )
    name: Annotated[str, Field(max_length=63, min_length=1, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """
    Name of the volume.
    """


class VolumeMount(BaseModel):
    """
    One mount.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    name: Annotated[str, Field(max_length=63, min_length=1, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """
    Name of the volume.
    """
    mount_path: Annotated[str, Field(alias="mountPath", max_length=1024, pattern="^(/[^/:]+)+$")]
    """
    Folder in the container.
    """
    sub_path: Annotated[str | None, Field(alias="subPath", max_length=1024, pattern="^[^/:]+(/[^/:]+)*$")] = None
    """
    Folder of the volume. Absent, all of it.
    """
    read_only: Annotated[bool | None, Field(alias="readOnly")] = None
    """
    Whether the container can only read it. Absent, it can write too.
    """


class PodTemplate(BaseModel):
    """
    What this role's pods have besides what the operator builds. Lists with a key (env, volumes, volumeMounts, imagePullSecrets) are merged by it, and of two entries with one key this one is taken; affinity is added to the operator's own.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    annotations: Annotated[dict[str, str] | None, Field(max_length=64)] = None
    """
    Annotations of the pods, for example those that a service mesh reads.
    """
    node_selector: Annotated[dict[str, str] | None, Field(alias="nodeSelector", max_length=32)] = None
    """
    Labels that a node must have.
    """
    tolerations: Annotated[list[Toleration] | None, Field(max_length=32)] = None
    """
    Taints of nodes that do not keep the pods away.
    """
    affinity: Affinity | None = None
    """
    Which nodes the pods want, as in a pod. Terms are added to those of the operator, which puts the draft near the target.
    """
    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint] | None, Field(alias="topologySpreadConstraints", max_length=16)
    ] = None
    """
    How the pods are spread over nodes or zones, as in a pod.
    """
    priority_class_name: Annotated[
        str | None, Field(alias="priorityClassName", max_length=253, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    ] = None
    """
    PriorityClass of the pods.
    """
    runtime_class_name: Annotated[
        str | None, Field(alias="runtimeClassName", max_length=253, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    ] = None
    """
    RuntimeClass of the pods, for example nvidia where a GPU needs it.
    """
    image_pull_secrets: Annotated[list[ImagePullSecret] | None, Field(alias="imagePullSecrets", max_length=16)] = None
    """
    Secrets with which the images are pulled.
    """
    env: Annotated[list[Env] | None, Field(max_length=64)] = None
    """
    Environment of every container, over what the operator sets. HOME and TMPDIR are not to be set.
    """
    volumes: Annotated[list[Volume] | None, Field(max_length=32)] = None
    """
    Volumes of the pods, each with a name and a source as in a pod. One called home, cache, tmp or shm takes the place of the operator's, which is an emptyDir. OpenShift's restricted-v2 admits configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected and secret.
    """
    volume_mounts: Annotated[list[VolumeMount] | None, Field(alias="volumeMounts", max_length=32)] = None
    """
    Where the volumes are in every container.
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
    Pods of this role, where autoscaling does not set them. On one machine (`outrider up`) each is a process.
    """
    kv_cache: Annotated[KvCache | None, Field(alias="kvCache")] = None
    """
    How much memory the keys and values of all running sequences may take, and the prefixes that are kept for later requests. The pool never grows beyond it: what does not fit waits. Absent: a share of the memory that is free once the model is loaded, half of it on CPUs and nine tenths on a GPU.
    """
    resources: Resources = Resources()
    """
    Compute resources of the container, as in a pod. When target and draft both ask for hardware of their own (a whole number of CPUs, or a GPU) the draft runs ahead while the target verifies; otherwise the two share hardware and take turns.
    """
    pod_template: Annotated[PodTemplate | None, Field(alias="podTemplate")] = None
    """
    What this role's pods have besides what the operator builds. Lists with a key (env, volumes, volumeMounts, imagePullSecrets) are merged by it, and of two entries with one key this one is taken; affinity is added to the operator's own.
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


class Placement(BaseModel):
    """
    Where the draft runs.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    same_node: Annotated[Literal["Preferred", "Required", "None"], Field(alias="sameNode")] = "Preferred"
    """
    Whether the draft runs on the target's node, where the two talk the fastest. Preferred, where there is room; Required, there or not at all; None, anywhere.
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
    Pods of this role, where autoscaling does not set them. The target spreads its sequences over them. On one machine (`outrider up`) each is a process.
    """
    kv_cache: Annotated[KvCache | None, Field(alias="kvCache")] = None
    """
    How much memory the keys and values of all running sequences may take, and the prefixes that are kept for later requests. The pool never grows beyond it: what does not fit waits. Absent: a share of the memory that is free once the model is loaded, half of it on CPUs and nine tenths on a GPU.
    """
    resources: Resources = Resources()
    """
    Compute resources of the container, as in a pod. When target and draft both ask for hardware of their own (a whole number of CPUs, or a GPU) the draft runs ahead while the target verifies; otherwise the two share hardware and take turns.
    """
    pod_template: Annotated[PodTemplate | None, Field(alias="podTemplate")] = None
    """
    What this role's pods have besides what the operator builds. Lists with a key (env, volumes, volumeMounts, imagePullSecrets) are merged by it, and of two entries with one key this one is taken; affinity is added to the operator's own.
    """
    quantization: Literal["int8"] | None = None
    """
    Stores the weights in 8 bits. It changes the speed only: whatever a draft proposes, the text is the target's. Absent: the weights as they are.
    """
    placement: Placement = Placement()
    """
    Where the draft runs.
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


class ScalingPolicy(BaseModel):
    """
    So many pods, or per cent of them, within a time.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    type: Literal["Pods", "Percent"]
    """
    What the value counts.
    """
    value: Annotated[int, Field(ge=1, le=2147483647)]
    """
    Pods, or per cent of them.
    """
    period_seconds: Annotated[int, Field(alias="periodSeconds", ge=1, le=1800)]
    """
    The time within which so much is allowed.
    """


class ScalingRules(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    stabilization_window_seconds: Annotated[int | None, Field(alias="stabilizationWindowSeconds", ge=0, le=3600)] = None
    """
    Of what was recommended within so long, the value that changes least is taken. Absent: 0 to grow, 300 to shrink.
    """
    select_policy: Annotated[Literal["Max", "Min", "Disabled"], Field(alias="selectPolicy")] = "Max"
    """
    Which of the policies counts: the one that allows most, the one that allows least, or Disabled, and there is no change in this direction.
    """
    policies: Annotated[list[ScalingPolicy] | None, Field(max_length=16, min_length=1)] = None
    """
    What is allowed within a time. Absent: to grow, 4 pods or 100 per cent in 15 s; to shrink, 100 per cent in 15 s.
    """
    tolerance: int | str | None = None
    """
    By how much of the goal what is measured may differ without a change, as a quantity such as 50m or "0.05". Absent: 100m, a tenth.
    """


class ScalingBehavior(BaseModel):
    """
    How fast the role may grow and shrink, as in a HorizontalPodAutoscaler (autoscaling/v2). What is absent is as Kubernetes has it there.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    scale_up: Annotated[ScalingRules | None, Field(alias="scaleUp")] = None
    """
    How fast the role may grow.
    """
    scale_down: Annotated[ScalingRules | None, Field(alias="scaleDown")] = None
    """
    How fast the role may shrink.
    """


class TargetScaling(BaseModel):
    """
    Between how many pods the target is scaled, and how fast.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    min_replicas: Annotated[int, Field(alias="minReplicas", ge=0, le=256)] = 1
    """
    Fewest pods of the target, 1 at least.
    """
    max_replicas: Annotated[int, Field(alias="maxReplicas", ge=1, le=256)]
    """
    Most pods of the role.
    """
    behavior: ScalingBehavior | None = None
    """
    How fast the role may grow and shrink, as in a HorizontalPodAutoscaler (autoscaling/v2). What is absent is as Kubernetes has it there.
    """


class DraftScaling(BaseModel):
    """
    Between how many pods the draft is scaled, and how fast. Never more than one for each target.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    min_replicas: Annotated[int, Field(alias="minReplicas", ge=0, le=256)] = 0
    """
    Fewest pods of the draft. With 0 there is none while speculation does not pay.
    """
    max_replicas: Annotated[int, Field(alias="maxReplicas", ge=1, le=256)]
    """
    Most pods of the role.
    """
    behavior: ScalingBehavior | None = None
    """
    How fast the role may grow and shrink, as in a HorizontalPodAutoscaler (autoscaling/v2). What is absent is as Kubernetes has it there.
    """


class Slo(BaseModel):
    """
    What the targets are scaled for. Without either goal they follow their load alone.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    ttft_p95: Annotated[
        str | None, Field(alias="ttftP95", max_length=10, min_length=2, pattern="^[0-9]+(\\.[0-9]+)?(us|ms|s)$")
    ] = None
    """
    95th percentile of the time to the first token that is to be kept, for example 2s. Absent: no goal.
    """
    itl_p95: Annotated[
        str | None, Field(alias="itlP95", max_length=10, min_length=2, pattern="^[0-9]+(\\.[0-9]+)?(us|ms|s)$")
    ] = None
    """
    95th percentile of the time between tokens that is to be kept, for example 50ms. Absent: no goal.
    """


class Autoscaling(BaseModel):
    """
    Has the operator set how many pods a role has, by what is measured: latency, load, and what speculation earns. A role that is not named in it keeps its replicas. Absent: both do.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    mode: Literal["Active", "Advisory"] = "Active"
    """
    Active changes replicas, and turns drafting off and on. Advisory decides and says so in the status, and touches nothing: replicas hold.
    """
    target: TargetScaling | None = None
    """
    Between how many pods the target is scaled, and how fast.
    """
    draft: DraftScaling | None = None
    """
    Between how many pods the draft is scaled, and how fast. Never more than one for each target.
    """
    slo: Slo | None = None
    """
    What the targets are scaled for. Without either goal they follow their load alone.
    """
    min_goodput_gain: Annotated[float, Field(alias="minGoodputGain", ge=1.0, le=10.0)] = 1.05
    """
    Tokens a second that the draft must earn, over those without it: with n-grams alone, where they are the fallback. While it earns less for long, drafting stops. It is tried again later, and when load or traffic change. In mode Always of speculation it does not stop.
    """


class Auth(BaseModel):
    """
    Who may ask. Absent: everybody who reaches the endpoint. /health, /ready and /metrics need no key.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    secret_ref: Annotated[SecretRef, Field(alias="secretRef")]
    """
    Secret with the API keys, one in each value, by any name. It is read anew when it changes.
    """


class Tls(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    secret_ref: Annotated[SecretRef, Field(alias="secretRef")]
    """
    Secret of the type kubernetes.io/tls.
    """


class ParentRef(BaseModel):
    """
    One Gateway.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    name: Annotated[str, Field(max_length=253, min_length=1, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    """
    Name of the Gateway.
    """
    namespace: Annotated[str | None, Field(max_length=63, min_length=1, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] = (
        None
    )
    """
    Its namespace. Absent, the model's own.
    """
    section_name: Annotated[
        str | None, Field(alias="sectionName", max_length=253, min_length=1, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    ] = None
    """
    Which of its listeners. Absent, all that fit.
    """


class Route(BaseModel):
    """
    How clients outside the cluster get in. Absent: none do. Its API may be missing from a cluster; then nothing is made, and the model's status says so.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    kind: Literal["Route", "Ingress", "HTTPRoute"]
    """
    Route is OpenShift's, always with TLS, Ingress is in every cluster, HTTPRoute is the Gateway API's.
    """
    host: Annotated[
        str | None,
        Field(
            max_length=253, min_length=1, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
        ),
    ] = None
    """
    Host name under which clients ask. Absent: the one that OpenShift makes up, or any that leads there.
    """
    annotations: Annotated[dict[str, str] | None, Field(max_length=64)] = None
    """
    Annotations of the Route, Ingress or HTTPRoute, over what the operator sets, for example timeouts of a router or the issuer of a certificate.
    """
    ingress_class_name: Annotated[
        str | None,
        Field(alias="ingressClassName", max_length=253, min_length=1, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
    ] = None
    """
    Which controller serves the Ingress. Absent, the cluster's own choice.
    """
    parent_refs: Annotated[list[ParentRef] | None, Field(alias="parentRefs", max_length=8, min_length=1)] = None
    """
    The Gateways of an HTTPRoute.
    """
    tls: Tls | None = None
    """
    Certificate that the Route's router or the Ingress's controller serves. Absent: its own, or, for an Ingress, none.
    """
    termination: Literal["Edge", "Reencrypt", "Passthrough"] | None = None
    """
    Where the TLS of a Route ends. Edge: at the router, which asks the target by HTTP. Reencrypt: at the router, which asks the target by HTTPS. Passthrough: at the target. Absent: Passthrough with endpoint.tls, else Edge.
    """
    destination_ca: Annotated[
        str | None,
        Field(alias="destinationCA", max_length=262144, min_length=1, pattern="^-----BEGIN CERTIFICATE-----"),
    ] = None
    """
    Authority of the target's certificate, in PEM, for a Route that re-encrypts. Absent: that of OpenShift's own services.
    """


class From(BaseModel):
    """
    Pods or addresses.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    pod_selector: Annotated[dict[str, Any] | None, Field(alias="podSelector")] = None
    """
    Labels of the pods. Absent, all.
    """
    namespace_selector: Annotated[dict[str, Any] | None, Field(alias="namespaceSelector")] = None
    """
    Labels of their namespaces. Absent, the model's own.
    """
    ip_block: Annotated[dict[str, Any] | None, Field(alias="ipBlock")] = None
    """
    A range of addresses, and what is not of it.
    """


class NetworkPolicy(BaseModel):
    """
    Who reaches the pods.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    enabled: bool = True
    """
    Whether NetworkPolicies are made: clients reach the target's API alone, and the target alone the draft's. False where others take care of it.
    """
    from_: Annotated[list[From] | None, Field(alias="from", max_length=32, min_length=1)] = None
    """
    Who may reach the target, as in a NetworkPolicy. It holds for /metrics too and for what comes by a route: name the router's namespace and Prometheus' as well. Absent: everybody.
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
    auth: Auth | None = None
    """
    Who may ask. Absent: everybody who reaches the endpoint. /health, /ready and /metrics need no key.
    """
    tls: Tls | None = None
    """
    Certificate with which the target itself serves HTTPS. Absent: it serves HTTP.
    """
    route: Route | None = None
    """
    How clients outside the cluster get in. Absent: none do. Its API may be missing from a cluster; then nothing is made, and the model's status says so.
    """
    network_policy: Annotated[NetworkPolicy, Field(alias="networkPolicy")] = NetworkPolicy()
    """
    Who reaches the pods.
    """


class Storage(BaseModel):
    """
    A volume for the files of both models and for compiled kernels, instead of an emptyDir that each pod fills anew. Its claim is called NAME-models, is mounted at /cache, and goes with the model. Only size can be changed later, and only upwards. Absent: an emptyDir.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    size: int | str
    """
    Bytes, as a quantity such as 50Gi.
    """
    storage_class_name: Annotated[
        str | None,
        Field(alias="storageClassName", max_length=253, min_length=1, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
    ] = None
    """
    StorageClass of the volume. Absent, the cluster's default.
    """
    access_modes: Annotated[
        list[Literal["ReadWriteOnce", "ReadWriteMany"]], Field(alias="accessModes", max_length=2, min_length=1)
    ] = ["ReadWriteOnce"]
    """
    How the volume can be mounted. Roles or replicas on several nodes need ReadWriteMany; with ReadWriteOnce all pods must be on one.
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
    paused: bool = False
    """
    While true the operator writes nothing but the status: what runs is left as it is, also where somebody edits or deletes it.
    """
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
    autoscaling: Autoscaling | None = None
    """
    Has the operator set how many pods a role has, by what is measured: latency, load, and what speculation earns. A role that is not named in it keeps its replicas. Absent: both do.
    """
    endpoint: Endpoint = Endpoint()
    """
    Where clients reach the model, over the OpenAI-compatible HTTP API.
    """
    storage: Storage | None = None
    """
    A volume for the files of both models and for compiled kernels, instead of an emptyDir that each pod fills anew. Its claim is called NAME-models, is mounted at /cache, and goes with the model. Only size can be changed later, and only upwards. Absent: an emptyDir.
    """


class ScalingDecision(BaseModel):
    """
    One change, and why.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )
    time: AwareDatetime
    """
    When it was decided.
    """
    role: Literal["target", "draft", "speculation"]
    """
    What was changed, the replicas of a role or whether the targets speculate.
    """
    from_: Annotated[int, Field(alias="from", ge=0, le=65536)]
    """
    Replicas before; of speculation 1 is on and 0 off.
    """
    to: Annotated[int, Field(ge=0, le=65536)]
    """
    Replicas after; of speculation 1 is on and 0 off.
    """
    reason: Annotated[str, Field(max_length=1024, pattern="^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$")]
    """
    One word for programs that says why.
    """
    message: Annotated[str, Field(max_length=32768)]
    """
    A sentence with figures for people that says why.
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
    target_replicas: Annotated[int | None, Field(alias="targetReplicas", ge=0, le=65536)] = None
    """
    Pods that the target's Deployment is to have.
    """
    target_ready_replicas: Annotated[int | None, Field(alias="targetReadyReplicas", ge=0, le=65536)] = None
    """
    Pods of the target that are ready.
    """
    target_selector: Annotated[str | None, Field(alias="targetSelector", max_length=1024)] = None
    """
    Labels that find the pods of the target, as text; a HorizontalPodAutoscaler reads them.
    """
    draft_replicas: Annotated[int | None, Field(alias="draftReplicas", ge=0, le=65536)] = None
    """
    Pods that the draft's Deployment is to have. Absent where no draft is to run.
    """
    draft_ready_replicas: Annotated[int | None, Field(alias="draftReadyReplicas", ge=0, le=65536)] = None
    """
    Pods of the draft that are ready. Absent where no draft is to run.
    """
    draft_selector: Annotated[str | None, Field(alias="draftSelector", max_length=1024)] = None
    """
    Labels that find the pods of the draft, as text. Absent where no draft is to run.
    """
    acceptance_rate: Annotated[float | None, Field(alias="acceptanceRate", ge=0.0, le=1.0)] = None
    """
    Share of the drafted tokens that were accepted, lately, all targets together. Absent while nothing is drafted.
    """
    accepted_tokens_per_step: Annotated[float | None, Field(alias="acceptedTokensPerStep", ge=0.0, le=257.0)] = None
    """
    Tokens that a step of the target yielded each sequence, lately, the target's own one included. 1 is plain decoding. Absent while nothing is decoded.
    """
    goodput_gain: Annotated[float | None, Field(alias="goodputGain", ge=0.0, le=1000.0)] = None
    """
    Tokens a second over those of plain decoding, lately. 1 is no gain.
    """
    ttft_p95: Annotated[str | None, Field(alias="ttftP95", max_length=16, pattern="^[0-9]+(\\.[0-9]+)?(us|ms|s)$")] = (
        None
    )
    """
    95th percentile of the time to the first token, lately, for example 0.4s.
    """
    itl_p95: Annotated[str | None, Field(alias="itlP95", max_length=16, pattern="^[0-9]+(\\.[0-9]+)?(us|ms|s)$")] = None
    """
    95th percentile of the time between tokens, lately, for example 23ms.
    """
    speculating: bool | None = None
    """
    Whether the targets are told that they may speculate. Absent where the operator does not decide it.
    """
    scaling_decisions: Annotated[list[ScalingDecision] | None, Field(alias="scalingDecisions", max_length=5)] = None
    """
    The last changes that autoscaling made or, in mode Advisory, would have made; the newest first.
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
