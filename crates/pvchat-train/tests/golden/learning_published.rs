//! `learning/learning_release*` and `learning/learning_paper*`: eight steps of learning a person, in two stages, as the released
//! code does it and as the paper describes it.
//!
//! `fixtures/golden` holds those with large rates; a directory named by `PVCHAT_GOLDEN` may hold others.

use std::{collections::BTreeMap, ops::ControlFlow};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    prelude::*,
};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    answer::AnswerConfig,
    bridge::{BridgeConfig, QFormerBridgeConfig, connector::place_visual_tokens},
    families::{
        VisionConfig,
        internvideo2_chat::{
            InternVideo2Config,
            names::{RENAMES, is_ignored, public_name},
        },
    },
    personal::PersonalTensors,
    prompt::{EncodedText, Segment},
    qformer::{DropoutRates, QFormerConfig},
    sight::{Shown, Sight},
    vilm::VilmParameters,
    vision::{VisionEncoder, vision_layernorm},
};
use pvchat_nn::{
    language::{DecoderConfig, LoraConfig},
    moh::Routing,
    weights::apply_tensors,
};
use pvchat_train::{
    gradients::batch_gradients,
    objective::{HaeGrowth, Objective, ObjectiveConfig, ObjectiveReport, RoutedHeads, Surrogate},
    personal::{AdaptationConfig, LearnConfig, LearnParameters},
    run::{RunConfig, Task, run},
};
use serde_json::Value;

use crate::support::{GRADIENT, Golden, VALUE, assert_all_close, devices, directory, names_that_begin};

/// A file, and the base that it starts from.
struct Trajectory {
    name: String,
    golden: Golden,
    vision: VisionConfig,
    base: VilmParameters,
    start: PersonalTensors,
    config: LearnConfig,
    device: Device,
}

/// The steps of a file, for the training loop.
struct Steps<'a> {
    of: &'a Trajectory,
    objective: Objective,
}

/// What a step reports.
struct Report {
    /// Mean cross entropy.
    loss: f64,
    /// The objective's values.
    routed: ObjectiveReport,
    /// The objective as it was used.
    objective: Objective,
}

/// Values or gradients of every parameter under the names and in the layout of the file; of gradients only those that exist.
struct Named<'a> {
    path: Vec<String>,
    gradients: Option<&'a GradientsParams>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Named<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let tensor = match self.gradients {
            None => parameter.val().inner(),
            Some(gradients) => match gradients.get::<D>(parameter.id) {
                Some(gradient) => gradient,
                None => return,
            },
        };
        let path = self.path.join(".");
        let tensor = if D == 2 { tensor.swap_dims(0, 1) } else { tensor };
        let name = match path.as_str() {
            // The bridge holds what every subject starts from; these are the subject's.
            "answer.personal_query_tokens" => "base.personal_query_tokens".into(),
            "personal.tokens" => "personal_query_tokens".into(),
            "personal.word_row" => "subject.embedding_row".into(),
            "personal.head_row" => "subject.head_row".into(),
            ours => public_name(&ours.replace(".gamma", ".weight").replace(".beta", ".bias")),
        };
        assert!(self.found.insert(name, tensor.into_data().iter::<f32>().collect()).is_none(), "{path}");
    }
}

fn named(model: &LearnParameters, gradients: Option<&GradientsParams>) -> BTreeMap<String, Vec<f32>> {
    let mut visitor = Named { path: Vec::new(), gradients, found: BTreeMap::new() };
    model.visit(&mut visitor);
    visitor.found
}

/// A number of the file's config.
fn number(golden: &Golden, path: &[&str]) -> f64 {
    let value = path.iter().fold(golden.config(), |value, key| &value[*key]);
    value.as_f64().unwrap_or_else(|| panic!("config {path:?}"))
}

