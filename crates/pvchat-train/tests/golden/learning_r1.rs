//! `learning/learning_r1*`: eight steps of learning a person inside a pretrained decoder, as the paper's follow-up does it.
//!
//! `fixtures/golden` holds the trajectory whose routers are drawn; a directory named by `PVCHAT_GOLDEN` may hold the others, too.

use std::collections::BTreeMap;

use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLrScheduler,
    module::{Module, ModuleVisitor, Param, ParamGroup},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    prelude::*,
};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    bridge::connector::{Connector, ConnectorConfig, place_visual_tokens},
    families::smolvlm2::{SiglipConfig, SiglipTower},
};
use pvchat_nn::{
    language::{
        Decoder, DecoderConfig, Labels, LoraConfig, PersonalRows, RoutedHeadsConfig, RoutedOutput, TokenKind, next_token_loss,
    },
    trace::Trace,
    weights::apply_tensors,
};
use pvchat_train::{
    gradients::clip_global,
    objective::{Objective, ObjectiveConfig, RoutedHeads},
};
use serde_json::Value;

use crate::support::{GRADIENT, Golden, VALUE, assert_all_close, devices, directory, names_that_begin};

/// What is trained, and the frozen decoder that it belongs to.
#[derive(Module, Debug)]
struct Trained {
    rows: PersonalRows,
    lm: Decoder,
}

struct Trajectory {
    name: String,
    golden: Golden,
}

/// A forward pass over rows of ids.
struct Pass {
    output: RoutedOutput,
    embeddings: Tensor<3>,
    kinds: Vec<Vec<TokenKind>>,
    head: Tensor<3>,
    layers: Vec<Tensor<3>>,
}

fn trajectories() -> Vec<Trajectory> {
    let open = |name: String| Trajectory { golden: Golden::open(&name), name };
    let found: Vec<_> = names_that_begin("learning/learning_r1").into_iter().map(open).collect();
    assert!(!found.is_empty(), "no learning/learning_r1*.safetensors in {}", directory().display());
    found
}

fn floats<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().inner().into_data().iter::<f32>().collect()
}

/// Values of trained parameters or their gradients under the names and in the layout of the file.
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
        if !parameter.is_require_grad() {
            return;
        }
        let tensor = match self.gradients {
            None => parameter.val().inner(),
            Some(gradients) => gradients.get::<D>(parameter.id).unwrap_or_else(|| parameter.val().inner().zeros_like()),
        };
        let path = self.path.join(".");
        let is_linear = D == 2 && !path.starts_with("rows.");
        let tensor = if is_linear { tensor.swap_dims(0, 1) } else { tensor };
        let name = match path.as_str() {
            "rows.input" => "R_in".into(),
            "rows.output" => "R_out".into(),
            other => match other.trim_start_matches("lm.layers.").split_once(".self_attn.routed.") {
                Some((layer, rest)) => format!("remoh.{layer}.{rest}"),
                None => other
                    .replace("lm.layers.", "text_model.layers.")
                    .replace(".lora.a.weight", ".lora_A")
                    .replace(".lora.b.weight", ".lora_B"),
            },
        };
        assert!(self.found.insert(name, floats(&tensor)).is_none());
    }
}

fn named(model: &Trained, gradients: Option<&GradientsParams>) -> BTreeMap<String, Vec<f32>> {
    let mut visitor = Named { path: Vec::new(), gradients, found: BTreeMap::new() };
    model.visit(&mut visitor);
    visitor.found
}

impl Trajectory {
    fn number(&self, path: &[&str]) -> f64 {
        let value = path.iter().fold(self.golden.config(), |value, key| &value[*key]);
        value.as_f64().unwrap_or_else(|| panic!("{}: {path:?}", self.name))
    }

    fn size(&self, path: &[&str]) -> usize {
        self.number(path) as usize
    }

    fn list<T: serde::de::DeserializeOwned>(&self, key: &str) -> Vec<T> {
        serde_json::from_value(self.golden.config()[key].clone()).unwrap_or_else(|error| panic!("{}: {key}: {error}", self.name))
    }

    fn steps(&self) -> &Vec<Value> {
        self.golden.config()["steps"].as_array().unwrap()
    }

    /// Whether the learning rates are the published ones.
    fn is_released(&self) -> bool {
        !["_fast", "_routed"].iter().any(|part| self.name.contains(part))
    }

    /// The tolerance of a row of movement: 99 % of its errors are below this share of rate times steps.
    fn movement(&self, parameter: &str) -> f64 {
        match self.is_released() {
            true if parameter.ends_with("router.bias") => 0.03,
            true => 0.02,
            false => 0.005,
        }
    }

