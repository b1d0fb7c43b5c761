//! The parameters of a module, without allocating any of them.

use burn::{
    module::{Module, ModuleVisitor, Param},
    prelude::*,
};

/// A parameter as a file in PyTorch's layout holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// The module path, with `weight` and `bias` for norms.
    pub name: String,
    /// The shape; linear weights are `[out, in]`.
    pub shape: Vec<usize>,
}

/// The float parameters of a module in the order of their fields. Nothing is allocated: parameters
/// that were not used yet stay so.
pub fn parameters<M: Module>(module: &M) -> Vec<ParameterSpec> {
    let mut inventory = Inventory::default();
    module.visit(&mut inventory);
    inventory.found
}

#[derive(Default)]
struct Inventory {
    path: Vec<String>,
    containers: Vec<String>,
    found: Vec<ParameterSpec>,
}

impl ModuleVisitor for Inventory {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.into());
        self.containers.push(container.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let container = self.containers.iter().rev().find_map(|container| container.strip_prefix("Struct:"));
        let mut shape = parameter.lazy_shape().to_vec();
        let mut path = self.path.clone();
        if let Some(last) = path.last_mut() {
            match (container, last.as_str()) {
                (Some("Linear"), "weight") => shape.reverse(),
                (Some("LayerNorm" | "RmsNorm"), "gamma") => *last = "weight".into(),
                (Some("LayerNorm"), "beta") => *last = "bias".into(),
                _ => {}
            }
        }
        self.found.push(ParameterSpec { name: path.join("."), shape });
    }
}