fn size(golden: &Golden, path: &[&str]) -> usize {
    number(golden, path) as usize
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn is_paper(golden: &Golden) -> bool {
    golden.has("weights.subject.embedding_row")
}

/// The learning that the file holds: the preset of its kind with the file's numbers.
fn learning(golden: &Golden) -> LearnConfig {
    let optimizer = &golden.config()["optimizer"];
    assert!(optimizer["clipping"].is_null() && optimizer["schedule"].is_null());
    assert_eq!(list::<[f64; 2]>(&optimizer["betas"]), [0.9, 0.999], "those of the library's optimiser");
    assert_eq!(number(golden, &["optimizer", "eps"]), 1e-8, "that of the library's optimiser");
    let decay = number(golden, &["optimizer", "weight_decay"]);
    let rate = |key| number(golden, &["learning_rates", key]);
    let preset = if is_paper(golden) { LearnConfig::paper() } else { LearnConfig::released() };
    let steps = |stage: u64| steps_of(golden).iter().filter(|step| step["stage"] == stage).count();
    let lora = |key| number(golden, &["sizes", "lora", key]);
    LearnConfig {
        image_steps: steps(1),
        clip_steps: steps(2),
        learning_rate: rate("personal_query_tokens"),
        row_rate: if is_paper(golden) { Some(rate("subject_rows")) } else { preset.row_rate },
        objective: objective(golden),
        personal_decay: decay,
        adaptation: AdaptationConfig {
            lora: LoraConfig { rank: lora("r") as usize, alpha: lora("alpha"), dropout: lora("dropout") },
            lora_rate: rate("lora"),
            router_rate: rate("routers"),
            bridge_rate: rate("qformer"),
            vision_rate: if is_paper(golden) { rate("vision") } else { preset.adaptation.vision_rate },
            weight_decay: decay,
            ..preset.adaptation
        },
        ..preset
    }
}

fn objective(golden: &Golden) -> ObjectiveConfig {
    let kind = if is_paper(golden) { "straight_through" } else { "released" };
    let own = |key| number(golden, &["objective", kind, key]);
    let shared = |preset: ObjectiveConfig| ObjectiveConfig {
        top_k: size(golden, &["sizes", "qformer", "top_k"]),
        target: Some(own("target")),
        adaptation_rate: own("k"),
        initial_lambda: own("lambda_init"),
        lambda_range: list(&golden.config()["objective"][kind]["lambda_clamp"]),
        ..preset
    };
    if is_paper(golden) {
        ObjectiveConfig {
            gate_range: list(&golden.config()["objective"][kind]["clamp"]),
            hae_weight: own("hae_weight"),
            hae_sharpness: own("sharpness"),
            // The file clamps its surrogate; ours has a tail instead.
            surrogate: Surrogate { steepness: own("temperature"), tail: 0.0, clamp: true },
            ..shared(ObjectiveConfig::straight_through())
        }
    } else {
        let growth = HaeGrowth { factor: own("w_growth"), below: own("w_below"), limit: own("w_max") };
        ObjectiveConfig { hae_weight: own("w_init"), hae_growth: Some(growth), ..shared(ObjectiveConfig::released()) }
    }
}

fn steps_of(golden: &Golden) -> &Vec<Value> {
    golden.config()["steps"].as_array().expect("steps")
}

/// The rows of `tensor` `[rows, width]` from `first` on.
fn rows(tensor: Tensor<2>, first: usize, count: usize) -> Tensor<2> {
    tensor.narrow(0, first, count)
}

impl Trajectory {
    fn open(name: String, device: &Device) -> Self {
        let golden = Golden::open(&name);
        let config = learning(&golden);
        let vision = |key| size(&golden, &["sizes", "vision", key]);
        let vision = InternVideo2Config {
            width: vision("width"),
            depth: vision("configured_depth"),
            return_index: number(&golden, &["sizes", "vision", "x_vis_return_idx"]) as isize,
            heads: vision("heads"),
            mlp_hidden: vision("mlp_hidden"),
            image_size: vision("image_size"),
            patch_size: vision("patch_size"),
            frames: vision("frames"),
            ..InternVideo2Config::full()
        };
        let vision = VisionConfig::InternVideo2(vision);
        let own = |key| size(&golden, &["sizes", "qformer", key]);
        let qformer = QFormerConfig {
            hidden: own("hidden"),
            layers: own("layers"),
            heads: own("heads"),
            intermediate: own("intermediate"),
            encoder_width: vision.width(),
            cross_attention_every: own("cross_attention_freq"),
            routed_from_layer: own("moh_start_layer"),
            routing: Routing::Relu { shared: own("shared_heads"), rescale: false },
            vocabulary: Some(own("vocab")),
            max_positions: own("max_positions"),
            dropout: DropoutRates::default(),
            ..QFormerConfig::full()
        };
        let bridge = QFormerBridgeConfig {
            tiles: size(&golden, &["sizes", "tiles"]),
            query_tokens: own("num_query"),
            extra_query_tokens: own("num_extra"),
            personal_query_tokens: own("num_personal"),
            qformer,
            ..QFormerBridgeConfig::full()
        };
        let subject = golden.size("subject_id");
        let lm = |key| size(&golden, &["sizes", "lm", key]);
        let language = DecoderConfig {
            vocabulary: subject,
            hidden: lm("hidden"),
            layers: lm("layers"),
            heads: lm("heads"),
            kv_heads: lm("kv_heads"),
            head_dim: lm("hidden") / lm("heads"),
            intermediate: lm("intermediate"),
            rope_theta: golden.number("rope_theta"),
            rms_norm_epsilon: golden.number("rms_norm_eps"),
            lora: Some(config.adaptation.lora),
            ..DecoderConfig::full()
        };
        let stream = SeededStream::new(0);
        let answer = AnswerConfig { bridge: BridgeConfig::QFormer(bridge), language };
        let mut base = VilmParameters {
            vision_encoder: vision.tower(&mut stream.clone(), device).unwrap(),
            vision_layernorm: Some(vision_layernorm(vision.width(), device)),
            answer: answer.init(&stream, device).unwrap(),
        };
        // With the subject's row these are longer than the base's.
        let longer = ["model.embed_tokens.weight", "lm_head.weight", "lm_head.lora_B.default.weight"];
        let longer = longer.map(|name| format!("lm.base_model.model.{name}"));
        let of_the_base =
            |name: &str| !is_ignored(name) && !name.starts_with("subject.") && !longer.iter().any(|longer| longer == name);
        let source = golden.source().under("weights.").filtered(of_the_base);
        let applied = apply_tensors(&mut base, &source, RENAMES).unwrap();
        assert!(applied.unused.is_empty(), "{name}: {:?}", applied.unused);
        let apart = |name: &String| name.starts_with("answer.lm.lm_head.") || name.starts_with("answer.lm.embed_tokens.");
        assert!(applied.missing.iter().all(apart), "{name}: {:?}", applied.missing);
        let [words, head, adapter] =
            longer.map(|name| golden.has(&format!("weights.{name}")).then(|| golden.tensor(&format!("weights.{name}"), device)));
        let (words, head): (Tensor<2>, Tensor<2>) = (words.unwrap(), head.unwrap());
        let lm = &mut base.answer.lm;
        lm.embed_tokens.weight = Param::from_tensor(rows(words.clone(), 0, subject));
        lm.lm_head.base.weight = Param::from_tensor(rows(head.clone(), 0, subject).transpose());
        if let Some(adapter) = adapter {
            let beyond: Vec<f32> = rows(adapter.clone(), subject, 1).into_data().iter::<f32>().collect();
            assert!(beyond.iter().all(|value| *value == 0.0), "{name}: the adapter leaves the subject's row as it is at first");
            let lora = lm.lm_head.lora.as_mut().expect("an adapter");
            lora.b.weight = Param::from_tensor(rows(adapter, 0, subject).transpose());
        }
        let row = |of_subject: &str, table: Tensor<2>| match is_paper(&golden) {
            true => golden.tensor::<2>(&format!("weights.subject.{of_subject}"), device).unsqueeze_dim::<3>(0),
            false => rows(table, subject, 1).unsqueeze_dim::<3>(0),
        };
        let start = PersonalTensors {
            tokens: golden.tensor::<3>("weights.personal_query_tokens", device).unsqueeze_dim::<4>(0),
            identity: Tensor::zeros([1, 1, 0], device),
            word_row: row("embedding_row", words),
            head_row: row("head_row", head),
        };
        Self { name, vision, base: base.no_grad(), start, config, device: device.clone(), golden }
    }

    /// Whether the learning rates are larger than those of the release.
    fn is_fast(&self) -> bool {
        self.name.contains("_fast")
    }

    /// What the encoder of `model` makes of clips: all frames, or the first one again and again.
    fn sight(&self, model: &LearnParameters, clips: &[String], frames: usize, repeats: bool) -> Sight {
        let pixels = clips.iter().map(|clip| {
            let clip = self.golden.tensor::<5>(&format!("inputs.clip.{clip}"), &self.device);
            let clip = if repeats { clip.narrow(1, 0, 1).repeat_dim(1, frames) } else { clip.narrow(1, 0, frames) };
            clip.swap_dims(1, 2)
        });
        let lower = self.base.vision_encoder.lower(Tensor::cat(pixels.collect(), 0)).unwrap();
        let encoder = model.vision_encoder.as_ref().unwrap_or(&self.base.vision_encoder);
        let tokens = self.base.vision_layernorm.as_ref().unwrap().forward(encoder.upper(lower).tokens);
        let ([images, count, width], tiles) = (tokens.dims(), size(&self.golden, &["sizes", "tiles"]));
        assert_eq!(images, clips.len() * tiles);
        let identity = Tensor::zeros([clips.len(), 0, 0], &self.device);
        Sight { tokens: tokens.reshape([clips.len(), tiles * count, width]), identity, shown: vec![Shown::Tiles(tiles)] }
    }

    fn table(&self, name: &str) -> Vec<Vec<i64>> {
        let width = self.golden.shape(name)[1];
        self.golden.integers(name).chunks(width).map(<[i64]>::to_vec).collect()
    }

    /// A row of a batch as the trainer has it: what stands before the question, and question with answer.
    fn split(&self, step: usize, row: usize) -> (Vec<Segment>, EncodedText) {
        let part = |name: &str| self.table(&format!("inputs.step{step}.{name}"))[row].clone();
        let (ids, is_visual, mask) = (part("input_ids"), part("video_idx"), part("attention_mask"));
        let (mut begin, mut text) = (Vec::new(), Vec::new());
        for place in 0..ids.len() {
            if mask[place] == 0 {
                break;
            }
            if is_visual[place] == 0 {
                text.push(ids[place] as u32);
            } else if place == 0 || is_visual[place - 1] == 0 {
                begin.extend([Segment::Text(std::mem::take(&mut text)), Segment::Visual]);
            }
        }
        let before = ids.len() - mask.iter().filter(|mask| **mask == 0).count() - text.len();
        let labels = &part("labels")[before..];
        let answer_start = labels.iter().position(|label| *label >= 0).expect("an answer");
        let text = EncodedText { ids: text, answer_start };
        assert_eq!(text.labels(labels.len()), labels, "{}: step {step}, row {row}", self.name);
        (begin, text)
    }

    /// Logits of the question about the clip that is not trained on.
    fn heldout(&self, what: &str, model: &LearnParameters, when: &str) {
        let model = model.valid();
        let clip = self.golden.config()["heldout_clip"].as_str().expect("a clip").to_string();
        let frames = self.golden.shape(&format!("inputs.clip.{clip}"))[1];
        let answer = model.answer.as_ref().expect("an answer model");
        let personal = model.personal.tensors(&[0], 1, 1);
        let slots = Tensor::<2, Int>::zeros([1, 1], &self.device);
        let visual = answer.visual(&self.sight(&model, &[clip], frames, false), Some((&personal, slots.clone()))).unwrap();
        let [words, head] = answer.bridge.rows((&personal, slots));
        let ids = self.golden.int_tensor::<2>("inputs.heldout.input_ids", &self.device);
        let [batch, tokens] = ids.dims();
        let places = self.table("inputs.heldout.video_idx");
        let places: Vec<Vec<u32>> = places.iter().map(|row| row.iter().map(|place| *place as u32).collect()).collect();
        let embeddings = place_visual_tokens(answer.lm.embed_with(ids, Some(words)), &places, 1, visual.embeddings).unwrap();
        let positions = Tensor::<1, Int>::arange(0..tokens as i64, &self.device).unsqueeze_dim::<2>(0).expand([batch, tokens]);
        let logits = answer.lm.logits(answer.lm.forward(embeddings, positions, None, None), Some(head));
        let found: Vec<f32> = logits.into_data().iter::<f32>().collect();
        let expected = self.golden.floats(&format!("outputs.heldout.logits.{when}"));
        assert_eq!(found.len(), expected.len(), "{what}: held-out logits");
        if when == "before" {
            return assert_all_close(&format!("{what}: held-out logits"), &found, &expected, VALUE);
        }
        let worst = found.iter().zip(&expected).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        println!("{what}: held-out logits {when}: {worst:.1e}");
        assert!(worst <= if self.is_fast() { 5e-3 } else { 1e-3 }, "{what}: held-out logits {when}: {worst}");
    }

    /// The learning rate of a parameter.
    fn rate(&self, name: &str) -> f64 {
        let group = match name {
            "personal_query_tokens" => "personal_query_tokens",
            name if name.starts_with("subject.") => "subject_rows",
            name if name.contains(".router_alpha.") => "routers",
            name if name.starts_with("qformer.") => "qformer",
            name if name.starts_with("vision_encoder.") => "vision",
            _ => "lora",
        };
        number(&self.golden, &["learning_rates", group])
    }

    /// Compares how far each parameter went since the start with the file, in units of rate times steps; what the file does not
    /// name has not moved at all.
    fn moved(&self, what: &str, model: &LearnParameters, start: &BTreeMap<String, Vec<f32>>, stage: usize, steps: usize) {
        let prefix = format!("outputs.stage{stage}.");
        let mut left = self.golden.names().into_iter().filter(|name| name.starts_with(&prefix)).count();
        let mut worst = (0.0, String::new());
        for (name, found) in named(model, None) {
            let start = &start[&name];
            let file_name = format!("{prefix}{name}");
            if !self.golden.has(&file_name) {
                assert!(&found == start, "{what}: {name} has not moved in stage {stage} of the reference");
                continue;
            }
            left -= 1;
            let first = if name.starts_with("vision_encoder.") { self.config.image_steps } else { 0 };
            let unit = self.rate(&name) * (steps - first) as f64;
            let errors = |expected: &[f32]| {
                assert_eq!(found.len(), expected.len(), "{what}: {name}");
                let mut errors: Vec<f64> =
                    found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs() / unit).collect();
                errors.sort_by(f64::total_cmp);
                errors
            };
            if name.ends_with(".self.key.bias") {
                // The softmax does not see it: it goes where rounding takes it.
                let furthest = errors(start).last().copied().unwrap_or_default();
                assert!(furthest <= 1.01, "{what}: {name} went {furthest} of rate times steps");
                continue;
            }
            let errors = errors(&self.golden.floats(&file_name));
            let error = errors[(errors.len() * 99 / 100).min(errors.len() - 1)];
            let limit = if self.is_fast() { 0.005 } else { 0.02 };
            assert!(error <= limit, "{what}: {name} after stage {stage}: {error} of rate times steps");
            if error > worst.0 {
                worst = (error, name);
            }
        }
        assert_eq!(left, 0, "{what}: parameters that move in stage {stage} of the reference and are not trained here");
        println!("{what}: movement after stage {stage}: worst 99th percentile {:.1e} ({})", worst.0, worst.1);
    }

    /// Compares the gradients of a step, where the file holds them.
    fn slopes(&self, what: &str, run: &RunConfig, model: &LearnParameters, step: usize, objective: &Objective) {
        let prefix = format!("grads.step{step}.");
        let expected: Vec<String> = self.golden.names().into_iter().filter(|name| name.starts_with(&prefix)).collect();
        if expected.is_empty() {
            return;
        }
        let steps = Steps { of: self, objective: objective.clone() };
        let model = run.at_step(model.clone(), step);
        let device = self.device.clone().autodiff();
        let gradients = batch_gradients(&model, steps.shards(step), &device, |model, shard| steps.loss(model, shard)).gradients;
        let found = named(&model, Some(&gradients));
        for name in &expected {
            let values = found
                .get(&name[prefix.len()..])
                .unwrap_or_else(|| panic!("{what}: no gradient for {name}, only for {:?}", found.keys()));
            assert_all_close(&format!("{what}: {name}"), values, &self.golden.floats(name), GRADIENT);
        }
        if step == 0 {
            assert_eq!(found.len(), expected.len(), "{what}: {:?}", found.keys());
        }
    }
}