    fn load<M: Module>(&self, mut module: M, prefix: &str) -> M {
        let source = self.golden.source().under(&format!("weights.model.{prefix}"));
        apply_tensors(&mut module, &source, &[]).unwrap().require_exact().unwrap();
        module
    }

    /// What the frozen encoder and connector make of the clips of a step's rows, `[frames, tokens, hidden]`.
    fn visual(&self, clips: &[String], frames: usize, repeats: bool, device: &Device) -> Tensor<3> {
        let size = |key| self.size(&["sizes", "vision", key]);
        let vision = SiglipConfig {
            width: size("hidden_size"),
            layers: size("num_hidden_layers"),
            heads: size("num_attention_heads"),
            mlp_hidden: size("intermediate_size"),
            image_size: size("image_size"),
            patch_size: size("patch_size"),
            channels: 3,
            layer_norm_epsilon: self.number(&["sizes", "vision", "layer_norm_eps"]),
        };
        let connector = ConnectorConfig {
            width: vision.width,
            hidden: self.size(&["sizes", "text", "hidden_size"]),
            scale_factor: self.size(&["sizes", "scale_factor"]),
        };
        let stream = SeededStream::new(0);
        let tower: SiglipTower = self.load(vision.init(&stream, device).unwrap(), "vision_model.");
        let connector: Connector = self.load(connector.init(&stream, device).unwrap(), "connector.");
        let pixels = clips.iter().map(|clip| {
            let clip = self.golden.tensor::<4>(&format!("inputs.clip.{clip}"), device);
            if repeats { clip.narrow(0, 0, 1).repeat_dim(0, frames) } else { clip.narrow(0, 0, frames) }
        });
        connector.forward(tower.forward(Tensor::cat(pixels.collect(), 0), None).unwrap()).unwrap()
    }

    /// The model at the start, with the starting values of the file.
    fn start(&self, device: &Device) -> Trained {
        let size = |key| self.size(&["sizes", "text", key]);
        let config = DecoderConfig {
            vocabulary: size("vocab_size"),
            hidden: size("hidden_size"),
            layers: size("num_hidden_layers"),
            heads: size("num_attention_heads"),
            kv_heads: size("num_key_value_heads"),
            head_dim: size("head_dim"),
            intermediate: size("intermediate_size"),
            rope_theta: self.number(&["sizes", "text", "rope_theta"]),
            rms_norm_epsilon: self.number(&["sizes", "text", "rms_norm_eps"]),
            initial_deviation: 0.02,
            lora: None,
        };
        let mut lm = config.init_zeros(device).unwrap();
        let names = [(r"^model\.text_model\.", ""), (r"(_proj|lm_head)\.weight$", "$1.base.weight")];
        let own = |name: &str| name.starts_with("model.text_model.") || name.starts_with("lm_head.");
        let source = self.golden.source().under("weights.").filtered(own);
        apply_tensors(&mut lm, &source, &names).unwrap().require_exact().unwrap();
        // The head's adapter is none of the follow-up's.
        let lora = LoraConfig { rank: self.size(&["lora", "r"]), alpha: self.number(&["lora", "alpha"]), dropout: 0.0 };
        let stream = SeededStream::new(0);
        lm.attach(&stream, lora).unwrap();
        lm.lm_head.detach();
        let routed = RoutedHeadsConfig { layers: self.list("remoh_layers"), heads: self.list("routed_heads") };
        lm.attach_routers(&routed).unwrap();

        let sub_words: Vec<u32> = self.list("name_subwords");
        let count = self.list::<u32>("personal_ids").len();
        let rows = PersonalRows::from_sub_words(&lm, &sub_words, count).unwrap();
        let is_neutral = self.golden.config()["start"] == "neutral";
        if is_neutral {
            let what = |name| format!("{}: {name} of a new subject", self.name);
            let expected = |name: &str| self.golden.floats(&format!("weights.trained.{name}"));
            assert_all_close(&what("R_in"), &floats(&rows.input.val()), &expected("R_in"), 1e-6);
            assert_all_close(&what("R_out"), &floats(&rows.output.val()), &expected("R_out"), 1e-6);
        }
        let fresh = named(&Trained { rows: rows.clone(), lm: lm.clone() }.train_chosen(), None);
        let names = [
            (r"^remoh\.(\d+)\.", "layers.$1.self_attn.routed."),
            (r"^text_model\.", ""),
            (r"\.lora_A$", ".lora.a.weight"),
            (r"\.lora_B$", ".lora.b.weight"),
        ];
        let trained = self.golden.source().under("weights.trained.");
        let applied = apply_tensors(&mut lm, &trained.filtered(|name| !name.starts_with("R_")), &names).unwrap();
        assert!(applied.unused.is_empty(), "{:?}", applied.unused);
        assert!(!applied.missing.iter().any(|name| name.contains(".lora.") || name.contains(".routed.")));
        let row = |name: &str| Param::from_tensor(self.golden.tensor::<2>(&format!("weights.trained.{name}"), device));
        let rows = PersonalRows { input: row("R_in"), output: row("R_out") };
        let model = Trained { rows, lm }.train_chosen();
        if is_neutral {
            for (name, values) in named(&model, None).iter().filter(|(name, _)| name.starts_with("remoh.")) {
                assert_eq!(values, &fresh[name], "{}: {name} of a new router", self.name);
            }
        }
        model
    }

