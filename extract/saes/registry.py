"""What sae-lens' registry alone says of each dictionary, without a hub: what it is, where it reads and writes, of which model.

Where a loader of sae-lens works its settings out from names, it is asked; where it reads them from a file, a rule here reads
the names. What a file says counts more, wherever there is one.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.loading.pretrained_saes_directory import get_config_overrides, get_pretrained_saes_directory

from extract.saes.architectures import TRANSCODERS
from extract.saes.hub_files import by_names_alone

BY_NAMES = ("gemma_2", "gemma_3", "gemma_2_transcoder", "deepseek_r1", "qwen_scope", "goodfire")
"""Loaders that need no file to say what a dictionary is fed."""
MLP_OUT = "blocks.{0}.hook_mlp_out"


@dataclass(frozen=True)
class Rule:
    """How the names of a loader's dictionaries tell what it reads from their files.

    Attributes:
        of: which name, "id" or "folder".
        pattern: found in it; its groups fill the hooks.
        hook_name, hook_name_out: where it reads, and a transcoder writes, in TransformerLens' words.
        architecture: "" where the names do not tell.
    """

    of: str
    pattern: str
    hook_name: str
    hook_name_out: str = ""
    architecture: str = ""


RULES = {
    "sae_lens": Rule("id", r"(blocks\.\d+\.(?:\w+\.)?hook_[a-z]+(?:_[a-z]+)*)", "{0}"),
    "connor_rob_hook_z": Rule("id", r"^blocks\.(\d+)\.hook_z$", "blocks.{0}.attn.hook_z"),
    "dictionary_learning_1": Rule("folder", r"resid_post_layer_(\d+)", "blocks.{0}.hook_resid_post"),
    "llama_scope": Rule("folder", r"-L(\d+)([RAM])-\d+x$", "blocks.{0}.hook_{1}"),
    "llama_scope_r1_distill": Rule("folder", r"/L(\d+)([R])$", "blocks.{0}.hook_{1}"),
    "mwhanna_transcoder": Rule("folder", r"layer_(\d+)\.safetensors$", "blocks.{0}.mlp.hook_in", MLP_OUT, "transcoder"),
    # Where its config.yaml is not at hand: what circuit-tracer, which it was made for, reads by default.
    "mntss_clt_layer_transcoder": Rule("folder", r"^(\d+)$", "blocks.{0}.hook_resid_mid", MLP_OUT, "transcoder"),
    "temporal": Rule("id", r"(blocks\.\d+\.hook_[a-z_]+)", "{0}", architecture="temporal"),
}
LETTERS = {"R": "resid_post", "A": "attn_out", "M": "mlp_out"}
"""Llama Scope's."""
ROUNDED = re.compile(r"(?:width_|v5_|-w-)(\d+)([km])")
"""A number of features in thousands or millions, which stands for the next power of two: 16k, 65k, 262k, 1m."""
WHOLE = re.compile(r"(?:hook_resid_post|hook_resid_pre|hook_mlp_out|_ds)_?(\d{3,6})(?:\b|_)")
EXPONENT = re.compile(r"width-2pow(\d+)")


class FromRegistry(dict):
    """Settings that were read from the names in the registry, and from no file."""


@dataclass(frozen=True)
class Known:
    """One dictionary of the registry.

    Attributes:
        release, id: as sae-lens takes them.
        model: what the registry calls its model.
        loader: which of sae-lens' loaders reads it.
        repository, folder: where it lies on the hub.
    """

    release: str
    id: str
    model: str
    loader: str
    repository: str
    folder: str

    @property
    def settings(self) -> Mapping[str, Any]:
        """What its settings are as far as names tell: hooks, model, architecture, sizes; no key for what they do not tell."""
        overrides = get_config_overrides(self.release, self.id)
        if self.loader in BY_NAMES:
            with by_names_alone({"w_enc": [0, self.d_sae or 0], "w_dec": [self.d_sae or 0, 0]}):
                read = loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[self.loader]
                found = read(self.repository, self.folder, "cpu", False, overrides)
        else:
            found = {"model_name": self.model, "d_sae": self.d_sae, **self._by_rule(), **overrides}
        return FromRegistry({key: value for key, value in found.items() if value is False or value not in (None, 0)})

    @property
    def d_sae(self) -> int | None:
        """How many features its names say that it has; None where they do not."""
        names = f"{self.repository} {self.folder} {self.id}"
        if exponent := EXPONENT.search(names):
            return 1 << int(exponent[1])
        if size := ROUNDED.search(names):
            return 1 << round(math.log2(int(size[1]) * {"k": 1e3, "m": 1e6}[size[2]]))
        if size := WHOLE.search(names):
            return int(size[1])
        return None

    @property
    def expansion(self) -> int | None:
        """How many features for each dimension of what it reads, where its names say that instead."""
        times = re.search(r"[-_](\d+)x$", self.folder)
        return None if times is None else int(times[1])

    def _by_rule(self) -> dict[str, Any]:
        rule = RULES[self.loader]
        found = re.search(rule.pattern, self.id if rule.of == "id" else self.folder)
        if found is None:
            return {}
        groups = [LETTERS.get(group, group) for group in found.groups()]
        hooks = {"hook_name": rule.hook_name.format(*groups), "hook_name_out": rule.hook_name_out.format(*groups)}
        found = {key: value for key, value in {**hooks, "architecture": rule.architecture}.items() if value}
        return found | ({"apply_b_dec_to_input": False} if rule.architecture in TRANSCODERS else {})


def known(release: str, id_: str) -> Known | None:
    """What the registry says of a dictionary; None where it has no such release, or no such dictionary in it."""
    found = get_pretrained_saes_directory().get(release)
    if found is None or id_ not in found.saes_map:
        return None
    return Known(release, id_, found.model, _loader(release), found.repo_id, found.saes_map[id_])


def registry() -> Iterator[Known]:
    """Every dictionary of the registry, in its order."""
    for release, found in get_pretrained_saes_directory().items():
        for id_, folder in found.saes_map.items():
            yield Known(release, id_, found.model, _loader(release), found.repo_id, folder)


@cache
def _loader(release: str) -> str:
    return loaders.get_conversion_loader_name(release)