impl Task<LearnParameters> for Steps<'_> {
    type Shard = usize;
    type Report = Report;

    fn shards(&self, step: usize) -> Vec<usize> {
        vec![step]
    }

    fn loss(&self, model: &LearnParameters, step: usize) -> (Tensor<1>, Report) {
        let setting = &steps_of(&self.of.golden)[step];
        let asked: Vec<String> = list(&setting["rows"]);
        let mut clips = asked.clone();
        clips.dedup();
        let mut texts = vec![Vec::new(); clips.len()];
        let mut begin = Vec::new();
        for (row, clip) in asked.iter().enumerate() {
            let (before, text) = self.of.split(step, row);
            assert!(row == 0 || begin == before, "the same before every question");
            begin = before;
            texts[clips.iter().position(|other| other == clip).expect("one of them")].push(text);
        }
        let sight = self.of.sight(model, &clips, setting["frames"].as_u64().expect("frames") as usize, setting["stage"] == 1);
        let answer = model.answer.as_ref().expect("an answer model");
        let personal = model.personal.tensors(&[0], 1, clips.len());
        let slots = Tensor::<2, Int>::zeros([clips.len(), 1], &self.of.device);
        let visual = answer.visual(&sight, Some((&personal, slots.clone()))).unwrap();
        let modules: Vec<&String> = visual.gates.iter().map(|(name, _)| name).collect();
        assert_eq!(modules, list::<Vec<String>>(&self.of.golden.config()["modules"]).iter().collect::<Vec<_>>());
        let routed: Vec<RoutedHeads> = visual.gates.iter().map(|(_, gates)| gates.into()).collect();
        let cross_entropy = answer.losses(&visual, &begin, &texts, Some((&personal, slots))).unwrap().tokens.mean();
        let mut objective = self.objective.clone();
        let auxiliary = objective.train(&routed).unwrap();
        let loss = cross_entropy.clone().into_scalar::<f32>().into();
        (cross_entropy + auxiliary.loss.unwrap(), Report { loss, routed: auxiliary.report, objective })
    }

    fn after_step(&mut self, _step: usize, reports: &[Report]) {
        let routed: Vec<ObjectiveReport> = reports.iter().map(|report| report.routed.clone()).collect();
        self.objective.advance(&routed);
        assert_eq!(self.objective, reports[0].objective, "updated, then used");
    }
}

