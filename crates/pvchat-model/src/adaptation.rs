//! What a subject may change of the base for itself alone: adapters and routers, and, in the larger modes of learning,
//! more of its parameters.
//!
//! Tokens and rows of many subjects fit into one prompt. Several [`Adaptation`]s do not: each defines the base for questions
//! about its one subject. Everything that it does not name stays shared with the base.

use std::collections::BTreeMap;

use crate::{
    Error, Result,
    answer::AnswerModel,
    families::{VisionConfig, VisionTower},
    parameters::VilmParameters,
};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup},
    prelude::*,
    tensor::DType,
};
use pvchat_nn::language::{LoraAdapter, LoraConfig, RoutedHeadsConfig};

pub use crate::trains::Trains;

/// The field of [`VilmParameters`] that holds everything after the encoder, as the beginning of a parameter's name.
const ANSWER: &str = "answer";
/// The field of [`VilmParameters`] that holds the encoder.
const VISION: &str = "vision_encoder";

impl Trains {
    /// The parameters of the base that are trained, by their names in [`VilmParameters`]; `None` when there are none.
    ///
    /// # Errors
    /// [`Error::Config`] when the names cannot be matched, which a test rules out.
    pub fn group(self, vision: &VisionConfig) -> Result<Option<ParamGroup>> {
        let mut patterns = vec![ROUTERS.to_string(), ADAPTERS.to_string()];
        match self {
            Self::Composable => return Ok(None),
            Self::Personal => {}
            Self::PersonalAndBridge => patterns.push(BRIDGE.into()),
            Self::PersonalBridgeAndVision => patterns.extend([BRIDGE.into(), upper_vision(vision)]),
        }
        group(&patterns).map(Some)
    }
}

const ROUTERS: &str = r"^answer\.(qformer\..*\.router_alpha|lm\..*\.routed)\.";
const ADAPTERS: &str = r"^answer\.lm\..*\.lora\.";
const PROJECTION: &str = r"^answer\.(project_up|modality_projection)\.";
const BRIDGE: &str = r"^answer\.(qformer|project_up|modality_projection)\.";

fn upper_vision(vision: &VisionConfig) -> String {
    format!(r"^vision_encoder\.{}", vision.upper_part())
}

fn group(patterns: &[String]) -> Result<ParamGroup> {
    ParamGroup::from_any_regexes(patterns.to_vec()).map_err(|error| Error::Config {
        key: "trains",
        value: patterns.join(" "),
        remedy: format!("these are patterns of this program ({error:?})"),
    })
}

/// The routers, of the Q-Former or of the decoder.
///
/// # Errors
/// As [`Trains::group`].
pub fn routers() -> Result<ParamGroup> {
    group(&[ROUTERS.into()])
}

/// The adapters of the language model.
///
/// # Errors
/// As [`Trains::group`].
pub fn adapters() -> Result<ParamGroup> {
    group(&[ADAPTERS.into()])
}

/// The Q-Former, routers included, and the projection behind it, or what replaces them.
///
/// # Errors
/// As [`Trains::group`].
pub fn bridge() -> Result<ParamGroup> {
    group(&[BRIDGE.into()])
}

/// The projection behind the Q-Former, or what replaces both.
///
/// # Errors
/// As [`Trains::group`].
pub fn projection() -> Result<ParamGroup> {
    group(&[PROJECTION.into()])
}

/// The upper part of the vision encoder.
///
/// # Errors
/// As [`Trains::group`].
pub fn vision(config: &VisionConfig) -> Result<ParamGroup> {
    group(&[upper_vision(config)])
}

/// A parameter's shape and values, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// The shape.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

/// The parameters that take the place of the base's while one subject is asked about, and its adapters.
#[derive(Clone, Debug, PartialEq)]
pub struct Adaptation {
    /// The choice that it was trained with.
    pub trains: Trains,
    /// Rank and strength of the adapters on the language model.
    pub lora: LoraConfig,
    /// The decoder's heads that have routers; `None` where none have.
    pub routed: Option<RoutedHeadsConfig>,
    /// Values by name in [`VilmParameters`].
    pub parameters: BTreeMap<String, Values>,
}

impl Adaptation {
    /// Collects what training with `trains` may have changed from an answer model with adapters and, where it was trained,
    /// the vision encoder.
    ///
    /// # Errors
    /// As [`Trains::group`].
    pub fn collect(
        trains: Trains,
        lora: LoraConfig,
        answer: &AnswerModel,
        vision: Option<&VisionTower>,
        config: &VisionConfig,
    ) -> Result<Self> {
        let mut collect = Collect { path: Vec::new(), group: trains.group(config)?, found: BTreeMap::new() };
        collect.module(ANSWER, answer);
        if let Some(encoder) = vision {
            collect.module(VISION, encoder);
        }
        Ok(Self { trains, lora, routed: RoutedHeadsConfig::of(&answer.lm), parameters: collect.found })
    }

    /// Whether clips have to be looked at with the adapted encoder.
    pub fn changes_vision(&self) -> bool {
        self.parameters.keys().any(|name| name.starts_with("vision_encoder."))
    }

