//! Metrics, tables and plots for personalised video chat.
