#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which lines of the module ran: adds up what gcov says for every boot of every guest.

It owns the figure: lines with code that ran at least once, of all lines with code in module/, in
the headers there too. A line that several objects contain (an inline function) ran when it ran in
one of them. It prints a table and the total, which is its last line, and leaves
uncovered.txt (file:line ranges with their source) and summary.json beside the counts. It must
never leave out a source that was built: one that has no counts at all has run nowhere.
"""

import argparse
import collections
import glob
import json
import os
import subprocess
import sys
import tempfile

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


def gcov(notes, counts):
    """gcov's judgement of one object: `notes` (.gcno) is from the compiler, `counts` (.gcda) from a guest."""
    with tempfile.TemporaryDirectory() as directory:
        # gcov wants the two beside each other under one name.
        for suffix, path in ((".gcno", notes), (".gcda", counts)):
            if path:
                os.symlink(os.path.abspath(path), os.path.join(directory, "object" + suffix))
        done = subprocess.run(
            ["gcov", "--json-format", "--stdout", os.path.join(directory, "object.gcno")],
            capture_output=True, text=True, check=False, cwd=directory,
        )
    if done.returncode or "stamp mismatch" in done.stderr:
        raise SystemExit(f"gcov {counts or notes}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def source_of(name, built, directory):
    """The path of a source as this tree knows it, or None when it is not the module's own."""
    path = name if os.path.isabs(name) else os.path.join(directory, name)
    for base in (built, TOP):
        relative = os.path.relpath(os.path.normpath(path), base)
        if relative.startswith("module" + os.sep):
            return relative
    relative = os.path.relpath(os.path.realpath(path), TOP)
    return relative if relative.startswith("module" + os.sep) else None


def add(lines, judgement, built):
    """Adds one judgement to {file: {line: count}}."""
    directory = judgement.get("current_working_directory", built)
    for entry in judgement["files"]:
        name = source_of(entry["file"], built, directory)
        if not name:
            continue
        for line in entry["lines"]:
            number = line["line_number"]
            lines[name][number] = lines[name].get(number, 0) + line["count"]


def collect(built, counts):
    """{file: {line: count}} of all objects in all boots, and how many boots there were."""
    lines = collections.defaultdict(dict)
    boots = sorted(path for path in glob.glob(f"{counts}/*/") if glob.glob(f"{path}/*.gcda"))
    objects = sorted(glob.glob(f"{built}/module/*.gcno"))
    if not objects:
        raise SystemExit(f"{built} was not built to count lines")
    for notes in objects:
        add(lines, gcov(notes, None), built)
        name = os.path.basename(notes).removesuffix(".gcno") + ".gcda"
        for boot in boots:
            if os.path.exists(os.path.join(boot, name)):
                add(lines, gcov(notes, os.path.join(boot, name)), built)
    return lines, len(boots)


def ranges(numbers, code):
    """Runs of lines that did not run, as (first, last): only lines without code may lie between."""
    found = []
    for number in sorted(numbers):
        if found and not any(between in code for between in range(found[-1][1] + 1, number)):
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def write_uncovered(path, lines):
    with open(path, "w", encoding="utf-8") as out:
        for name in sorted(lines):
            with open(os.path.join(TOP, name), encoding="utf-8") as file:
                text = file.read().splitlines()
            missed = [number for number, count in lines[name].items() if not count]
            for first, last in ranges(missed, lines[name]):
                out.write(f"{name}:{first}" + (f"-{last}\n" if last != first else "\n"))
                out.writelines(f"{number:6}  {text[number - 1]}\n" for number in range(first, last + 1))
                out.write("\n")


def percent(part, whole):
    return 100 * part / whole if whole else 100.0


def main():
    parser = argparse.ArgumentParser(description="line coverage of the module, out of gcov's counts")
    parser.add_argument("--least", type=float, default=0, help="fail below this percentage")
    parser.add_argument("built", help="where vmlab.ko was built with VMLAB_GCOV=1")
    parser.add_argument("counts", help="a directory of directories with .gcda files, one for each boot")
    arguments = parser.parse_args()
    lines, boots = collect(os.path.realpath(arguments.built), arguments.counts)
    into = os.path.dirname(os.path.abspath(arguments.counts))
    rows = {name: (sum(1 for count in code.values() if count), len(code)) for name, code in sorted(lines.items())}
    ran, total = (sum(row[index] for row in rows.values()) for index in (0, 1))
    print(f"{'file':26} {'lines':>6} {'run':>6}  {'%':>5}")
    for name, (run, known) in rows.items():
        print(f"{name:26} {known:6} {run:6}  {percent(run, known):5.1f}")
    write_uncovered(os.path.join(into, "uncovered.txt"), lines)
    figure = percent(ran, total)
    with open(os.path.join(into, "summary.json"), "w", encoding="utf-8") as file:
        json.dump({"lines": total, "run": ran, "percent": round(figure, 2), "boots": boots,
                   "files": {name: {"lines": row[1], "run": row[0]} for name, row in rows.items()}}, file, indent=1)
    print(f"what did not run: {os.path.relpath(into, TOP)}/uncovered.txt")
    print(f"line coverage {figure:.1f} % ({ran} of {total} lines, {boots} boots)")
    return 0 if boots and figure >= arguments.least else 1


if __name__ == "__main__":
    sys.exit(main())
