from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EmbeddingType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMBEDDING_TYPE_UNSPECIFIED: _ClassVar[EmbeddingType]
    EMBEDDING_TYPE_FLOAT32: _ClassVar[EmbeddingType]
    EMBEDDING_TYPE_FLOAT16: _ClassVar[EmbeddingType]
    EMBEDDING_TYPE_INT8: _ClassVar[EmbeddingType]
    EMBEDDING_TYPE_BINARY: _ClassVar[EmbeddingType]
    EMBEDDING_TYPE_UBINARY: _ClassVar[EmbeddingType]

class Scoring(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORING_UNSPECIFIED: _ClassVar[Scoring]
    SCORING_SOFTMAX: _ClassVar[Scoring]
    SCORING_SIGMOID: _ClassVar[Scoring]
    SCORING_COSINE: _ClassVar[Scoring]

class LabelSetState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LABEL_SET_STATE_UNSPECIFIED: _ClassVar[LabelSetState]
    LABEL_SET_STATE_READY: _ClassVar[LabelSetState]
    LABEL_SET_STATE_BUILDING: _ClassVar[LabelSetState]
    LABEL_SET_STATE_FAILED: _ClassVar[LabelSetState]
EMBEDDING_TYPE_UNSPECIFIED: EmbeddingType
EMBEDDING_TYPE_FLOAT32: EmbeddingType
EMBEDDING_TYPE_FLOAT16: EmbeddingType
EMBEDDING_TYPE_INT8: EmbeddingType
EMBEDDING_TYPE_BINARY: EmbeddingType
EMBEDDING_TYPE_UBINARY: EmbeddingType
SCORING_UNSPECIFIED: Scoring
SCORING_SOFTMAX: Scoring
SCORING_SIGMOID: Scoring
SCORING_COSINE: Scoring
LABEL_SET_STATE_UNSPECIFIED: LabelSetState
LABEL_SET_STATE_READY: LabelSetState
LABEL_SET_STATE_BUILDING: LabelSetState
LABEL_SET_STATE_FAILED: LabelSetState

class ItemError(_message.Message):
    __slots__ = ("code", "detail", "limit", "actual", "index")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    limit: float
    actual: float
    index: int
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ..., limit: _Optional[float] = ..., actual: _Optional[float] = ..., index: _Optional[int] = ...) -> None: ...

