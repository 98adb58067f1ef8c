//! Room: codec.
