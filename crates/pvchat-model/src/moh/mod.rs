//! Mixture-of-Heads attention: one module, three routings.
