//! The Q-Former: queries that read the vision tokens.
