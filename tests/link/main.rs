//! The emulated link, held against what was asked of it: by arithmetic, and by packets between two
//! real namespaces. It must be right before anything measured over it is believed.

mod real;
mod said;
