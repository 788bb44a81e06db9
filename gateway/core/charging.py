"""Books what a batch used on its requests' accounts, and says how each of them was served."""

from __future__ import annotations

from msgspec import Struct

from gateway.core.batching import Passed, Pending
from gateway.core.books import Books
from gateway.core.catalog import Offer
from gateway.core.ledger import AccountKey, Ledger, Times
from gateway.core.pool import Batch
from gateway.core.request import Facts


class Bill(Struct, frozen=True):
    """One batch that ended; `reference` is what savings are measured against.

    Each batch is charged to the variant that ran, so that a request to a cascade may stand in two
    accounts; what it would have used elsewhere is booked once, with its answer.
    is_report_only: what routing chose did not run, and is taken from its profile.
    """

    books: Books
    batch: Batch
    reference: Offer
    is_report_only: bool

    def settle(
        self, pending: Pending, share_ns: int, is_answered: bool, overhead_s: float
    ) -> Facts:
        """Charge a request for the last time.

        An error pays for the time it took, but would have saved nothing on another variant.
        """
        batch, passed, lane = self.batch, pending.passed, self.batch.lane
        elsewhere = self._elsewhere_ns(pending, share_ns) if is_answered else (0, 0)
        self._book(pending, share_ns, *elsewhere)
        served = lane if pending.stages is None else pending.stages
        return Facts(
            served.key,
            served.offer.variant.target,
            self._ledger.usd(share_ns) + (passed.usd if passed else 0.0),
            served.accuracy_low,
            pending.forecast_s + overhead_s,
            batch.items,
            self._queue_s(pending),
            None if pending.stages is None else pending.items if passed else 0,
            served.offer.variant.profile.source,
            *self._stood_in(served.offer, pending.items),
        )

    def _stood_in(self, offer: Offer, items: int) -> tuple[str, float]:
        """What ran in place of the offer's own hardware, and what that would have cost."""
        if not offer.stands_in:
            return "", 0.0
        ns = _share_ns(offer, self.batch.items, items)
        return offer.device, ns / 1e9 * offer.usd_per_device_s

    def pass_on(self, pending: Pending, share_ns: int, now_s: float) -> Passed:
        """Charge a request for the first stage of its cascade."""
        self._book(pending, share_ns)
        reference_ns, routed_ns = self._elsewhere_ns(pending, share_ns)
        usd = self._ledger.usd(share_ns)
        return Passed(usd, reference_ns, routed_ns, self._queue_s(pending), now_s)

    @property
    def _ledger(self) -> Ledger:
        return self.books[self.batch.lane.offer.device]

    def _book(
        self, pending: Pending, used_ns: int, reference_ns: int = 0, routed_ns: int = 0
    ) -> None:
        key, target = self.batch.lane.key, self.batch.lane.offer.variant.target
        account = AccountKey(key.model, key.version, key.variant, target, pending.tenant)
        ran = self.batch.lane.offer
        routed = pending.routed if self.is_report_only and pending.routed else ran
        times = {ran.device: Times(used_ns)}
        times.setdefault(self.reference.device, Times()).reference_ns = reference_ns
        times.setdefault(routed.device, Times()).routed_ns = routed_ns
        for device, used in times.items():
            self.books[device].attribute(account, used)

    def _elsewhere_ns(self, pending: Pending, share_ns: int) -> tuple[int, int]:
        """What the whole request would have used on the reference, and as it was routed."""
        assert pending.routed is not None, "a batched request was routed"
        passed, items = pending.passed, self.batch.items
        if passed:  # its first stage had all its rows
            more_ns = 0 if self.is_report_only else share_ns
            return passed.reference_ns, passed.routed_ns + more_ns
        routed_ns = share_ns
        if self.is_report_only:
            routed_ns = _share_ns(pending.routed, items, pending.items)
        return _share_ns(self.reference, items, pending.items), routed_ns

    def _queue_s(self, pending: Pending) -> float:
        passed, started_s = pending.passed, self.batch.started_s
        if passed is None:
            return started_s - pending.arrived_s
        return passed.queue_s + started_s - passed.ended_s


def _share_ns(offer: Offer, batch_items: int, items: int) -> int:
    """What `items` rows of a batch of `batch_items` would use on another variant."""
    return round(offer.curve.device(batch_items) / batch_items * items * 1e9)
