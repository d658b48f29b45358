#!/usr/bin/env python3
"""How far `dermal estimate` is off, and whether its verdicts hold, over many models.

usage: python scripts/estimate_errors.py [--models .cache/models] [--only NAME ...] [--pixels 2000000 12000000]
                      [--dermal target/release/dermal] [--no-verdicts] [--json FILE]

Imports every `.keras` there is, quantizes each to FP16 and INT8, and proves each file with heat maps and
without, one photo and four at once (`dermal estimate --prove`, in a cgroup of 4 GB). Then, unless told not
to, at the smallest limit that is said to fit, where it must survive, and 2 % below the largest that is said
not to, where it must be killed or refused. Needs root for cgroups. Exit 0: median at most 5 %, worst 10 %, never
more than 3 % too low, every verdict held; 1 otherwise.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "fixtures/images"
SKLESION = ["--labels", "akiec,bcc,bkl,df,mel,nv,vasc", "--fields", str(ROOT / "fixtures/fields/sklesion.yaml")]


def run(dermal, *arguments):
    ran = subprocess.run([dermal, *map(str, arguments)], capture_output=True, text=True)
    if ran.returncode not in (0, 1) or not ran.stdout:
        sys.exit(f"{' '.join(map(str, arguments))}: {ran.stderr}")
    return json.loads(ran.stdout)


def files(dermal, source, folder):
    """The model in f32, FP16 and INT8."""
    made = {"f32": folder / f"{source.stem}.safetensors"}
    options = SKLESION if source.stem == "sklesion" else []
    subprocess.run([dermal, "import", source, "-o", made["f32"], *options], check=True, capture_output=True)
    for to, rest in (("fp16", []), ("int8", ["--calibrate", PHOTOS, "--photos", "8"])):
        made[to] = folder / f"{source.stem}-{to}.safetensors"
        run(dermal, "quantize", made["f32"], "-o", made[to], "--to", to, "--json", *rest)
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / ".cache/models")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--pixels", nargs="*", type=int, default=[2_000_000, 12_000_000])
    parser.add_argument("--dermal", default=str(ROOT / "target/release/dermal"))
    parser.add_argument("--no-verdicts", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    sources = sorted(args.models.glob("*.keras"))
    sources = [s for s in sources if not args.only or s.stem in args.only]
    if not sources:
        sys.exit(f"no .keras in {args.models}: scripts/fetch-real-models.sh and scripts/app_models.py make them")
    rows, verdicts = [], []
    for source in sources:
        with tempfile.TemporaryDirectory() as folder:
            for to, model in files(args.dermal, source, pathlib.Path(folder)).items():
                common = ["estimate", model, "--prove", "--json", "--threads", 1, "--concurrency", 4]
                for maps in ("on", "off"):
                    for pixels in args.pixels:
                        load = [*common, "--gradcam", maps, "--max-pixels", pixels]
                        asked = run(args.dermal, *load, "--budget", "4GB")
                        for row in asked["proof"]["rows"]:
                            if row["moment"] in ("idle", "loaded"):
                                continue
                            rows.append({
                                "model": source.stem, "type": to, "maps": row["gradcam"], "pixels": pixels,
                                "photos": row["photos"], "error": row["error_percent"],
                                "time": row["predicted_wall_ms"] / row["wall_ms"] - 1,
                            })
                        drain = asked["proof"]["drain"]
                        verdicts.append((f"{model.stem} drains", drain["answered"] == drain["photos"] and drain["exit_code"] == 0))
                    if not args.no_verdicts:
                        # Of the last, which is the largest. It fits up to 90 %; the program's pages are a little more
                        # or less each time.
                        peak, admission = asked["peak"], asked["limit"]["admission_bytes"]
                        fits = max(-(-peak["charged_bytes"] * 100 // 88), admission)
                        least = max(peak["unreclaimable_bytes"], admission) * 98 // 100
                        for limit, verdict in ((fits, "fits"), (least, "does_not_fit")):
                            judged = run(args.dermal, *load, "--budget", limit)
                            held = judged["proof"]["survived"] == (verdict == "fits")
                            verdicts.append((f"{model.stem} maps {maps} {verdict} {limit}", held and judged["limit"]["verdict"] == verdict))
                of = [r["error"] for r in rows if (r["model"], r["type"]) == (source.stem, to)]
                print(f"{source.stem:18} {to:5} {len(of):3} peaks {min(of):+.1f} to {max(of):+.1f} %", flush=True)
    errors = [row["error"] for row in rows]
    times = [row["time"] * 100 for row in rows]
    median = statistics.median(map(abs, errors))
    failed = [name for name, held in verdicts if not held]
    print(f"{len(errors)} peaks: median {median:.1f} %, from {min(errors):+.1f} to {max(errors):+.1f} %")
    print(f"time: median {statistics.median(times):+.0f} %, from {min(times):+.0f} to {max(times):+.0f} %")
    print(f"{len(verdicts)} verdicts and drains, {len(failed)} of them wrong{': ' if failed else ''}{'; '.join(failed)}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    return 0 if median <= 5 and max(errors) <= 10 and min(errors) >= -3 and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