    fn ids(&self, name: &str) -> Vec<Vec<u32>> {
        let width = self.golden.shape(name)[1];
        let ids: Vec<u32> = self.golden.integers(name).into_iter().map(|id| id as u32).collect();
        ids.chunks(width).map(<[u32]>::to_vec).collect()
    }

    fn pass(&self, model: &Trained, ids: &[Vec<u32>], visual: Tensor<3>) -> Pass {
        let device = model.lm.device().inner();
        let (batch, tokens) = (ids.len(), ids[0].len());
        let flat: Vec<i32> = ids.iter().flatten().map(|&id| id as i32).collect();
        let index = Tensor::<2, Int>::from_data(TensorData::new(flat, [batch, tokens]), &device);
        let image = self.golden.size("image_token_id") as u32;
        let kind = |&id: &u32| if id == image { TokenKind::Visual } else { TokenKind::Text };
        let kinds: Vec<Vec<TokenKind>> = ids.iter().map(|row| row.iter().map(kind).collect()).collect();
        let [words, head] = model.rows.extra_rows();
        let embeddings = place_visual_tokens(model.lm.embed_with(index, Some(words)), ids, image, visual).unwrap();
        let positions = Tensor::<1, Int>::arange(0..tokens as i64, &device).unsqueeze_dim::<2>(0).expand([batch, tokens]);
        let mut layers = Vec::new();
        let mut watch = |name: &str, state: &Tensor<3>| {
            if name.starts_with("text.layer") {
                layers.push(state.clone());
            }
        };
        let output =
            model.lm.forward_routed(embeddings.clone(), positions, None, &kinds, None, &mut Trace::new(&mut watch)).unwrap();
        Pass { output, embeddings, kinds, head, layers }
    }

    fn objective(&self) -> Objective {
        let own = |key| self.number(&["objective", key]);
        let config = ObjectiveConfig::follow_up();
        let stated = ObjectiveConfig {
            target: Some(own("target")),
            adaptation_rate: own("adaptation"),
            lambda_range: serde_json::from_value(self.golden.config()["objective"]["beta_clamp"].clone()).unwrap(),
            hae_weight: own("hae_weight"),
            hae_sharpness: own("sharpness"),
            surrogate: pvchat_train::objective::Surrogate { steepness: own("temperature"), ..config.surrogate },
            ..config.clone()
        };
        assert_eq!(stated, config, "{}: the constants of the preset", self.name);
        let layers = self.list::<usize>("remoh_layers").len();
        Objective::new(ObjectiveConfig { initial_lambda: own("beta0"), ..config }, layers).unwrap()
    }

    fn optimizer(&self) -> (ModuleOptimizer, ModuleLrScheduler) {
        assert_eq!(self.number(&["optimizer", "weight_decay"]), 0.0);
        let adamw = AdamWConfig::new().with_epsilon(self.number(&["optimizer", "eps"]) as f32).with_weight_decay(0.0);
        let rate = |key| self.number(&["learning_rates", key]);
        let group = |pattern: &str| ParamGroup::from_regexes(vec![pattern]).unwrap();
        let rates = ModuleLrScheduler::new(rate("tokens"))
            .with_group(group(r"\.lora\."), rate("lora"))
            .with_group(group(r"\.routed\."), rate("routers"));
        let optimizer = adamw.clone().init().with_group(group(r"\.lora\."), adamw.clone().build(), None).with_group(
            group(r"\.routed\."),
            adamw.build(),
            None,
        );
        (optimizer, rates)
    }

