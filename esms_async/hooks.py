"""What other systems are told of a send: the methods that a hook may have."""

from esms_async.messages import Attempt, Message, Outcome


class Hook:
    """Is told of every logical send of the clients that it is given to, as it goes on.

    Derive from it and write the methods you want; these do nothing. They are plain functions,
    called inside the task that sends, in the order start, attempts, outcome, so they must not
    block; of one message each is called for one send at a time. What a method raises is logged
    and harms no send. A task that joins a send which is under way is no send of its own.

    The values hold the phone number, the content and the RequestId: what of them goes elsewhere is
    for the hook to decide. `mask_phone` of `esms_async.phone` and `Attempt.error` are safe to show.
    """

    def on_start(self, *, message: Message) -> None:
        """Note that a send begins.

        Args:
            message: The message.
        """

    def on_attempt(self, *, message: Message, number: int, attempt: Attempt) -> None:
        """Note that an attempt has ended.

        Args:
            message: The message.
            number: The number of the attempt within this send, from 1.
            attempt: When it began, how long it took and what it got.
        """

    def on_outcome(
        self, *, outcome: Outcome, attempts: tuple[Attempt, ...], duration: float
    ) -> None:
        """Note that a send has ended.

        Args:
            outcome: What became of the message. Of a send that was cancelled it is the NotSent
                or the OutcomeUnknown that is true.
            attempts: Every attempt of this send; none where the ledger knew the outcome.
            duration: Seconds from the start, with all that was waited for.
        """
