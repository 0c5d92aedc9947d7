//! The shell around the core, and the program grapevine.
