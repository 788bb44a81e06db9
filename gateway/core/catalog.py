"""The immutable snapshot of servable variants that requests are routed over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from gateway.core.books import HOST
from gateway.core.curve import Curve
from model_repo.errors import NotFound
from model_repo.records import Cascade, Model, Variant, VariantKey

Identity = tuple[VariantKey, str]
"""A variant and the SHA-256 of its artifact."""


class Offer(Struct, frozen=True):
    """A servable variant with its curve and its price; `is_routable` or reached by pin only.

    is_fixed_size: every axis but the batch axis has a fixed size, so that the profile holds for
    whatever is asked. cascade: the stages of a variant that is one; its entry offers them too.
    device: the target whose hardware it runs on here; another than the variant's own only stands in
    for that, and what it takes here tells nothing of it.
    """

    variant: Variant
    curve: Curve
    usd_per_device_s: float
    is_routable: bool = True
    is_fixed_size: bool = True
    cascade: Cascade | None = None
    device: str = HOST

    @property
    def stands_in(self) -> bool:
        """Whether what runs it here is not what its profile and its price are of."""
        return self.device != self.variant.target and self.cascade is None

    @property
    def key(self) -> VariantKey:
        return self.variant.key

    @property
    def identity(self) -> Identity:
        """Equal for offers of the same artifact, whatever its profile and price."""
        return self.key, self.variant.artifact.sha256


class Entry(Struct, frozen=True):
    """One model version with its offers; `reference` is one of them.

    absent: why variants on the shelf are not served here, by name.
    """

    model: Model
    offers: tuple[Offer, ...]
    reference: Offer
    absent: Mapping[str, str] = {}

    def offer(self, variant: str) -> Offer:
        """The offer of that name; raises NotFound naming those there are."""
        for offer in self.offers:
            if offer.key.variant == variant:
                return offer
        if variant in self.absent:
            raise NotFound(
                f"variant {variant!r} of model {self.model.name!r} is not served here: "
                f"{self.absent[variant]}"
            )
        raise NotFound(
            f"model {self.model.name!r} has no variant {variant!r}: "
            f"it has {', '.join(offer.key.variant for offer in self.offers)}"
        )


class Catalog:
    """Model versions by name; a missing version means the latest."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        found: dict[str, dict[str, Entry]] = {}
        for entry in entries:
            found.setdefault(entry.model.name, {})[entry.model.version] = entry
        self._versions: Mapping[str, Mapping[str, Entry]] = found
        self._latest = {
            name: versions[max(versions, key=_natural)] for name, versions in found.items()
        }

    def find(self, name: str, version: str = "") -> Entry:
        """The entry asked for; raises NotFound in the words Triton's clients look for."""
        if not version and name in self._latest:
            return self._latest[name]
        if name not in self._versions:
            raise NotFound(f"Request for unknown model: {name!r} is not found")
        if version not in self._versions[name]:
            raise NotFound(
                f"Request for unknown model: {name!r} version {version!r} is not found, "
                f"available versions are {', '.join(self.versions(name))}"
            )
        return self._versions[name][version]

    def versions(self, name: str) -> list[str]:
        """The versions of a model, oldest first; empty when it is unknown."""
        return sorted(self._versions.get(name, {}), key=_natural)

    def entries(self) -> list[Entry]:
        """Every entry, by model and version."""
        return [self._versions[n][v] for n in sorted(self._versions) for v in self.versions(n)]

    def offers(self) -> list[Offer]:
        """Every offer of every entry."""
        return [offer for entry in self.entries() for offer in entry.offers]


def _natural(version: str) -> list[tuple[int, int | str]]:
    """Orders v9 before v10, and numbers before words."""
    return [
        (0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", version)
    ]
