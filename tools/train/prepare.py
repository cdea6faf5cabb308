"""Makes the token arrays of a preset: python prepare.py kjv-bytes|ecoli-hyenadna

Both texts come from Debian packages, so that no data travels with the repository:
  kjv    package bible-kjv: the command `bible` prints the Authorised Version
  ecoli  package bowtie-examples: genome NC_008253 (E. coli 536), or, where only the
         index is at hand, the same sequence rebuilt by `bowtie-inspect`
"""
import argparse
import glob
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys

import numpy as np

from presets import PRESETS

HERE = os.path.dirname(os.path.abspath(__file__))

BOOKS = """Genesis|Exodus|Leviticus|Numbers|Deuteronomy|Joshua|Judges|Ruth|1 Samuel|2 Samuel|1 Kings
2 Kings|1 Chronicles|2 Chronicles|Ezra|Nehemiah|Esther|Job|Psalms|Proverbs|Ecclesiastes|Song of Solomon
Isaiah|Jeremiah|Lamentations|Ezekiel|Daniel|Hosea|Joel|Amos|Obadiah|Jonah|Micah|Nahum|Habakkuk|Zephaniah
Haggai|Zechariah|Malachi|Matthew|Mark|Luke|John|Acts|Romans|1 Corinthians|2 Corinthians|Galatians
Ephesians|Philippians|Colossians|1 Thessalonians|2 Thessalonians|1 Timothy|2 Timothy|Titus|Philemon
Hebrews|James|1 Peter|2 Peter|1 John|2 John|3 John|Jude|Revelation""".replace("\n", "|").split("|")

# ids of the HyenaDNA tokenizer
DNA_IDS = {"A": 7, "C": 8, "G": 9, "T": 10, "N": 11}


def kjv_chapters():
    """The text as a list of chapters: heading, blank line, one numbered verse per line, blank line."""
    raw = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], check=True, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE).stdout.decode("ascii")
    chapters, books, last = [], [], None
    for line in raw.splitlines():
        m = re.match(r"([1-3]?[A-Za-z]+)(\d+):(\d+) (.*)$", line)
        if not m:
            sys.exit(f"unexpected line from bible: {line[:80]!r}")
        book, chapter, verse, text = m.groups()
        if not books or books[-1] != book:
            books.append(book)
        if (book, chapter) != last:
            last = (book, chapter)
            chapters.append(f"{BOOKS[len(books) - 1]} {chapter}\n\n")
        chapters[-1] += f"{verse} {text.strip()}\n"
    if len(books) != len(BOOKS) or len(chapters) != 1189:
        sys.exit(f"expected 66 books and 1189 chapters, got {len(books)} and {len(chapters)}")
    return [c + "\n" for c in chapters]


def kjv_pieces():
    """Blocks of six consecutive chapters; every 20th block, from the eleventh on, is held out."""
    chapters = kjv_chapters()
    blocks = ["".join(chapters[i:i + 6]) for i in range(0, len(chapters), 6)]
    arrays = [np.frombuffer(b.encode("ascii"), dtype=np.uint8) for b in blocks]
    names = [c.split("\n", 1)[0] for c in chapters[::6]]
    return arrays, [n % 20 == 10 for n in range(len(arrays))], names


def ecoli_pieces():
    """Stretches of 50 000 bases; every 20th, from the eleventh on, is held out."""
    root = "/usr/share/doc/bowtie/examples"
    fasta = glob.glob(root + "/genomes/NC_008253.fna.gz")
    if fasta:
        text = gzip.open(fasta[0], "rt").read()
    else:
        text = subprocess.run(["bowtie-inspect", root + "/indexes/e_coli"], check=True,
                              stdout=subprocess.PIPE).stdout.decode("ascii")
    seq = "".join(line.strip() for line in text.splitlines() if not line.startswith(">")).upper()
    table = np.full(256, 11, dtype=np.uint8)
    for base, i in DNA_IDS.items():
        table[ord(base)] = i
    ids = table[np.frombuffer(seq.encode("ascii"), dtype=np.uint8)]
    arrays = [ids[i:i + 50000] for i in range(0, len(ids), 50000)]
    return arrays, [n % 20 == 10 for n in range(len(arrays))], [str(i * 50000) for i in range(len(arrays))]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("model", choices=PRESETS)
    ap.add_argument("--work", default=os.path.join(HERE, "work"))
    args = ap.parse_args()
    arrays, held, names = {"kjv": kjv_pieces, "ecoli": ecoli_pieces}[PRESETS[args.model]["data"]]()
    out = os.path.join(args.work, args.model)
    os.makedirs(out, exist_ok=True)
    train = np.concatenate([a for a, h in zip(arrays, held) if not h])
    valid = [a for a, h in zip(arrays, held) if h]
    np.save(os.path.join(out, "train.npy"), train)
    np.save(os.path.join(out, "valid.npy"), np.concatenate(valid))
    info = dict(
        train_tokens=len(train),
        valid_tokens=sum(map(len, valid)),
        valid_piece_lengths=[len(a) for a in valid],
        valid_pieces_start_at=[n for n, h in zip(names, held) if h],
        sha256_of_everything=hashlib.sha256(np.concatenate(arrays).tobytes()).hexdigest(),
    )
    json.dump(info, open(os.path.join(out, "data.json"), "w"), indent=1)
    print(json.dumps(info, indent=1))


if __name__ == "__main__":
    main()
