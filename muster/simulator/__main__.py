"""`python -m muster.simulator`: the simulator alone, without the command line's other parts."""

import argparse
import sys
from collections.abc import Sequence

from muster.errors import MusterError
from muster.simulator import Options, serve
from muster.simulator.behaviour import BUSY, KEY_MARKERS, MARKERS
from muster.simulator.options import read_latency
from muster.simulator.stories import SESSIONS


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop, and say with which code to exit."""
    words = vars(_parser().parse_args(argv))
    try:
        serve(Options(**{**words, "latency_of": dict(map(read_latency, words["latency_of"]))}))
    except MusterError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    keys = [f"  {start:<16}(start of a key) {fault.value}" for start, fault in KEY_MARKERS.items()]
    keys.append(f"  {BUSY + 'N':<16}(a key) 429 for N seconds from its first call on")
    keys += [f"  {start:<16}(start of a session) {says}" for start, says in SESSIONS.items()]
    words = [f"  {word:<16}{marker.says}" for word, marker in MARKERS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m muster.simulator",
        description="A loopback server that speaks the upstreams' wire shapes and misbehaves on request.",
        epilog="\n".join(["marker words in a profile URL or a message:", *words, *keys]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = Options()
    parser.add_argument("--port", type=int, default=usual.port, help="0 picks a free one")
    parser.add_argument("--latency-ms", type=float, default=usual.latency_ms, help="of one answer or one run")
    parser.add_argument(
        "--latency-of",
        action="append",
        default=[],
        metavar="NAME=MS",
        help="of one upstream, instead",
    )
    parser.add_argument("--latency-spread", type=float, default=usual.latency_spread, help="part of it, either way")
    parser.add_argument("--rate-per-minute", type=int, default=usual.rate_per_minute, help="for each upstream")
    parser.add_argument("--error-rate", type=float, default=usual.error_rate, help="share of calls answered 5xx")
    parser.add_argument("--hang-rate", type=float, default=usual.hang_rate, help="share of calls never answered")
    parser.add_argument("--seed", type=int, default=usual.seed, help="the same seed gives the same answers")
    parser.add_argument("--proxies", type=int, default=usual.proxies, help="proxies on ports of their own")
    parser.add_argument("--dead-proxies", type=int, default=usual.dead_proxies, help="how many of them are dead")
    return parser


if __name__ == "__main__":
    sys.exit(main())
