//! One network on the runtime.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use tract_onnx::prelude::*;

use super::{
    description::{Description, Preparation},
    refused, unsuitable,
};
use crate::{Error, Result};

/// More outputs than any network of the kinds has.
const MOST_OUTPUTS: usize = 64;
/// The most numbers of a tensor inside: far more than networks of the kinds have at the largest side.
const LARGEST_TENSOR: usize = 1 << 27;
/// The longest message of the runtime that is passed on, in characters: it prints whole nodes.
const LONGEST_MESSAGE: usize = 300;
/// The longest name from a file that is passed on, in characters.
const LONGEST_NAME: usize = 60;

/// A network, ready to run from any thread.
pub(super) struct Graph {
    file: PathBuf,
    names: Vec<String>,
    preparation: Preparation,
    plan: Arc<TypedRunnableModel>,
}

impl fmt::Debug for Graph {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, names, preparation, plan: _ } = self;
        let mut shown = formatter.debug_struct("Graph");
        shown.field("file", file).field("names", names).field("preparation", preparation).finish_non_exhaustive()
    }
}

/// What came out of one output.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl Graph {
    /// Loads and optimises a network with one input.
    pub(super) fn load(description: &Description, mut bytes: &[u8]) -> Result<Self> {
        let (file, preparation) = (description.file.clone(), description.preparation());
        let shape = preparation.shape();
        // Declared shapes of values inside may be those of another input size.
        let runtime = tract_onnx::onnx().with_ignore_value_info(true);
        let proto = guarded(&file, "network", || runtime.proto_model_for_read(&mut bytes))?;
        let names: Vec<String> = proto.graph.iter().flat_map(|graph| &graph.output).map(|output| output.name.clone()).collect();
        if names.is_empty() || names.len() > MOST_OUTPUTS {
            return Err(unsuitable(&file, "outputs", format!("there are {}", names.len())));
        }
        let model = guarded(&file, "network", || runtime.model_for_proto_model(&proto))?;
        drop(proto);
        let inputs = model.inputs.len();
        if inputs != 1 {
            return Err(unsuitable(&file, "input", format!("there are {inputs} where one is expected")));
        }
        let fact = guarded(&file, "input", || Ok(model.input_fact(0)?.clone()))?;
        let declared = format!("{:?}", fact.shape);
        // The runtime takes the shape that it is given for that of the file, and other axes can give an embedding too. A side
        // that the file fixes prints as its number.
        let channels = fact.shape.dim(shape.iter().rposition(|side| *side == 3).unwrap_or(1));
        if channels.and_then(|side| side.to_string().parse::<usize>().ok()).is_some_and(|side| side != 3) {
            let problem = format!("the file declares [{declared}], which does not fit {shape:?} of the described layout");
            return Err(unsuitable(&file, "input", problem));
        }
        let key = format!("input of the shape {shape:?}, which the file declares as [{declared}]");
        let model = guarded(&file, &key, || {
            let input = InferenceFact::dt_shape(f32::datum_type(), shape);
            model.with_input_fact(0, input)?.into_typed()
        })?;
        for (node, output) in model.nodes().iter().flat_map(|node| node.outputs.iter().map(move |output| (node, output))) {
            let size =
                output.fact.shape.as_concrete().map(|shape| shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side)));
            if size.is_some_and(|size| size.is_none_or(|size| size > LARGEST_TENSOR)) {
                let name: String = node.name.chars().take(LONGEST_NAME).collect();
                return Err(unsuitable(&file, name, format!("a tensor of the shape {:?} is too large", output.fact.shape)));
            }
        }
        let plan = guarded(&file, "network", || model.into_optimized()?.into_runnable())?;
        Ok(Self { file, names, preparation, plan })
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The names of the outputs.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// How pictures are prepared.
    pub(super) fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// The outputs for a picture that shows nothing, but is not of one colour either.
    pub(super) fn trial(&self) -> Result<Vec<Output>> {
        let values = 3 * self.preparation.side * self.preparation.side;
        self.run(&(0..values).map(|place| (place % 251) as f32).collect::<Vec<_>>())
    }

    /// A picture, `[side, side, 3]` in levels of red, green and blue from 0 to 255, to the outputs, all of them finite.
    pub(super) fn run(&self, levels: &[f32]) -> Result<Vec<Output>> {
        let outputs = guarded(&self.file, "network", || {
            let input = Tensor::from_shape(&self.preparation.shape(), &self.preparation.prepare(levels))?;
            let outputs = self.plan.run(tvec!(input.into()))?;
            let output = |value: &TValue| -> TractResult<Output> {
                let numbers = value.cast_to::<f32>()?;
                let values = numbers.to_plain_array_view::<f32>()?.iter().copied().collect();
                Ok(Output { shape: value.shape().to_vec(), values })
            };
            outputs.iter().map(output).collect::<TractResult<Vec<Output>>>()
        })?;
        match outputs.iter().position(|output| !output.values.iter().all(|value| value.is_finite())) {
            None => Ok(outputs),
            Some(place) => {
                let name = self.names.get(place).map_or("outputs", String::as_str);
                let remedy = "describe mean, scale, colour and layout as the network wants them, or give another file of it";
                Err(refused(&self.file, name, "numbers that are not finite (NaN or infinite) for a picture", remedy))
            }
        }
    }
}

/// The runtime checks much and returns errors, but it also indexes and asserts, so that a graph that breaks its assumptions
/// (an output that no node makes is enough) makes it panic. Nothing of ours is left half changed, because the work only makes
/// new values.
fn guarded<T>(file: &Path, key: &str, work: impl FnOnce() -> TractResult<T>) -> Result<T> {
    let failed = |problem: String| -> Error {
        let problem: String = problem.chars().take(LONGEST_MESSAGE).collect();
        unsuitable(file, key, format!("the runtime cannot use this network ({problem})"))
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(error)) => Err(failed(format!("{error:#}"))),
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().map(ToString::to_string);
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(failed(message.unwrap_or_else(|| "it panicked".into())))
        }
    }
}
