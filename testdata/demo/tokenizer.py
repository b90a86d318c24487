#!/usr/bin/env python3
"""Trains the demo collection's own WordPiece tokenizer (4,000 pieces, lower case) on its passages.

    python testdata/demo/tokenizer.py          needs the `tokenizers` package
"""
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def main():
    documents = [json.loads(line) for line in (HERE / "corpus.jsonl").open(encoding="utf-8")]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    alphabet = [chr(code) for code in range(33, 127)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=4000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator((f"{d['title']} {d['text']}" for d in documents), trainer)
    # of equal counts the trainer takes any, so a second run may differ in its rarest pieces
    pieces = sorted(set(tokenizer.get_vocab()) - set(SPECIAL))
    vocabulary = {piece: number for number, piece in enumerate(SPECIAL + pieces)}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    (HERE / "tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
