#!/usr/bin/env python3
"""Measures what overload does to a server: sends photos one by one, then ten times as many as it can
answer, then one by one again. Standard library only. Use it on your own server.

usage: scripts/overload.py URL [--photo FILE ...] [--times 10] [--seconds 20]
       scripts/overload.py URL [--photo FILE ...] --hammer 20 [--seconds 20]
Start the server with `--cache 0`. With --hammer, that many clients ask again at once, whatever they are
told; the exit status is 0 if they get at least 80 % of the answers a second that one client gets. Without
--hammer it is 0 if all accepted requests were answered, all others were told to come back later (429),
the p99 of the accepted ones is under three times the median without load, and the server is back to
normal within 10 seconds. It is 1 if not, 2 if the server could not be asked.
"""

import argparse
import asyncio
import pathlib
import sys
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent.parent


async def ask(where, photo):
    """Status (0: no answer) and seconds of one request."""
    began = time.perf_counter()
    status = 0
    try:
        reader, writer = await asyncio.open_connection(where.hostname, where.port or 80)
    except OSError:
        return status, time.perf_counter() - began
    try:
        head = (f"POST {where.path.rstrip('/')}/predict HTTP/1.1\r\nhost: {where.hostname}\r\n"
                f"content-type: application/octet-stream\r\ncontent-length: {len(photo)}\r\n"
                "connection: close\r\n\r\n")
        writer.write(head.encode() + photo)
        line = await asyncio.wait_for(reader.readline(), 120)
        status = int(line.split()[1])
        await reader.read()
    except (OSError, IndexError, ValueError, asyncio.TimeoutError):
        pass
    finally:
        writer.close()
    return status, time.perf_counter() - began


def percentile(times, share):
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def alone(where, photo, count):
    times = []
    for _ in range(count):
        status, seconds = await ask(where, photo)
        if status != 200:
            sys.exit(f"overload: the server answered {status or 'nothing'} to a single photo")
        times.append(seconds)
    return percentile(times, 0.5)


async def hammer(where, photos, clients, seconds):
    """Answers a second of one client, and of many that do not wait when they are turned away."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds / 4:
        await alone(where, photos[count % len(photos)], 1)
        count += 1
    one = count / (time.perf_counter() - began)
    replies, until = [], time.perf_counter() + seconds

    async def client(at):
        while time.perf_counter() < until:
            replies.append(await ask(where, photos[at % len(photos)]))
            at += clients + 1

    began = time.perf_counter()
    await asyncio.gather(*(client(i) for i in range(clients)))
    elapsed = time.perf_counter() - began
    accepted = [took for status, took in replies if status == 200]
    other = [status for status, _ in replies if status not in (200, 429)]
    share = len(accepted) / elapsed / one
    print(f"one client        {one:.1f} answers a second")
    print(f"{clients} that hammer    {len(accepted) / elapsed:.1f} answers a second ({share:.0%}) of "
          f"{len(replies) / elapsed:.0f} requests")
    if accepted:
        print(f"answered          p50 {percentile(accepted, 0.5) * 1e3:.1f} ms, p99 {percentile(accepted, 0.99) * 1e3:.1f} ms")
    print(f"anything else     {len(other)} {sorted(set(other)) if other else ''}")
    print("verdict           " + ("holds" if share >= 0.8 and not other else "does not hold"))
    return 0 if share >= 0.8 and not other else 1


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--photo", action="append", type=pathlib.Path, help="repeatable with --hammer")
    parser.add_argument("--hammer", type=int, metavar="CLIENTS")
    parser.add_argument("--times", default=10.0, type=float)
    parser.add_argument("--seconds", default=20.0, type=float)
    args = parser.parse_args()
    where = urllib.parse.urlsplit(args.url)
    photos = [path.read_bytes() for path in args.photo or [HERE / "fixtures/images/nv_00.jpg"]]
    if args.hammer:
        return await hammer(where, photos, args.hammer, args.seconds)
    photo = photos[0]
    await alone(where, photo, 10)
    unloaded = await alone(where, photo, 30)
    pause, began = unloaded / args.times, time.perf_counter()
    asking = []
    for i in range(int(args.seconds / pause)):
        await asyncio.sleep(max(0, began + i * pause - time.perf_counter()))
        asking.append(asyncio.create_task(ask(where, photo)))
    offered = len(asking) / (time.perf_counter() - began)
    replies = await asyncio.gather(*asking)
    ended = time.perf_counter()
    accepted = [seconds for status, seconds in replies if status == 200]
    refused = sum(status == 429 for status, _ in replies)
    other = [status for status, _ in replies if status not in (200, 429)]
    back = None
    while time.perf_counter() - ended < 10:
        if await alone(where, photo, 10) < 1.5 * unloaded:
            back = time.perf_counter() - ended
            break
    p99 = percentile(accepted, 0.99) if accepted else float("inf")
    print(f"without load      median {unloaded * 1e3:.1f} ms")
    print(f"offered           {len(replies)} requests, {offered:.0f} a second ({offered * unloaded:.1f} times)")
    print(f"answered          {len(accepted)}, p50 {percentile(accepted, 0.5) * 1e3:.1f} ms, "
          f"p99 {p99 * 1e3:.1f} ms ({p99 / unloaded:.2f} times), longest {max(accepted) * 1e3:.1f} ms"
          if accepted else "answered          0")
    print(f"turned away       {refused}")
    print(f"anything else     {len(other)} {sorted(set(other)) if other else ''}")
    print("back to normal    " + (f"after {back:.1f} s" if back else "not within 10 s"))
    fine = accepted and not other and p99 < 3 * unloaded and back
    print("verdict           " + ("holds" if fine else "does not hold"))
    return 0 if fine else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            sys.exit(2)
        raise
    except OSError as error:
        print(f"overload: {error}", file=sys.stderr)
        sys.exit(2)
