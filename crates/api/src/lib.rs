//! What users may write and what Sentei answers: CompressedModel, its rules, its status.
