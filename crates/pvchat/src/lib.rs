//! Personalised video chat: learn a person from one video, ask about that person in others.
