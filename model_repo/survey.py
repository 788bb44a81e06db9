"""Read the whole shelf, and say what of it cannot be read instead of stopping there."""

from __future__ import annotations

from collections.abc import Iterator

from model_repo.errors import Corrupt, FareboxError, NotFound
from model_repo.records import Model, Variant
from model_repo.store import Store


def survey(store: Store, problems: list[str]) -> Iterator[tuple[Model, list[Variant]]]:
    """Each model version with its variants, sorted; adds to `problems` a sentence for each loss.

    A model without a readable signature is left out with all its variants.
    Raises BadInput if the repository is no folder.
    """
    for name, version in store.versions():
        try:
            model = store.model(name, version)
            keys = store.keys(name, version)
        except NotFound:  # removed since it was listed
            continue
        except FareboxError as error:
            problems.append(str(error))
            continue
        found = []
        for key in keys:
            try:
                variant = store.variant(key)
                check_profile(variant)
                found.append(variant)
            except NotFound:
                continue
            except FareboxError as error:
                problems.append(str(error))
        yield model, found


def check_profile(variant: Variant) -> None:
    """Raise Corrupt unless the variant was measured at rising batch sizes, from 1 or more."""
    sizes = [point.batch_size for point in variant.profile.latency]
    if not sizes or sizes[0] < 1 or sizes != sorted(set(sizes)):
        raise Corrupt(
            f"{variant.key}: its profile was measured at the batch sizes {sizes}, which do not "
            "rise from 1 or more; remove the variant and compile it again"
        )
