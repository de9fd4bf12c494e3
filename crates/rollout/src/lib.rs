//! Decides: one pure function from what was observed to what is done next.
