"""Makes the golden files of BERTScore and the further BLEU cases: fixtures/golden/bertscore/ and bleu_more.json.

The encoder is a tiny RoBERTa with random weights, so that parity is tested without a public model. Needs, in an
environment of its own: pip install torch transformers==4.46.3 bert_score==0.3.12 sacrebleu==2.6.0 safetensors
"""

import json
import pathlib
import sys
import tempfile

import bert_score
import sacrebleu
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaConfig, RobertaModel, RobertaTokenizer, RobertaTokenizerFast

PAIRS = [
    ("<Aa> is wearing a red striped hoodie .", "<Aa> is wearing a red striped hoodie ."),
    ("<Aa> is wearing a blue plain shirt .", "<Aa> is wearing a red striped hoodie ."),
    ("no , <Aa> is not in the video .", "yes , <Aa> is in the video ."),
    ("The man waves at somebody in the park.", "In the park, a man is waving at someone."),
    ("waving", "<Aa> is waving in front of the house , which is green ."),
    ("Es regnet in Zürich - 23,5 mm am Tag!", "It rained 23.5 mm in Zurich that day…"),
    ("", "<Aa> is in the kitchen ."),
    ("<Aa> is in the kitchen .", ""),
    ("  spaces   inside and around  ", "spaces inside and around"),
    ("數 字 and 🎈 emoji", "emoji and 🎈 數 字"),
]
# More than the encoder's positions, so that both sides are cut.
PAIRS.append((" ".join(["the long answer goes on and on"] * 8), " ".join(["a long answer went on"] * 9)))

BLEU = {
    "several_references_lengths": (["a b c d e f", "g h", "i"], ["a b c", "g h i j k l m", "i"]),
    "brevity_penalty_of_the_corpus": (["the cat", "the dog barks"], ["the cat sits on the mat", "the dog barks loudly at night"]),
    "all_empty": (["", ""], ["something", "else"]),
    "only_punctuation": (["! ? .", "..."], ["? ! .", ". . ."]),
    "subjects_in_brackets": (["<Aa> and <Bb> are in the video .", "only <Bb> is in the video ."],
                             ["yes , <Aa> and <Bb> are in the video .", "only <Aa> is in the video ."]),
    "apostrophes_and_quotes": (["it's \"fine\" - isn't it?"], ["it 's `` fine '' - is n't it ?"]),
    "numbers": (["1,000.50 and -3.5e-7 or 50% of $12"], ["1000.50 and -3.5e-7 or 50 % of $ 12"]),
    "other_scripts": (["Он идёт по улице.", "彼は歩いている。", "a\u00a0b\u2009c"], ["Он шёл по улице.", "彼は走っている。", "a b c"]),
    "tabs_and_lines": (["one\ttwo\nthree", "well-\nknown"], ["one two three", "wellknown"]),
    "entities": (["&amp;lt; &quot;x&quot; <skipped>y"], ["&lt; \"x\" y"]),
}


def main(folder):
    target = folder / "bertscore"
    target.mkdir(parents=True, exist_ok=True)
    texts = [text for pair in PAIRS for text in pair]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        trainer = ByteLevelBPETokenizer()
        trainer.train_from_iterator(texts * 2, vocab_size=400, min_frequency=2, special_tokens=special)
        trainer.save_model(str(scratch))
        RobertaTokenizerFast(str(scratch / "vocab.json"), str(scratch / "merges.txt")).save_pretrained(str(scratch))
        size = len(RobertaTokenizer(str(scratch / "vocab.json"), str(scratch / "merges.txt")))
        torch.manual_seed(11)
        config = RobertaConfig(
            vocab_size=size, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
            max_position_embeddings=42, type_vocab_size=1, initializer_range=0.3, layer_norm_eps=1e-5,
            pad_token_id=1, bos_token_id=0, eos_token_id=2,
        )
        model = RobertaModel(config, add_pooling_layer=True).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias") or "LayerNorm" in name:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(str(scratch), safe_serialization=True)
        # The reference package asks the tokenizer for its longest text.
        settings = json.loads((scratch / "tokenizer_config.json").read_text())
        settings["model_max_length"] = 40
        (scratch / "tokenizer_config.json").write_text(json.dumps(settings))
        cases = []
        for layers in (2, 3):
            scorer = bert_score.BERTScorer(model_type=str(scratch), num_layers=layers, idf=False, device="cpu", batch_size=4)
            precision, recall, f1 = scorer.score([p for p, _ in PAIRS], [r for _, r in PAIRS])
            cases.append({"layers": layers, "precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist()})
        slow = RobertaTokenizer.from_pretrained(str(scratch))
        tokens = [bert_score.utils.sent_encode(slow, text) for text in texts]
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (target / name).write_bytes((scratch / name).read_bytes())
    made = f"bert_score {bert_score.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
    golden = {"made_with": made, "longest": 40, "pairs": PAIRS, "tokens": tokens, "cases": cases}
    (target / "scores.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")

    metric = sacrebleu.metrics.BLEU(max_ngram_order=1, effective_order=True, tokenize="13a", smooth_method="exp")
    bleu = []
    for name, (predictions, references) in BLEU.items():
        score = metric.corpus_score(predictions, [references])
        bleu.append({
            "name": name, "predictions": predictions, "references": references, "score": score.score,
            "fraction": score.score / 100, "precision": score.precisions[0], "brevity_penalty": score.bp,
            "prediction_length": score.sys_len, "reference_length": score.ref_len, "matches": score.counts[0],
            "total": score.totals[0],
            "tokens_prediction": [metric.tokenizer(text).split() for text in predictions],
            "tokens_reference": [metric.tokenizer(text).split() for text in references],
            "sentence_scores": [metric.sentence_score(p, [r]).score for p, r in zip(predictions, references)],
        })
    out = {"bleu": {"made_with": f"sacrebleu {sacrebleu.__version__}, corpus_score", "cases": bleu}}
    (folder / "bleu_more.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "fixtures/golden"))
