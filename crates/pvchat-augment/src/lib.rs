//! From one reference clip to a training set: positives, hard negatives, questions and answers.
