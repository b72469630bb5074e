"""The RequestIds that the gateway has seen: which of them block another send, and for how long."""

import attrs


@attrs.frozen
class Use:
    """What a RequestId was used for last.

    Attributes:
        until: Until when it blocks another send, seconds since 1970.
        accepted: How many messages were accepted with it, ever.
        sms_id: The SMSID of the last use, or None where that made no message.
    """

    until: float
    accepted: int
    sms_id: str | None


class RequestIds:
    """The RequestIds of one account.

    Args:
        window: How long one blocks another send, in seconds.
        keep: How many are kept, at least, of those that block no more.
    """

    def __init__(self, window: float, keep: int) -> None:
        self._window = window
        self._keep = keep
        self._uses: dict[str, Use] = {}

    def blocking(self, request_id: str, now: float) -> Use | None:
        """Return the use by which a RequestId blocks another send now, or None."""
        use = self._uses.get(request_id)
        return None if use is None or use.until <= now else use

    def use(self, request_id: str, now: float, sms_id: str | None) -> None:
        """Note that a RequestId is used.

        Args:
            request_id: The RequestId; an empty one is none.
            now: The time, seconds since 1970.
            sms_id: The SMSID of the message that was accepted with it, or None.
        """
        if not request_id:
            return
        # Taken out first, so that the oldest use stays in front.
        earlier = self._uses.pop(request_id, None)
        accepted = 0 if earlier is None else earlier.accepted
        self._uses[request_id] = Use(now + self._window, accepted + (sms_id is not None), sms_id)
        oldest = next(iter(self._uses))
        if len(self._uses) > self._keep and self._uses[oldest].until <= now:
            del self._uses[oldest]

    def accepted(self, request_id: str) -> int:
        """Return how many messages were accepted with a RequestId."""
        use = self._uses.get(request_id)
        return 0 if use is None else use.accepted

    def clear(self) -> None:
        """Forget them all."""
        self._uses.clear()
