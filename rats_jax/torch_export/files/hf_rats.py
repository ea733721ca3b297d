"""The encoder in modeling_rats.py as classes of transformers (4.57 or later):

    from transformers import AutoBackbone, AutoConfig, AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained("EXPORT")
    model = AutoModel.from_pretrained("EXPORT", trust_remote_code=True)
    output = model(**processor(image, return_tensors="pt"))
    output.last_hidden_state, output.registers, output.pooler_output

For heads of detection, segmentation and the like, maps [B, D, h, w] of some layers. A backbone from
a config is freshly initialised (AutoBackbone.from_pretrained takes no folders since version 5):

    config = AutoConfig.from_pretrained("EXPORT", trust_remote_code=True, out_indices=[6, 12])
    backbone = AutoBackbone.from_config(config, trust_remote_code=True)
    backbone.encoder.load_state_dict(model.encoder.state_dict())
    backbone(images).feature_maps
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BackboneOutput, BaseModelOutputWithPooling

from .modeling_rats import Encoder, Features, build

try:
    from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
except ImportError:  # before version 5
    from transformers.utils.backbone_utils import BackboneConfigMixin, BackboneMixin


class RatsConfig(BackboneConfigMixin, PretrainedConfig):
    """config.json; `options` are what `modeling_rats.build` takes.

    out_features, out_indices: which stages AutoBackbone returns, by name or by number; the last by
        default. Stage 0 ("stem") is before the first block, stage i after block i.
    """

    model_type = "rats"

    def __init__(self, options=None, out_features=None, out_indices=None, **others):
        super().__init__(**others)
        self.options = dict(options or {})
        self.hidden_size = self.options.get("width")
        self.num_hidden_layers = self.options.get("depth", 0)
        self.num_attention_heads = self.options.get("heads")
        self.patch_size = self.options.get("patch")
        self.image_size = self.options.get("image_size")
        self.num_channels = 3
        stages = range(1, self.num_hidden_layers + 1)
        self.stage_names = ["stem", *(f"stage{i}" for i in stages)]
        if out_features is not None:
            self.out_features = out_features
        else:
            self.out_indices = out_indices


@dataclass
class RatsOutput(BaseModelOutputWithPooling):
    """last_hidden_state: patches [B, L, D]. pooler_output: the global vector [B, D]. registers:
    [B, N, D]. hidden_states, when asked for: patches of every stage, each through the final norm.
    attentions, when asked for: of every layer, see `modeling_rats.Features`."""

    registers: Tensor | None = None


class Pretrained(PreTrainedModel):
    """What both models share. Tensors have the names of `modeling_rats` in files."""

    config_class = RatsConfig
    base_model_prefix = "encoder"
    main_input_name = "pixel_values"
    _no_split_modules = ["Block", "RegisterBlock"]
    _supports_sdpa = True

    @classmethod
    def from_pretrained(cls, *args, output_loading_info=False, **others):
        """As always, but a tensor that is missing or unknown is an error here, not a warning."""
        model, info = super().from_pretrained(*args, output_loading_info=True, **others)
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if info[what]:
                raise ValueError(f"the weights do not fit: {what} {sorted(info[what])}")
        return (model, info) if output_loading_info else model

    def save_pretrained(self, *args, state_dict=None, **others):
        """As always, with the names of `modeling_rats`, which then loads the folder too."""
        state = self.state_dict() if state_dict is None else state_dict
        prefix = f"{self.base_model_prefix}."
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        super().save_pretrained(*args, state_dict=state, **others)

    def _init_weights(self, module):
        """Nothing: `build` has done it."""


class RatsModel(Pretrained):
    """AutoModel."""

    def __init__(self, config: RatsConfig):
        super().__init__(config)
        self.encoder = build(config.options)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **_,
    ) -> RatsOutput | tuple:
        """Normalised images [B, 3, height, width], sides multiples of the patch."""
        images, encoder = pixel_values.to(self.dtype), self.encoder
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        attending = encoder.attending_layers
        features = encoder(images, attention_of=attending if output_attentions else ())
        hidden_states = None
        if output_hidden_states:
            hidden_states = tuple(stage.patches for stage in stages(encoder, images))
        output = RatsOutput(
            last_hidden_state=features.patches,
            pooler_output=features.global_vector,
            hidden_states=hidden_states,
            attentions=tuple(features.attention.values()) if output_attentions else None,
            registers=features.registers,
        )
        return output.to_tuple() if return_dict is False else output


class RatsBackbone(BackboneMixin, Pretrained):
    """AutoBackbone: maps of patches for heads of detection, segmentation and the like."""

    has_attentions = False

    def __init__(self, config: RatsConfig):
        super().__init__(config)
        if hasattr(self, "_init_backbone"):  # before version 5
            self._init_backbone(config)
        self.num_features = [config.hidden_size] * len(config.stage_names)
        self.encoder = build(config.options)
        self.post_init()

    def forward(
        self, pixel_values: Tensor, output_hidden_states=None, return_dict=None, **_
    ) -> BackboneOutput | tuple:
        """Normalised images [B, 3, height, width] to maps [B, D, h, w] of the chosen stages, each
        through the final norm."""
        images = pixel_values.to(self.dtype)
        grid = self.encoder.grid(images)
        maps = tuple(
            stage.patches.transpose(1, 2).unflatten(2, grid)
            for name, stage in zip(self.stage_names, stages(self.encoder, images), strict=True)
            if name in self.out_features
        )
        output = BackboneOutput(feature_maps=maps)
        return output.to_tuple() if return_dict is False else output


def stages(encoder: Encoder, images: Tensor) -> Iterator[Features]:
    """Features before the first block, and after each."""
    yield encoder.features(encoder.embed(images))
    yield from encoder.each_layer(images)