    /// Bytes of its values.
    pub fn bytes(&self) -> usize {
        self.parameters.values().map(|parameter| 4 * parameter.values.len()).sum()
    }

    /// The base's answer model with the adapters and parameters of this adaptation; all else is shared, not copied.
    ///
    /// # Errors
    /// [`Error::Config`] for a parameter that the base does not have, [`Error::Shape`] for one of another shape.
    pub fn answer(&self, base: &AnswerModel) -> Result<AnswerModel> {
        self.lora.validate()?;
        let mut model = base.clone();
        if let Some(routed) = &self.routed {
            model.lm.attach_routers(routed)?;
        }
        let (device, config) = (model.lm.device(), model.lm.config.clone());
        // Only where the values are: what is attached has the size that they are checked to have.
        for (name, layer) in model.lm.linears_mut() {
            if self.parameters.contains_key(&format!("answer.lm.{name}.lora.a.weight")) {
                // Not the layer's own, which are zero where weights are packed.
                let [inputs, outputs] = config.linear_sizes(&name).unwrap_or(layer.sizes());
                layer.lora = Some(LoraAdapter::zeros(inputs, outputs, self.lora, &device));
                let adapted = self.parameters.get(&format!("answer.lm.{name}.lora.b.weight"));
                if name == "lm_head" && adapted.is_some_and(|values| values.shape.last() == Some(&(outputs + 1))) {
                    // The adapter acts on the subject's row too.
                    layer.widen(1);
                }
            }
        }
        let mut model = self.apply(ANSWER, model)?;
        if model.lm.packed().is_some() {
            model.lm.pack_adapters()?;
        }
        Ok(model)
    }

    /// Whether packed weights can be asked with it: all it changes are adapters and routers in the layers of the language model.
    pub fn fits_packed(&self) -> bool {
        self.parameters.keys().all(|name| name.starts_with("answer.lm.layers."))
    }

    /// The base's vision encoder with the parameters of this adaptation.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn vision(&self, base: &VisionTower) -> Result<VisionTower> {
        self.apply(VISION, base.clone())
    }

    /// The base's parameters, adapted.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn adapt(&self, base: &VilmParameters) -> Result<VilmParameters> {
        Ok(VilmParameters {
            vision_encoder: self.vision(&base.vision_encoder)?,
            vision_layernorm: base.vision_layernorm.clone(),
            answer: self.answer(&base.answer)?,
        })
    }

    fn apply<M: Module>(&self, field: &str, module: M) -> Result<M> {
        let prefix = format!("{field}.");
        let mine = self.parameters.iter().filter(|(name, _)| name.starts_with(&prefix));
        let mut replace = Replace {
            path: vec![field.to_string()],
            values: mine.map(|(name, value)| (name.as_str(), value)).collect(),
            wrong: None,
        };
        let module = module.map(&mut replace);
        if let Some(wrong) = replace.wrong {
            return Err(wrong);
        }
        match replace.values.into_keys().next() {
            None => Ok(module),
            Some(name) => Err(Error::Config {
                key: "adaptation",
                value: name.to_string(),
                remedy: "this base has no such parameter; learn the person again with it".into(),
            }),
        }
    }
}

/// `module` with the parameters of `group` in f32, to be trained: a step of training is smaller than the resolution of half
/// precision.
pub fn in_f32<M: Module>(module: M, group: &ParamGroup) -> M {
    module.map(&mut Widen { path: Vec::new(), group })
}

struct Widen<'a> {
    path: Vec<String>,
    group: &'a ParamGroup,
}

impl ModuleMapper for Widen<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.group.matches(&parameter.id, Some(&self.path.join("."))) {
            return parameter.map(|tensor| tensor.cast(DType::F32));
        }
        parameter
    }
}

struct Collect {
    path: Vec<String>,
    group: Option<ParamGroup>,
    found: BTreeMap<String, Values>,
}

impl Collect {
    fn module<M: Module>(&mut self, field: &str, module: &M) {
        self.path.push(field.into());
        module.visit(self);
        self.path.pop();
    }
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if self.group.as_ref().is_some_and(|group| group.matches(&parameter.id, Some(&path))) {
            let tensor = parameter.val();
            let shape = tensor.dims().to_vec();
            let values = tensor.inner().into_data().iter::<f32>().collect();
            self.found.insert(path, Values { shape, values });
        }
    }
}

struct Replace<'a> {
    path: Vec<String>,
    values: BTreeMap<&'a str, &'a Values>,
    wrong: Option<Error>,
}

impl ModuleMapper for Replace<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(new) = self.values.remove(self.path.join(".").as_str()) else { return parameter };
        let shape: [usize; D] = parameter.lazy_shape().dims();
        if new.shape != shape || new.values.len() != shape.iter().product::<usize>() {
            let expected = format!("{shape:?}, as `{}` of this base has", self.path.join("."));
            self.wrong = Some(Error::Shape { what: "parameter of an adaptation", found: new.shape.clone(), expected });
            return parameter;
        }
        let device = parameter.lazy_device();
        let tensor = Tensor::from_data(TensorData::new(new.values.clone(), shape), &device);
        parameter.map(|_| tensor)
    }
}
