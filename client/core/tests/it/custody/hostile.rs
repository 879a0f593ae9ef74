//! Hostile deposits, questions and deletes: each refused with its reason, cheaply.
