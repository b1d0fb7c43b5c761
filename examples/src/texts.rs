//! The paper's scores of descriptions: BLEU-1, BERTScore where there is an encoder for it, ES and DC by a judge.

use std::path::PathBuf;

use clap::Args;
use pvchat::{
    data::random::SeededStream,
    eval::{
        bert_score::{Embedder, RobertaEmbedder, corpus_score},
        bleu::corpus_bleu,
        bootstrap::Resampler,
        judge::{Cached, Criterion, HttpTransport, Item, Judge, LanguageJudge, Mark, Marks, RuleJudge, mark_all},
        table::{Table, with_interval},
    },
};
use serde_json::{Value, json};

use crate::{
    examination::{Described, Outcome},
    progress::bar,
};

/// The variable of the environment that holds the judge's key.
const KEY: &str = "PVCHAT_JUDGE_KEY";

/// How descriptions are scored.
#[derive(Args, Clone, Debug)]
pub struct TextOptions {
    /// The folder of a RoBERTa (config.json, tokenizer.json, model.safetensors), for BERTScore.
    #[arg(long)]
    bert: Option<PathBuf>,
    /// The layer of it that embeds words: 17 for roberta-large, 10 for roberta-base.
    #[arg(long, default_value_t = 17)]
    bert_layer: usize,
    /// Has ES and DC marked by a language model behind an OpenAI-compatible service, http://localhost:8000/v1 say: questions,
    /// true answers and answers are sent there. PVCHAT_JUDGE_KEY holds the key, where it wants one. Rules on words mark
    /// otherwise.
    #[arg(long, requires = "judge_model")]
    judge: Option<String>,
    /// The model's name there.
    #[arg(long, requires = "judge")]
    judge_model: Option<String>,
    /// Where every mark is kept with its prompt and reason; what was marked before is not asked again.
    #[arg(long, default_value = "target/judged")]
    judge_cache: PathBuf,
}

/// Scores descriptions.
pub struct TextScorer {
    embedder: Option<RobertaEmbedder>,
    judge: Box<dyn Judge>,
}

impl TextOptions {
    /// Opens the encoder and says who judges; nothing is sent yet.
    ///
    /// # Errors
    /// What reading the encoder reports; an invalid address.
    pub fn open(&self) -> Outcome<TextScorer> {
        let embedder = self.bert.as_ref();
        let embedder = embedder.map(|folder| RobertaEmbedder::open(folder, self.bert_layer, &Default::default())).transpose()?;
        let judge: Box<dyn Judge> = match (&self.judge, &self.judge_model) {
            (Some(address), Some(model)) => {
                let mut transport = HttpTransport::new(address)?;
                if let Ok(key) = std::env::var(KEY) {
                    transport = transport.with_key(&key)?;
                }
                Box::new(Cached::new(LanguageJudge::new(transport, model), &self.judge_cache))
            }
            _ => Box::new(RuleJudge),
        };
        Ok(TextScorer { embedder, judge })
    }
}

/// What is asked about, as [`Described::aspect`] counts.
const ASPECTS: [&str; 3] = ["clothing", "action", "place"];
/// Of the bootstrap over subjects.
const RESAMPLES: usize = 300;

