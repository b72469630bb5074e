"""What no type checker lets through: an ignore that nothing needs is an error in each of them."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedCoroutine=false

from esms_async import Credentials, EsmsClient, Message, Outcome, Receipt, RetryPolicy
from esms_async.ledger import MemoryLedger


def words(message: Message) -> None:
    """Values with the wrong types, and changes of what is frozen."""
    Message(901888484, "text")  # type: ignore[arg-type]  # a phone is text: it begins with 0
    Message("0901888484", b"text")  # type: ignore[arg-type]  # content is text
    Message("0901888484", params=["otp"])  # type: ignore[arg-type]  # params have names
    Message("0901888484", "text", route="fixed")  # type: ignore[arg-type]  # a route is a value
    Message("0901888484", "text", {})  # type: ignore[call-arg]  # options are given by name
    Message("0901888484", "text", send_at="now")  # type: ignore[arg-type]  # a time is a datetime
    message.phone = "0901888485"  # type: ignore[misc]  # a message never changes
    Credentials("key")  # type: ignore[call-arg]  # there are two keys
    RetryPolicy(attempts="5")  # type: ignore[arg-type]  # a count is an int
    RetryPolicy(5, 30.0, 10.0, 1.0)  # type: ignore[call-arg]  # the rest is given by name


async def sends(esms: EsmsClient, message: Message, outcome: Outcome) -> None:
    """Calls that cannot work, and results that may not be there."""
    EsmsClient("key", "secret")  # type: ignore[arg-type, call-arg]  # the keys travel as Credentials
    EsmsClient.from_env(sandbocks=True)  # type: ignore[call-arg]  # there is no such option
    EsmsClient.from_env(ledger="otp.ledger")  # type: ignore[arg-type]  # a path is no ledger
    await esms.send("0901888484")  # type: ignore[arg-type]  # a phone is no message
    await esms.send(message, message.content)  # type: ignore[call-arg]  # a message holds all
    esms.send_many(message)  # type: ignore[arg-type]  # one message is no stream
    esms.send_many([message], 64)  # type: ignore[call-arg]  # options are given by name
    with esms:  # type: ignore[attr-defined]  # it opens and closes by `async with`
        pass
    text: str = (await esms.send(message)).sms_id  # type: ignore[assignment]  # None is possible
    receipt: Receipt = outcome.receipt  # type: ignore[assignment]  # None where there is an error
    del text, receipt


async def ledgers(ledger: MemoryLedger) -> None:
    """Ledgers are told times in seconds."""
    await ledger.prune("30d")  # type: ignore[arg-type]  # only the command reads such words
