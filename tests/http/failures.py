"""Steps of a scripted gateway that leave a request without a readable answer."""

import gzip

from tests.scripted_gateway import ACCEPTED, Exchange, Step


async def reset(exchange: Exchange) -> None:
    """Reset instead of answering."""
    await exchange.reset()


async def reset_in_the_answer(exchange: Exchange) -> None:
    """Reset in the middle of the answer."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{")
    await exchange.writer.drain()
    await exchange.reset()


async def close(exchange: Exchange) -> None:
    """Close instead of answering."""
    await exchange.close()


async def close_in_the_headers(exchange: Exchange) -> None:
    """Close in the middle of the headers."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    await exchange.close()


async def garbage(exchange: Exchange) -> None:
    """Answer in another protocol."""
    exchange.send(b"\x00\xff SMTP? 220 hello\r\n\r\n")
    await exchange.close()


async def oversized_headers(exchange: Exchange) -> None:
    """Answer with a header of 100 kB."""
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n")
    await exchange.close()


async def bad_content_length(exchange: Exchange) -> None:
    """Answer with a length that is not a number."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: minus two\r\n\r\n{}")
    await exchange.close()


async def bad_chunk(exchange: Exchange) -> None:
    """Answer with a chunk size that is not a number."""
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot hexadecimal\r\n{}")
    await exchange.close()


async def body_cut(exchange: Exchange) -> None:
    """Close in the middle of the body."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + ACCEPTED[:20])
    await exchange.close()


async def body_without_length_cut(exchange: Exchange) -> None:
    """Close in the middle of a body whose length was not told."""
    exchange.send(b"HTTP/1.1 200 OK\r\n\r\n" + ACCEPTED[:20])
    await exchange.close()


async def bad_gzip(exchange: Exchange) -> None:
    """Say gzip, and send something else."""
    exchange.answer(b"no gzip at all", headers="Content-Encoding: gzip\r\n")


async def gzip_bomb(exchange: Exchange) -> None:
    """Send 50 MB in 50 kB."""
    exchange.answer(gzip.compress(b" " * 50_000_000), headers="Content-Encoding: gzip\r\n")


async def too_large(exchange: Exchange) -> None:
    """Answer with 70 kB of white space first."""
    exchange.answer(b" " * 70_000 + ACCEPTED)


async def endless(exchange: Exchange) -> None:
    """Answer without an end."""
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        exchange.send(b"1000\r\n" + b" " * 4096 + b"\r\n")
        await exchange.writer.drain()


async def html(exchange: Exchange) -> None:
    """Answer with a page."""
    exchange.answer(b"<html>Service Unavailable</html>", headers="Content-Type: text/html\r\n")


async def empty(exchange: Exchange) -> None:
    """Answer with nothing."""
    exchange.answer(b"")


async def null(exchange: Exchange) -> None:
    """Answer null."""
    exchange.answer(b"null")


async def a_list(exchange: Exchange) -> None:
    """Answer with a list."""
    exchange.answer(b'[{"CodeResult":"100"}]')


async def wrong_charset(exchange: Exchange) -> None:
    """Answer in EBCDIC."""
    exchange.answer('{"CodeResult":"100"}'.encode("cp037"))


async def error_object(exchange: Exchange) -> None:
    """Answer with the error object of the documents."""
    exchange.answer(b'{"error":"Invalid request"}')


async def error_object_400(exchange: Exchange) -> None:
    """The same, with a status that refuses."""
    exchange.answer(b'{"error":"Invalid request"}', status=400)


def status(code: int) -> Step:
    """Answer with an acceptance under another status."""

    async def step(exchange: Exchange) -> None:
        exchange.answer(ACCEPTED, status=code, headers="Location: /elsewhere\r\n")

    step.__name__ = f"status_{code}"
    return step


async def hang(exchange: Exchange) -> None:
    """Never answer."""
    await exchange.hang()


async def continue_and_hang(exchange: Exchange) -> None:
    """Say that the answer will come, and never answer."""
    exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await exchange.hang()


async def hang_in_the_body(exchange: Exchange) -> None:
    """Never finish the answer."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + ACCEPTED[:20])
    await exchange.hang()


MAY_HAVE_ARRIVED: list[Step] = [
    reset,
    reset_in_the_answer,
    close,
    close_in_the_headers,
    garbage,
    oversized_headers,
    bad_content_length,
    bad_chunk,
    body_cut,
    body_without_length_cut,
    bad_gzip,
    gzip_bomb,
    too_large,
    endless,
    html,
    empty,
    null,
    a_list,
    wrong_charset,
    error_object,
    error_object_400,
    *map(status, [301, 302, 303, 307, 308, 408, 425, 429, 500, 502, 503, 504]),
]
SILENT: list[Step] = [hang, continue_and_hang, hang_in_the_body]


def name_of(step: object) -> str:
    """Name a test after its step."""
    return getattr(step, "__name__", repr(step))