class ClassifyRequest(_message.Message):
    __slots__ = ("images", "labels", "templates", "top_k", "truncate", "model", "expect_fingerprint", "label_sets", "background", "scoring", "temperature", "threshold")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    LABEL_SETS_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    SCORING_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedScalarFieldContainer[bytes]
    labels: _containers.RepeatedScalarFieldContainer[str]
    templates: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    truncate: bool
    model: str
    expect_fingerprint: str
    label_sets: _containers.RepeatedScalarFieldContainer[str]
    background: _containers.RepeatedScalarFieldContainer[str]
    scoring: Scoring
    temperature: float
    threshold: float
    def __init__(self, images: _Optional[_Iterable[bytes]] = ..., labels: _Optional[_Iterable[str]] = ..., templates: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ..., truncate: _Optional[bool] = ..., model: _Optional[str] = ..., expect_fingerprint: _Optional[str] = ..., label_sets: _Optional[_Iterable[str]] = ..., background: _Optional[_Iterable[str]] = ..., scoring: _Optional[_Union[Scoring, str]] = ..., temperature: _Optional[float] = ..., threshold: _Optional[float] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("model", "fingerprint", "results", "truncated_labels", "label_sets", "warnings")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_LABELS_FIELD_NUMBER: _ClassVar[int]
    LABEL_SETS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    results: _containers.RepeatedCompositeFieldContainer[ClassifyResult]
    truncated_labels: _containers.RepeatedScalarFieldContainer[str]
    label_sets: _containers.RepeatedCompositeFieldContainer[LabelSetVersion]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., results: _Optional[_Iterable[_Union[ClassifyResult, _Mapping]]] = ..., truncated_labels: _Optional[_Iterable[str]] = ..., label_sets: _Optional[_Iterable[_Union[LabelSetVersion, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class ClassifyResult(_message.Message):
    __slots__ = ("labels", "error", "label_sets")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LABEL_SETS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedCompositeFieldContainer[LabelScore]
    error: ItemError
    label_sets: _containers.RepeatedCompositeFieldContainer[LabelSetResult]
    def __init__(self, labels: _Optional[_Iterable[_Union[LabelScore, _Mapping]]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ..., label_sets: _Optional[_Iterable[_Union[LabelSetResult, _Mapping]]] = ...) -> None: ...

class LabelScore(_message.Message):
    __slots__ = ("label", "score", "cosine", "logit", "id")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    label: str
    score: float
    cosine: float
    logit: float
    id: str
    def __init__(self, label: _Optional[str] = ..., score: _Optional[float] = ..., cosine: _Optional[float] = ..., logit: _Optional[float] = ..., id: _Optional[str] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("images", "texts", "truncate", "embedding_type", "model", "expect_fingerprint")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_TYPE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedScalarFieldContainer[bytes]
    texts: _containers.RepeatedScalarFieldContainer[str]
    truncate: bool
    embedding_type: EmbeddingType
    model: str
    expect_fingerprint: str
    def __init__(self, images: _Optional[_Iterable[bytes]] = ..., texts: _Optional[_Iterable[str]] = ..., truncate: _Optional[bool] = ..., embedding_type: _Optional[_Union[EmbeddingType, str]] = ..., model: _Optional[str] = ..., expect_fingerprint: _Optional[str] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("model", "fingerprint", "results")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    results: _containers.RepeatedCompositeFieldContainer[EmbedResult]
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., results: _Optional[_Iterable[_Union[EmbedResult, _Mapping]]] = ...) -> None: ...

class EmbedResult(_message.Message):
    __slots__ = ("embedding", "scale", "tokens", "truncated", "error")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    embedding: bytes
    scale: float
    tokens: int
    truncated: bool
    error: ItemError
    def __init__(self, embedding: _Optional[bytes] = ..., scale: _Optional[float] = ..., tokens: _Optional[int] = ..., truncated: _Optional[bool] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class EmbedStreamRequest(_message.Message):
    __slots__ = ("image", "text", "truncate", "embedding_type", "model", "expect_fingerprint")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_TYPE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    text: str
    truncate: bool
    embedding_type: EmbeddingType
    model: str
    expect_fingerprint: str
    def __init__(self, image: _Optional[bytes] = ..., text: _Optional[str] = ..., truncate: _Optional[bool] = ..., embedding_type: _Optional[_Union[EmbeddingType, str]] = ..., model: _Optional[str] = ..., expect_fingerprint: _Optional[str] = ...) -> None: ...

class EmbedStreamResponse(_message.Message):
    __slots__ = ("model", "fingerprint", "result")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    result: EmbedResult
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., result: _Optional[_Union[EmbedResult, _Mapping]] = ...) -> None: ...

class SimilarityRequest(_message.Message):
    __slots__ = ("images", "texts", "to_images", "to_texts", "truncate", "model", "expect_fingerprint")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    TO_IMAGES_FIELD_NUMBER: _ClassVar[int]
    TO_TEXTS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedScalarFieldContainer[bytes]
    texts: _containers.RepeatedScalarFieldContainer[str]
    to_images: _containers.RepeatedScalarFieldContainer[bytes]
    to_texts: _containers.RepeatedScalarFieldContainer[str]
    truncate: bool
    model: str
    expect_fingerprint: str
    def __init__(self, images: _Optional[_Iterable[bytes]] = ..., texts: _Optional[_Iterable[str]] = ..., to_images: _Optional[_Iterable[bytes]] = ..., to_texts: _Optional[_Iterable[str]] = ..., truncate: _Optional[bool] = ..., model: _Optional[str] = ..., expect_fingerprint: _Optional[str] = ...) -> None: ...

class SimilarityResponse(_message.Message):
    __slots__ = ("model", "fingerprint", "results")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    results: _containers.RepeatedCompositeFieldContainer[SimilarityResult]
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., results: _Optional[_Iterable[_Union[SimilarityResult, _Mapping]]] = ...) -> None: ...

class SimilarityResult(_message.Message):
    __slots__ = ("cosine", "logit", "error")
    COSINE_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    cosine: _containers.RepeatedScalarFieldContainer[float]
    logit: _containers.RepeatedScalarFieldContainer[float]
    error: ItemError
    def __init__(self, cosine: _Optional[_Iterable[float]] = ..., logit: _Optional[_Iterable[float]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class TokenizeRequest(_message.Message):
    __slots__ = ("texts", "model", "expect_fingerprint")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    model: str
    expect_fingerprint: str
    def __init__(self, texts: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., expect_fingerprint: _Optional[str] = ...) -> None: ...

class TokenizeResponse(_message.Message):
    __slots__ = ("model", "fingerprint", "context_length", "results")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    context_length: int
    results: _containers.RepeatedCompositeFieldContainer[TokenizeResult]
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., context_length: _Optional[int] = ..., results: _Optional[_Iterable[_Union[TokenizeResult, _Mapping]]] = ...) -> None: ...

class TokenizeResult(_message.Message):
    __slots__ = ("ids", "pieces", "tokens", "truncated")
    IDS_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    pieces: _containers.RepeatedScalarFieldContainer[str]
    tokens: int
    truncated: bool
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., pieces: _Optional[_Iterable[str]] = ..., tokens: _Optional[int] = ..., truncated: _Optional[bool] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("id", "ready", "fingerprint", "embed_dim", "image_size", "context_length", "scoring", "logit_scale", "logit_bias", "prompt_templates", "precision", "checkpoint", "licence", "random_weights")
    ID_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    EMBED_DIM_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    SCORING_FIELD_NUMBER: _ClassVar[int]
    LOGIT_SCALE_FIELD_NUMBER: _ClassVar[int]
    LOGIT_BIAS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    RANDOM_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    ready: bool
    fingerprint: str
    embed_dim: int
    image_size: int
    context_length: int
    scoring: str
    logit_scale: float
    logit_bias: float
    prompt_templates: _containers.RepeatedScalarFieldContainer[str]
    precision: str
    checkpoint: str
    licence: str
    random_weights: bool
    def __init__(self, id: _Optional[str] = ..., ready: _Optional[bool] = ..., fingerprint: _Optional[str] = ..., embed_dim: _Optional[int] = ..., image_size: _Optional[int] = ..., context_length: _Optional[int] = ..., scoring: _Optional[str] = ..., logit_scale: _Optional[float] = ..., logit_bias: _Optional[float] = ..., prompt_templates: _Optional[_Iterable[str]] = ..., precision: _Optional[str] = ..., checkpoint: _Optional[str] = ..., licence: _Optional[str] = ..., random_weights: _Optional[bool] = ...) -> None: ...

class ListTemplateSetsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTemplateSetsResponse(_message.Message):
    __slots__ = ("template_sets",)
    TEMPLATE_SETS_FIELD_NUMBER: _ClassVar[int]
    template_sets: _containers.RepeatedCompositeFieldContainer[TemplateSet]
    def __init__(self, template_sets: _Optional[_Iterable[_Union[TemplateSet, _Mapping]]] = ...) -> None: ...

class GetTemplateSetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetTemplateSetResponse(_message.Message):
    __slots__ = ("template_set",)
    TEMPLATE_SET_FIELD_NUMBER: _ClassVar[int]
    template_set: TemplateSet
    def __init__(self, template_set: _Optional[_Union[TemplateSet, _Mapping]] = ...) -> None: ...

class TemplateSet(_message.Message):
    __slots__ = ("name", "templates", "classes", "class_names", "source")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    templates: _containers.RepeatedScalarFieldContainer[str]
    classes: int
    class_names: _containers.RepeatedScalarFieldContainer[str]
    source: str
    def __init__(self, name: _Optional[str] = ..., templates: _Optional[_Iterable[str]] = ..., classes: _Optional[int] = ..., class_names: _Optional[_Iterable[str]] = ..., source: _Optional[str] = ...) -> None: ...

class LabelSetVersion(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class LabelSetResult(_message.Message):
    __slots__ = ("label_set", "labels")
    LABEL_SET_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    label_set: str
    labels: _containers.RepeatedCompositeFieldContainer[LabelScore]
    def __init__(self, label_set: _Optional[str] = ..., labels: _Optional[_Iterable[_Union[LabelScore, _Mapping]]] = ...) -> None: ...

class ListLabelSetsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLabelSetsResponse(_message.Message):
    __slots__ = ("label_sets",)
    LABEL_SETS_FIELD_NUMBER: _ClassVar[int]
    label_sets: _containers.RepeatedCompositeFieldContainer[LabelSet]
    def __init__(self, label_sets: _Optional[_Iterable[_Union[LabelSet, _Mapping]]] = ...) -> None: ...

class GetLabelSetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetLabelSetResponse(_message.Message):
    __slots__ = ("label_set",)
    LABEL_SET_FIELD_NUMBER: _ClassVar[int]
    label_set: LabelSet
    def __init__(self, label_set: _Optional[_Union[LabelSet, _Mapping]] = ...) -> None: ...

class PutLabelSetRequest(_message.Message):
    __slots__ = ("name", "labels", "templates", "background", "model", "expect_fingerprint", "truncate", "scoring", "temperature", "threshold", "example_weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    SCORING_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    labels: _containers.RepeatedCompositeFieldContainer[NewLabel]
    templates: _containers.RepeatedScalarFieldContainer[str]
    background: _containers.RepeatedScalarFieldContainer[str]
    model: str
    expect_fingerprint: str
    truncate: bool
    scoring: Scoring
    temperature: float
    threshold: float
    example_weight: float
    def __init__(self, name: _Optional[str] = ..., labels: _Optional[_Iterable[_Union[NewLabel, _Mapping]]] = ..., templates: _Optional[_Iterable[str]] = ..., background: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., expect_fingerprint: _Optional[str] = ..., truncate: _Optional[bool] = ..., scoring: _Optional[_Union[Scoring, str]] = ..., temperature: _Optional[float] = ..., threshold: _Optional[float] = ..., example_weight: _Optional[float] = ...) -> None: ...

class NewLabel(_message.Message):
    __slots__ = ("label", "id", "prompts", "examples", "threshold")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    label: str
    id: str
    prompts: _containers.RepeatedScalarFieldContainer[str]
    examples: _containers.RepeatedScalarFieldContainer[bytes]
    threshold: float
    def __init__(self, label: _Optional[str] = ..., id: _Optional[str] = ..., prompts: _Optional[_Iterable[str]] = ..., examples: _Optional[_Iterable[bytes]] = ..., threshold: _Optional[float] = ...) -> None: ...

class PutLabelSetResponse(_message.Message):
    __slots__ = ("label_set",)
    LABEL_SET_FIELD_NUMBER: _ClassVar[int]
    label_set: LabelSet
    def __init__(self, label_set: _Optional[_Union[LabelSet, _Mapping]] = ...) -> None: ...

class DeleteLabelSetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteLabelSetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LabelSet(_message.Message):
    __slots__ = ("name", "version", "state", "served_version", "model", "fingerprint", "label_count", "prompts", "prompts_done", "error", "labels", "templates", "background", "truncate", "example_weight", "scoring", "temperature", "threshold")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SERVED_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    LABEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_DONE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SCORING_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    state: LabelSetState
    served_version: str
    model: str
    fingerprint: str
    label_count: int
    prompts: int
    prompts_done: int
    error: str
    labels: _containers.RepeatedCompositeFieldContainer[SetLabel]
    templates: _containers.RepeatedScalarFieldContainer[str]
    background: _containers.RepeatedScalarFieldContainer[str]
    truncate: bool
    example_weight: float
    scoring: Scoring
    temperature: float
    threshold: float
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[_Union[LabelSetState, str]] = ..., served_version: _Optional[str] = ..., model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., label_count: _Optional[int] = ..., prompts: _Optional[int] = ..., prompts_done: _Optional[int] = ..., error: _Optional[str] = ..., labels: _Optional[_Iterable[_Union[SetLabel, _Mapping]]] = ..., templates: _Optional[_Iterable[str]] = ..., background: _Optional[_Iterable[str]] = ..., truncate: _Optional[bool] = ..., example_weight: _Optional[float] = ..., scoring: _Optional[_Union[Scoring, str]] = ..., temperature: _Optional[float] = ..., threshold: _Optional[float] = ...) -> None: ...

class SetLabel(_message.Message):
    __slots__ = ("label", "id", "prompts", "examples", "threshold")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    label: str
    id: str
    prompts: _containers.RepeatedScalarFieldContainer[str]
    examples: _containers.RepeatedScalarFieldContainer[str]
    threshold: float
    def __init__(self, label: _Optional[str] = ..., id: _Optional[str] = ..., prompts: _Optional[_Iterable[str]] = ..., examples: _Optional[_Iterable[str]] = ..., threshold: _Optional[float] = ...) -> None: ...
