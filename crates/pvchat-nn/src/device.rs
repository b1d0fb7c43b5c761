//! The device that everything computes on, by name.
//!
//! burn's own `Device::default()` reads the variable [`VARIABLE`] too, and panics at a name that it does not know or that is
//! not compiled in. These functions return an error instead.

use std::env::VarError;

use burn::prelude::*;

use crate::{Error, Result};

/// The environment variable that chooses a device.
pub const VARIABLE: &str = "BURN_DEVICE";

/// A backend by its name, and how to make its first device; `None` where it is not compiled in.
type Backend = (&'static str, Option<fn() -> Device>);

#[allow(deprecated)] // upstream's word for the ndarray backend
const BACKENDS: [Backend; 4] = [
    #[cfg(feature = "cuda")]
    ("cuda", Some(|| Device::cuda(0))),
    #[cfg(not(feature = "cuda"))]
    ("cuda", None),
    #[cfg(feature = "vulkan")]
    ("vulkan", Some(|| Device::vulkan(burn::tensor::DeviceKind::DefaultDevice))),
    #[cfg(not(feature = "vulkan"))]
    ("vulkan", None),
    #[cfg(feature = "flex")]
    ("flex", Some(Device::flex)),
    #[cfg(not(feature = "flex"))]
    ("flex", None),
    #[cfg(feature = "ndarray")]
    ("ndarray", Some(Device::ndarray)),
    #[cfg(not(feature = "ndarray"))]
    ("ndarray", None),
];
/// Those that compute on the processor, for the name `cpu`.
const ON_THE_PROCESSOR: [&str; 2] = ["flex", "ndarray"];

/// The names that [`named`] accepts in this build.
pub fn available() -> Vec<&'static str> {
    let compiled: Vec<&str> = BACKENDS.iter().filter(|(_, make)| make.is_some()).map(|(name, _)| *name).collect();
    let cpu = compiled.iter().any(|name| ON_THE_PROCESSOR.contains(name)).then_some("cpu");
    compiled.into_iter().chain(cpu).collect()
}

/// The device that the environment variable [`VARIABLE`] names; without one the first backend that is compiled in, of CUDA,
/// Vulkan, flex and ndarray.
///
/// # Errors
/// As [`named`], and [`Error::Device`] when no backend is compiled in.
pub fn default_device() -> Result<Device> {
    match std::env::var(VARIABLE) {
        Ok(name) if !name.trim().is_empty() => find(&name, VARIABLE),
        Err(VarError::NotUnicode(name)) => Err(unknown(&name.to_string_lossy(), VARIABLE, "is no text")),
        _ => first().ok_or_else(|| unknown("", "device", "names no backend")),
    }
}

/// The first device of a backend: `cuda`, `vulkan`, `flex`, `ndarray`, or `cpu` for flex or else ndarray. Capital letters do not
/// matter.
///
/// # Errors
/// [`Error::Device`] for another name, or a backend that is not compiled in, with those that are.
pub fn named(name: &str) -> Result<Device> {
    find(name, "device")
}

fn find(name: &str, key: &'static str) -> Result<Device> {
    let wanted = name.trim().to_lowercase();
    let make = |wanted: &str| BACKENDS.iter().find(|(name, _)| *name == wanted).and_then(|(_, make)| *make);
    let found = match wanted.as_str() {
        "cpu" => ON_THE_PROCESSOR.into_iter().find_map(make),
        other => make(other),
    };
    let known = wanted == "cpu" || BACKENDS.iter().any(|(name, _)| *name == wanted);
    let problem = if known { "is not compiled in" } else { "is not the name of a backend" };
    found.map(|make| make()).ok_or_else(|| unknown(name, key, problem))
}

/// Whether it computes on the processor, where weights can be [packed](crate::packed).
pub fn is_processor(device: &Device) -> bool {
    let device = device.clone().inner();
    let of_processor = BACKENDS.iter().filter(|(name, _)| ON_THE_PROCESSOR.contains(name));
    of_processor.filter_map(|(_, make)| *make).any(|make| make() == device)
}

fn first() -> Option<Device> {
    BACKENDS.iter().find_map(|(_, make)| *make).map(|make| make())
}

fn unknown(value: &str, key: &'static str, problem: &'static str) -> Error {
    Error::Device { key, value: value.chars().take(40).collect(), problem, available: available().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_in_is_found_and_anything_else_is_an_error_that_says_what_is() {
        for name in available() {
            assert!(named(name).is_ok() && named(&name.to_uppercase()).is_ok(), "{name}");
            let is_known = ON_THE_PROCESSOR.contains(&name) || name == "cpu";
            assert_eq!(is_processor(&named(name).unwrap().autodiff()), is_known, "{name}");
        }
        for (name, said) in [("nonsense", "is not the name of a backend"), ("", "is not the name"), ("wgpu", "is not the name")] {
            let error = named(name).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(&format!("{name:?}")), "{error}");
        }
        if !cfg!(feature = "cuda") {
            let error = named("cuda").unwrap_err();
            assert!(matches!(error, Error::Device { .. }));
            let error = error.to_string();
            assert!(error.contains("\"cuda\" is not compiled in") && error.contains(&available().join(", ")), "{error}");
        }
    }
}
