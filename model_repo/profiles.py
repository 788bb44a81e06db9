"""Puts a new profile beside an artifact that stays as it is."""

from __future__ import annotations

from msgspec import structs

from model_repo import durable
from model_repo.files import refused
from model_repo.names import MANIFEST
from model_repo.records import Profile, Variant, VariantKey
from model_repo.store import Store


def renew(store: Store, key: VariantKey, profile: Profile) -> Variant:
    """Replace the profile in a manifest at one stroke; the artifact is not touched.

    The caller holds the repository for writing. Raises NotFound if the variant is gone, and
    FareboxError if the disk is full; then the old profile stands.
    """
    variant = structs.replace(store.variant(key), profile=profile)
    try:
        durable.write(store.folder(key) / MANIFEST, variant)
    except OSError as error:
        raise refused(error, f"the new profile of {key} cannot be written") from error
    return variant