impl TextScorer {
    /// Scores the descriptions of every way, all together and by what was asked about, prints the table with bootstrap intervals
    /// over subjects, and returns all of it with every score, its reason, and the judge's prompt.
    ///
    /// # Errors
    /// What the judge and the encoder report.
    pub fn score(&self, described: &[(String, Vec<Described>)]) -> Outcome<Value> {
        let bar = bar("marking answers", 2 * described.iter().map(|(_, answers)| answers.len()).sum::<usize>());
        let judge = Counting { judge: self.judge.as_ref(), done: &|| bar.inc(1) };
        let mut table = Table::new(["texts [95 %]", "BLEU-1", "BERTScore F1", "ES", "DC"]);
        let mut ways = serde_json::Map::new();
        for (name, answers) in described {
            let way = self.way(&judge, answers)?;
            let parts = [None].into_iter().chain((0..ASPECTS.len()).map(Some));
            for part in parts {
                let chosen: Vec<usize> =
                    (0..answers.len()).filter(|&at| part.is_none_or(|part| answers[at].aspect == part)).collect();
                let label = part.map_or_else(|| name.clone(), |part| format!("{name}: {}", ASPECTS[part]));
                table.row([label].into_iter().chain(way.row(answers, &chosen)));
            }
            ways.insert(name.clone(), json!({ "answers": way.items, "bert score f1": way.f1, "marks": way.marks }));
        }
        bar.finish_and_clear();
        let judge = self.judge.name();
        let encoder = self.embedder.as_ref().map_or("not computed, give --bert".into(), Embedder::name);
        println!("{}", table.to_markdown());
        println!("BERTScore: {encoder}; ES and DC: {judge}\n");
        let instructions = described.iter().flat_map(|(_, answers)| answers).next();
        let instructions =
            instructions.map(|answer| CRITERIA.map(|criterion| (criterion, criterion.prompt(&answer.item).system)));
        Ok(json!({ "judge": judge, "encoder": encoder, "instructions": instructions, "ways": ways }))
    }

    fn way(&self, judge: &dyn Judge, answers: &[Described]) -> Outcome<Way> {
        let items: Vec<Item> = answers.iter().map(|answer| answer.item.clone()).collect();
        let pairs = items.iter().map(|item| (item.answer.as_str(), item.reference.as_str()));
        let similar = self.embedder.as_ref().map(|embedder| corpus_score(embedder, pairs)).transpose()?;
        let f1 = similar.map(|similar| similar.scores.iter().map(|score| score.f1).collect());
        let marks =
            CRITERIA.into_iter().map(|criterion| Ok(mark_all(judge, criterion, &items)?)).collect::<Outcome<Vec<Marks>>>()?;
        Ok(Way { items, f1, marks })
    }
}

/// ES and DC, in the order of the table's columns.
const CRITERIA: [Criterion; 2] = [Criterion::EntitySpecificity, Criterion::DescriptiveCompleteness];

/// The descriptions of one way with their scores.
struct Way {
    items: Vec<Item>,
    f1: Option<Vec<f64>>,
    marks: Vec<Marks>,
}

impl Way {
    /// BLEU-1, BERTScore, ES and DC of some of the answers, with their intervals.
    fn row(&self, answers: &[Described], chosen: &[usize]) -> Vec<String> {
        let subjects = Resampler::new(chosen.iter().map(|&at| ((), &answers[at].subject)));
        let estimate = |statistic: &dyn Fn(&[usize]) -> Option<f64>| {
            with_interval(subjects.estimate(statistic, RESAMPLES, &mut SeededStream::new(7)))
        };
        let mean = |value: &dyn Fn(usize) -> f64| {
            estimate(&|drawn| {
                (!drawn.is_empty()).then(|| drawn.iter().map(|&at| value(chosen[at])).sum::<f64>() / drawn.len() as f64)
            })
        };
        let bleu = estimate(&|drawn| {
            let items = drawn.iter().map(|&at| &self.items[chosen[at]]);
            Some(corpus_bleu(items.map(|item| (item.answer.as_str(), item.reference.as_str()))).score)
        });
        let f1 = self.f1.as_ref().map_or_else(|| "-".into(), |f1| mean(&|at| f1[at]));
        let marks = self.marks.iter().map(|marks| mean(&|at| f64::from(marks.marks[at].mark)));
        [bleu, f1].into_iter().chain(marks).collect()
    }
}

/// A judge whose marks are counted as they come.
struct Counting<'a> {
    judge: &'a dyn Judge,
    done: &'a dyn Fn(),
}

impl Judge for Counting<'_> {
    fn name(&self) -> String {
        self.judge.name()
    }

    fn mark(&self, criterion: Criterion, item: &Item) -> pvchat::eval::Result<Mark> {
        let mark = self.judge.mark(criterion, item);
        (self.done)();
        mark
    }
}