    fn step0(&self, backend: &str, pass: &Pass, model: &Trained) {
        let check = |name: &str, found: Vec<f32>| {
            let name = format!("outputs.step0.{name}");
            assert_all_close(&format!("{backend}: {}: {name}", self.name), &found, &self.golden.floats(&name), VALUE);
        };
        check("inputs_embeds", floats(&pass.embeddings));
        for (index, layer) in pass.layers.iter().enumerate() {
            check(&format!("layer{index}"), floats(layer));
        }
        check("logits", floats(&model.lm.logits(pass.output.hidden.clone(), Some(pass.head.clone()))));
        for (layer, gates) in self.list::<usize>("remoh_layers").into_iter().zip(&pass.output.gates) {
            check(&format!("router_logits.{layer}"), floats(&gates.logits));
            check(&format!("gates.{layer}"), floats(&gates.gates));
            let attention = &model.lm.layers[layer].self_attn;
            let weights = attention.routed.as_ref().unwrap().weights(gates, attention.heads);
            check(&format!("head_weights.{layer}"), floats(&weights));
        }
        let mut plain = model.lm.clone();
        plain.detach();
        plain.layers.iter_mut().for_each(|layer| layer.self_attn.routed = None);
        let [batch, tokens, _] = pass.embeddings.dims();
        let device = plain.device().inner();
        let positions = Tensor::<1, Int>::arange(0..tokens as i64, &device).unsqueeze_dim::<2>(0).expand([batch, tokens]);
        let hidden = plain.forward(pass.embeddings.clone(), positions, None, None);
        check("plain_base_logits", floats(&plain.logits(hidden, None)));
    }

    fn heldout(&self, what: &str, model: &Trained, when: &str) {
        let device = model.lm.device().inner();
        let name = self.golden.config()["heldout_clip"].as_str().unwrap().to_string();
        let frames = self.golden.shape(&format!("inputs.clip.{name}"))[0];
        let visual = self.visual(&[name], frames, false, &device);
        let model = model.valid();
        let pass = self.pass(&model, &self.ids("inputs.heldout.input_ids"), visual);
        let logits = floats(&model.lm.logits(pass.output.hidden, Some(pass.head)));
        let tolerance = match when {
            "before" => VALUE,
            _ if self.is_released() => 1e-3,
            _ => 5e-3,
        };
        let expected = self.golden.floats(&format!("outputs.heldout.logits.{when}"));
        let worst = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{what}: held-out logits {when}: {worst:.1e}");
        match when {
            "before" => assert_all_close(&format!("{what}: held-out logits"), &logits, &expected, tolerance),
            _ => assert!(f64::from(worst) <= tolerance, "{what}: held-out logits {when}: {worst}"),
        }
    }

    /// Compares how far each parameter went since the start with the file, in units of rate times steps.
    fn moved(&self, what: &str, model: &Trained, stage: usize, steps: usize) {
        let mut worst = (0.0, String::new());
        let found = named(model, None);
        let prefix = format!("outputs.stage{stage}.");
        let expected = self.golden.names().into_iter().filter(|name| name.starts_with(&prefix)).count();
        assert_eq!(found.len(), expected, "{what}: trained parameters");
        for (name, values) in found {
            let rate = match name.as_str() {
                "R_in" | "R_out" => "tokens",
                name if name.starts_with("remoh.") => "routers",
                _ => "lora",
            };
            let unit = self.number(&["learning_rates", rate]) * steps as f64;
            let expected = self.golden.floats(&format!("{prefix}{name}"));
            assert_eq!(values.len(), expected.len(), "{what}: {name}");
            let mut errors: Vec<f64> =
                values.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs() / unit).collect();
            errors.sort_by(f64::total_cmp);
            let error = errors[(errors.len() * 99 / 100).min(errors.len() - 1)];
            assert!(error <= self.movement(&name), "{what}: {name} after stage {stage}: {error} of rate times steps");
            if error > worst.0 {
                worst = (error, name);
            }
        }
        println!("{what}: movement after stage {stage}: worst 99th percentile {:.1e} ({})", worst.0, worst.1);
    }
}

impl Trained {
    /// The decoder frozen; rows, adapters and routers trained.
    fn train_chosen(self) -> Self {
        Self { rows: self.rows, lm: self.lm.train_adapters_only() }
    }
}

#[test]
fn eight_steps_of_the_follow_up() {
    for trajectory in trajectories() {
        for (backend, device) in devices() {
            let what = format!("{backend}: {}", trajectory.name);
            follow(&trajectory, backend, &what, &device);
        }
    }
}