/// Every file there is whose name begins so, on every backend.
fn follow_all(kind: &str) {
    let found = names_that_begin(&format!("learning/learning_{kind}"));
    assert!(!found.is_empty(), "no learning/learning_{kind}*.safetensors in {}", directory().display());
    for name in found {
        for (backend, device) in devices() {
            let trajectory = Trajectory::open(name.clone(), &device);
            follow(&trajectory, &format!("{backend}: {name}"));
        }
    }
}

fn follow(trajectory: &Trajectory, what: &str) {
    let (golden, config, vision) = (&trajectory.golden, &trajectory.config, &trajectory.vision);
    let device = trajectory.device.clone().autodiff();
    let stream = SeededStream::new(0);
    let model = LearnParameters::new(&trajectory.base, vision, &trajectory.start, config, &stream, &device).unwrap();
    let start = named(&model, None);
    for (name, values) in &start {
        let name = format!("weights.{name}");
        if golden.has(&name)
            && golden.floats(&name).len() == values.len()
            && !name.contains("embeddings.weight")
            && !name.contains("embed_tokens")
        {
            assert!(values == &golden.floats(&name), "{what}: {name} at the start");
        }
    }
    let modules = golden.config()["modules"].as_array().expect("modules").len();
    let mut steps = Steps { of: trajectory, objective: Objective::new(config.objective.clone(), modules).unwrap() };
    let plan = config.run_config(vision).unwrap();
    trajectory.heldout(what, &model, "before");
    trajectory.slopes(what, &plan, &model, 0, &steps.objective);
    let optimizer = config.optimizer(vision).unwrap();
    let model = run(model, optimizer, &plan, &mut steps, &device, |progress| {
        let (index, report) = (progress.step - 1, &progress.reports[0]);
        let near = |key: &str, column: usize, found: f64, tolerance: f64| {
            let name = format!("outputs.step.{key}");
            let values = golden.floats(&name);
            let wanted = f64::from(values[index * (values.len() / progress.steps) + column]);
            let is_near = (found - wanted).abs() <= tolerance * (1.0 + wanted.abs());
            assert!(is_near, "{what}: step {index}: {key} {column}: found {found}, expected {wanted}");
        };
        near("lm_loss", 0, report.loss, VALUE);
        near("total", 0, f64::from(progress.loss), VALUE);
        for (module, values) in report.routed.modules.iter().enumerate() {
            near("aux", module, values.spr + values.hae, VALUE);
            near("hae", module, values.hae_unweighted, VALUE);
            near("activation", module, values.activation, 1e-6);
            let means = &values.gate_mean_per_head;
            near("mean_gate", module, means.iter().sum::<f64>() / means.len() as f64, VALUE);
            let lambdas = golden.floats("outputs.step.lambda");
            let wanted = f64::from(lambdas[index * modules + module]);
            assert!((values.lambda / wanted - 1.0).abs() <= 1e-5, "{what}: step {index}: {} and {wanted}", values.lambda);
            if golden.has("outputs.step.load_balance") {
                near("load_balance", module, values.sparsity, VALUE);
                near("alignment_weight", module, values.weight, VALUE);
            }
        }
        for (column, group) in list::<Vec<String>>(&golden.config()["gradient_norm_order"]).iter().enumerate() {
            let name = match group.as_str() {
                "subject_row" | "subject_rows" => "rows",
                "qformer" => "bridge",
                "lora" => "adapters",
                other => other,
            };
            // Those of no group are the personal tokens.
            let place = plan.groups.iter().position(|group| group.name == name).unwrap_or(plan.groups.len());
            assert!(place < plan.groups.len() || name == "personal_query_tokens", "{what}: no group {name}");
            near("gradient_norm", column, progress.group_norms[place], GRADIENT);
        }
        if progress.step == config.image_steps {
            trajectory.moved(what, progress.model, &start, 1, progress.step);
            trajectory.heldout(what, progress.model, "after_stage1");
        }
        if progress.step < progress.steps {
            trajectory.slopes(what, &plan, progress.model, progress.step, &report.objective);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(model.devices(), std::slice::from_ref(&trajectory.device), "{what}");
    trajectory.moved(what, &model, &start, 2, plan.steps);
    trajectory.heldout(what, &model, "after_stage2");
}

#[test]
fn eight_steps_of_the_released_code() {
    follow_all("release");
}

#[test]
fn eight_steps_of_the_paper() {
    follow_all("paper");
}
