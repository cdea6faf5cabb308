"""Makes small-bpe/: python make.py (needs the package `tokenizers`).

A byte-level BPE of a few hundred tokens in GPT-2's format, as tokenizer.json and as vocab.json with
merges.txt, and in cases.json what the reference implementation makes of odd strings.
"""
import json
import random
import unicodedata

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = """In the beginning God created the heaven and the earth. And the earth was without form, and void; and
darkness was upon the face of the deep. I'm sure they've said we'll see; it's what you'd think, isn't it? They're 12345
or 67890, 3.14159 and 2,718. Die Straße führt über Köln; où est l'été? Москва и Санкт-Петербург. 日本語のテキスト、
中文文本。 def f(x):\n    return x ** 2  # a comment\n\n\tfor i in range(10):\n        print(i)\n 🙂🙃 naïve café"""

tok = Tokenizer(models.BPE())
tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tok.decoder = decoders.ByteLevel()
tok.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(
    vocab_size=500, min_frequency=1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
tok.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
tok.add_tokens([AddedToken("<tag>"), AddedToken("<tag>>")])
tok.save("small-bpe/tokenizer.json")
tok.model.save("small-bpe")

rng = random.Random(7)
PIECES = (["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'x", "'", "''", " ", "  ", "   ", "\n", "\r\n", "\t",
           "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\u001c", "the", " the", "The earth", "0", "42", "\u00b2", "\u2160", "\u0663",
           "é", "e\u0301", "日本", "ß", "Ж", "🙂", "👩‍👩‍👧", "!", "?!", "...", " ,", "_", "<tag>", "<tag>>", "<|endoftext|>",
           "<|endoftext|", "Ġ", "\x00", "\x7f", "a" * 40, "ab" * 30, "\ufeff", "\u00ad", "\U0001d7d8", "\U00010400"])


def random_char():
    while True:
        c = rng.choice([rng.randrange(32, 127), rng.randrange(0x80, 0x600), rng.randrange(0x800, 0x3200),
                        rng.randrange(0x4e00, 0x9fff), rng.randrange(0x10000, 0x1f700)])
        # What is not yet a character in all Unicode versions at hand may tell implementations apart.
        if unicodedata.category(chr(c)) not in ("Cn", "Cs"):
            return chr(c)


def random_text():
    return "".join(rng.choice(PIECES) if rng.random() < 0.7 else random_char() for _ in range(rng.randrange(1, 14)))


def make_cases(n):
    texts = ["", TEXT] + PIECES + [" " + p for p in PIECES] + [random_text() for _ in range(n)]
    return [{"text": t, "ids": tok.encode(t).ids} for t in texts]


if __name__ == "__main__":
    with open("small-bpe/cases.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in make_cases(300)) + "\n]\n")
