//! Objectives and the two-stage training schedule of personalised video chat.