fn follow(trajectory: &Trajectory, backend: &str, what: &str, device: &Device) {
    let golden = &trajectory.golden;
    let mut model = trajectory.start(&device.clone().autodiff());
    let mut objective = trajectory.objective();
    let (mut optimizer, mut rates) = trajectory.optimizer();
    type Group = (&'static str, fn(&str) -> bool);
    let groups: Vec<Group> = vec![
        ("tokens", |name| name.starts_with("R_")),
        ("routers", |name| name.starts_with("remoh.")),
        ("lora", |name| name.starts_with("text_model.")),
    ];
    trajectory.heldout(what, &model, "before");
    let mut stage = 1;
    for (index, step) in trajectory.steps().iter().enumerate() {
        let now = step["stage"].as_u64().unwrap() as usize;
        if now != stage {
            trajectory.moved(what, &model, stage, index);
            trajectory.heldout(what, &model, "after_stage1");
            // The authors' second run starts from tensors: the controller goes on, the optimiser does not.
            (optimizer, rates) = trajectory.optimizer();
            stage = now;
        }
        let clips: Vec<String> = serde_json::from_value(step["rows"].clone()).unwrap();
        let frames = step["frames"].as_u64().unwrap() as usize;
        let visual = trajectory.visual(&clips, frames, stage == 1, device);
        let pass = trajectory.pass(&model, &trajectory.ids(&format!("inputs.step{index}.input_ids")), visual);
        assert!(pass.kinds.iter().flatten().any(|kind| *kind == TokenKind::Visual));
        if index == 0 {
            trajectory.step0(backend, &pass, &model);
        }
        let labels = format!("inputs.step{index}.labels");
        let width = golden.shape(&labels)[1];
        let labels: Vec<Vec<i64>> = golden.integers(&labels).chunks(width).map(<[i64]>::to_vec).collect();
        let labels = Labels::next_token(&labels).unwrap();
        let cross_entropy = next_token_loss(&model.lm, pass.output.hidden, &labels, Some(pass.head)).unwrap();
        let heads: Vec<RoutedHeads> = pass.output.gates.iter().map(RoutedHeads::from).collect();
        let auxiliary = objective.train(&heads).unwrap();
        let report = &auxiliary.report.modules[0];
        let ce = cross_entropy.clone().into_scalar::<f32>();
        let total = cross_entropy + auxiliary.loss.unwrap();

        let expected = |key: &str, column: usize| {
            let name = format!("outputs.step.{key}");
            let columns = golden.floats(&name).len() / trajectory.steps().len();
            f64::from(golden.floats(&name)[index * columns + column])
        };
        let near = |key: &str, column: usize, found: f64, tolerance: f64| {
            let wanted = expected(key, column);
            let is_near = (found - wanted).abs() <= tolerance * (1.0 + wanted.abs());
            assert!(is_near, "{what}: step {index}: {key} {column}: found {found}, expected {wanted}");
        };
        near("ce", 0, f64::from(ce), VALUE);
        near("spr", 0, report.spr, VALUE);
        near("hae", 0, report.hae_unweighted, VALUE);
        near("total", 0, f64::from(total.clone().into_scalar::<f32>()), VALUE);
        near("activation", 0, report.activation, 1e-6);
        near("mean_gate", 0, report.sparsity, VALUE);
        let layers = pass.output.gates.len();
        for (layer, shares) in report.activation_per_head.chunks(report.activation_per_head.len() / layers).enumerate() {
            near("activation_per_layer", layer, shares.iter().sum::<f64>() / shares.len() as f64, 1e-6);
        }
        let wanted = expected("beta", 0);
        assert!((report.lambda / wanted - 1.0).abs() <= 1e-5, "{what}: step {index}: beta {} and {wanted}", report.lambda);
        assert_eq!(objective.states()[0].lambda, report.lambda, "one controller, updated and then used");

        let mut gradients = GradientsParams::from_grads(total.backward(), &model);
        let before = named(&model, Some(&gradients));
        if index == 0 {
            for (name, values) in &before {
                let name = format!("grads.step0.{name}");
                assert_all_close(&format!("{what}: {name}"), values, &golden.floats(&name), GRADIENT);
            }
        }
        for (column, (_, belongs)) in groups.iter().enumerate() {
            let values = before.iter().filter(|(name, _)| belongs(name)).flat_map(|(_, values)| values);
            let norm = values.map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            near("gradient_norm", column, norm, GRADIENT);
        }
        let norm = clip_global(&model, &mut gradients, trajectory.number(&["optimizer", "clip_norm"]));
        near("gradient_norm_total", 0, norm, GRADIENT);
        model = optimizer.step(rates.step(), model, gradients);
    }
    assert_eq!(model.devices(), std::slice::from_ref(device), "{what}");
    trajectory.moved(what, &model, 2, trajectory.steps().len());
    trajectory.heldout(what, &model, "after_stage2");
}
