//! A subject: the personal parameters of one learned person.
