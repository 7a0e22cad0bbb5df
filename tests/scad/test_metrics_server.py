from __future__ import annotations

import asyncio

from scad.metrics_server import MetricsServer


async def ask(port: int, request: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return answer


def test_health_says_why_and_metrics_are_served() -> None:
    async def main() -> None:
        reason = "the broker is away"
        server = MetricsServer("127.0.0.1", 0, ready=lambda: reason)
        await server.start()
        get = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
        unready = await ask(server.port, get.format("/health/ready"))
        assert unready.startswith("HTTP/1.1 503 ")
        assert unready.endswith("the broker is away\n")
        reason = ""
        assert (await ask(server.port, get.format("/health/ready?x=1"))).startswith("HTTP/1.1 200 ")
        assert (await ask(server.port, get.format("/health/live"))).endswith("ok\n")
        assert "python_info" in await ask(server.port, get.format("/metrics"))
        assert (await ask(server.port, get.format("/etc/passwd"))).startswith("HTTP/1.1 404 ")
        assert (await ask(server.port, "POST /metrics HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 405 ")
        assert await ask(server.port, "GET /" + "x" * 20_000) == ""
        await server.stop()

    asyncio.run(main())
