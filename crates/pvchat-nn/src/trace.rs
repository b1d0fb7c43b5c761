//! Access to the states between the layers of a forward pass.

use std::fmt;

use burn::prelude::*;

/// What is called with a name and a state.
pub type Watch<'a> = dyn FnMut(&str, &Tensor<3>) + 'a;

/// Who is shown the states of a forward pass, each with its name, in the order of computation; or nobody, which costs nothing.
#[derive(Default)]
pub struct Trace<'a>(Option<&'a mut Watch<'a>>);

impl<'a> Trace<'a> {
    /// Nobody.
    pub fn off() -> Self {
        Self(None)
    }

    /// Calls `watch` with each name and state.
    pub fn new(watch: &'a mut Watch<'a>) -> Self {
        Self(Some(watch))
    }

    /// Whether somebody is there.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Shows a state; its name is only put together if somebody is there.
    pub fn show(&mut self, name: fmt::Arguments<'_>, state: &Tensor<3>) {
        if let Some(watch) = &mut self.0 {
            watch(&name.to_string(), state);
        }
    }
}

impl fmt::Debug for Trace<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Trace").field(&self.is_on()).finish()
    }
}
