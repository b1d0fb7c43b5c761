//! Enums of modules that are the module in them: a derived one would put the variant's name into the parameters' names,
//! which are the file format.

/// Implements burn's `Module` for an enum whose variants hold one module each.
macro_rules! module_enum {
    ($name:ident { $($variant:ident),+ $(,)? }) => {
        impl burn::module::Module for $name {
            fn collect_devices(&self, devices: Vec<burn::prelude::Device>) -> Vec<burn::prelude::Device> {
                match self { $(Self::$variant(inner) => inner.collect_devices(devices)),+ }
            }

            fn fork(self, device: &burn::prelude::Device) -> Self {
                match self { $(Self::$variant(inner) => Self::$variant(inner.fork(device))),+ }
            }

            fn to_device(self, device: &burn::prelude::Device) -> Self {
                match self { $(Self::$variant(inner) => Self::$variant(inner.to_device(device))),+ }
            }

            fn train(self) -> Self {
                match self { $(Self::$variant(inner) => Self::$variant(burn::module::Module::train(inner))),+ }
            }

            fn valid(&self) -> Self {
                match self { $(Self::$variant(inner) => Self::$variant(inner.valid())),+ }
            }

            fn materialize(self) -> Self {
                match self { $(Self::$variant(inner) => Self::$variant(inner.materialize())),+ }
            }

            fn visit<V: burn::module::ModuleVisitor>(&self, visitor: &mut V) {
                match self { $(Self::$variant(inner) => burn::module::Module::visit(inner, visitor)),+ }
            }

            fn map<M: burn::module::ModuleMapper>(self, mapper: &mut M) -> Self {
                match self { $(Self::$variant(inner) => Self::$variant(burn::module::Module::map(inner, mapper))),+ }
            }
        }

        impl burn::module::ModuleDisplayDefault for $name {
            fn content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
                match self { $(Self::$variant(inner) => inner.content(content)),+ }
            }

            fn num_params(&self) -> usize {
                match self { $(Self::$variant(inner) => burn::module::Module::num_params(inner)),+ }
            }
        }

        impl burn::module::ModuleDisplay for $name {}
    };
}

pub(crate) use module_enum;
