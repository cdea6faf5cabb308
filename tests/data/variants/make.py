"""Makes genome.fa and in.vcf: python3 tests/data/variants/make.py. Invented bases, one variant of each kind."""
import os
import random

HERE = os.path.dirname(os.path.abspath(__file__))
draw = random.Random(20)
genome = {"chr1": "".join(draw.choice("ACGT") for _ in range(3000)), "chr2": "".join(draw.choice("ACGT") for _ in range(40))}

with open(os.path.join(HERE, "genome.fa"), "w") as file:
    for name, bases in genome.items():
        file.write(f">{name} invented\n" + "".join(bases[i:i + 60] + "\n" for i in range(0, len(bases), 60)))


def at(contig, pos, length=1):
    return genome[contig][pos - 1:pos - 1 + length]


def others(contig, pos):
    return [base for base in "ACGT" if base != at(contig, pos)]


records = [
    ("chr1", 1500, "snv", at("chr1", 1500), others("chr1", 1500)[0]),
    ("chr1", 1510, "three", at("chr1", 1510), ",".join(others("chr1", 1510))),
    ("chr1", 1520, "mnv", at("chr1", 1520, 3), "".join(others("chr1", 1520 + i)[0] for i in range(3))),
    ("1", 1530, "insertion", at("chr1", 1530), at("chr1", 1530) + "ACGTTGCA"),
    ("chr1", 1540, "deletion", at("chr1", 1540, 12), at("chr1", 1540)),
    ("chr1", 1550, "symbolic", at("chr1", 1550), others("chr1", 1550)[0] + ",<DEL>,*"),
    ("chr1", 1560, "apart1", at("chr1", 1560), others("chr1", 1560)[0]),
    ("chr1", 1560, "apart2", at("chr1", 1560), others("chr1", 1560)[1]),
    ("chr1", 1, "first", at("chr1", 1), others("chr1", 1)[0]),
    ("chr1", 3000, "last", at("chr1", 3000), others("chr1", 3000)[0]),
    ("2", 20, "short", at("chr2", 20), others("chr2", 20)[0]),
]
with open(os.path.join(HERE, "in.vcf"), "w") as file:
    file.write("##fileformat=VCFv4.3\n")
    file.write("##INFO=<ID=DP,Number=1,Type=Integer,Description=\"Depth\">\n")
    file.write("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tsample\n")
    for chrom, pos, name, ref, alt in records:
        file.write(f"{chrom}\t{pos}\t{name}\t{ref}\t{alt}\t50\tPASS\tDP=9\tGT\t0/1\n")
